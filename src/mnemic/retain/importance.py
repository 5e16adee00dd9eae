"""Importance: what was said to matter least goes first, among equals what was written first.

    keep = importance + rank(written) / (n + 1) * 1e-6

Importance is given by the writer (`meta["importance"]`, 0 to 1), 0.5 where nothing was said.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.types import TraceStats

PAPER = 0


def keep(traces: TraceStats, now: float) -> NDArray[np.float64]:
    """[n] between 0 and 1; `now` plays no part."""
    rank = np.argsort(np.argsort(traces.written, kind="stable"), kind="stable")
    return np.asarray(traces.importance + rank / (len(rank) + 1) * 1e-6)
