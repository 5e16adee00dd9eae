"""Recency: what was written or recalled longest ago goes first.

    keep = 2 ** (-(now - last) / half_life)        last = max(written, used)

The rule of every least-recently-used cache; the half-life changes the scores, not their order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.types import TraceStats

PAPER = 0


def keep(traces: TraceStats, now: float, half_life: float = 30 * 86400) -> NDArray[np.float64]:
    """[n] between 0 and 1; times and `half_life` in seconds."""
    age = np.maximum(now - np.maximum(traces.written, traces.used), 0)
    return np.asarray(np.exp2(-age / half_life))
