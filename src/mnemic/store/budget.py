"""Keeps a space inside its budget: the records a retention rule values least are forgotten, and named."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.store.store import Store
from mnemic.types import Budget, Ints, Record, Retention


def enforce(store: Store, budget: Budget, rule: Retention, space: str, now: float) -> list[Record]:
    """Forget the least valued live records of `space` until it fits; returns them, least valued first.

    Bytes are those of texts and vectors of live records; among equals the older goes first. `undo` brings
    them back; the file itself shrinks only when they are purged.
    """
    ids, traces = store.trace_stats(space)
    drop = dropped(rule(traces, now), ids, traces.nbytes, budget)
    records = store.get(drop)
    store.forget(drop, reason="over budget")
    return records


def dropped(scores: NDArray[np.float64], ids: Ints, nbytes: NDArray[np.int64], budget: Budget) -> Ints:
    """The ids to drop, lowest score first (then lowest id), so that the rest is within the budget."""
    order = np.lexsort((ids, scores))
    bytes_left = nbytes.sum() - np.concatenate([[0], np.cumsum(nbytes[order])])
    count_left = len(ids) - np.arange(len(ids) + 1)
    fits = np.ones(len(ids) + 1, np.bool_)
    if budget.nbytes is not None:
        fits &= bytes_left <= budget.nbytes
    if budget.records is not None:
        fits &= count_left <= budget.records
    return np.asarray(ids[order[: int(np.argmax(fits))]])
