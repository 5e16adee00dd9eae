"""Records held in a real memory file for as long as a bench asks about them, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Embedder, Floats, Ints, Record

BATCH = 1000


@contextmanager
def held(records: Sequence[Record], embedder: Embedder | None) -> Iterator[tuple[Store, Mirror]]:
    """A memory of `records` in a temporary file, in their order, with vectors unless `embedder` is None."""
    with (
        TemporaryDirectory(prefix="mnemic-bench-") as folder,
        Store.open(Path(folder) / "bench.mnemic", durability="normal") as store,
    ):
        for at in range(0, len(records), BATCH):
            some = records[at : at + BATCH]
            store.put(some, embedder.parts([record.text for record in some]) if embedder else None)
        mirror = Mirror(store)
        mirror.refresh()
        yield store, mirror


def equal_rank_fusion(*channels: Floats) -> Floats:
    """Reciprocal ranks, summed over the channels, with the usual constant 60."""
    fused = np.zeros(len(channels[0]), np.float32)
    for scores in channels:
        fused[np.argsort(-scores, kind="stable")] += (1 / (61 + np.arange(len(scores)))).astype(np.float32)
    return fused


def best_first(scores: Floats) -> Ints:
    """Rows by falling score, equal ones by row."""
    return np.argsort(-scores, kind="stable")
