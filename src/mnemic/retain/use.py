"""Use: what is recalled seldom for its age goes first, as a human memory's traces fade.

    keep = log(n / (1 - d)) - d log(L)        n = 1 + uses, L = days since writing, d = 1/2

Base-level activation in its optimised form (Anderson and Lebiere, The Atomic Components of Thought, 1998):
writing counts as the first use, and uses are taken to be spread evenly over the life of the trace.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.types import TraceStats

PAPER = 0


def keep(traces: TraceStats, now: float, d: float = 0.5) -> NDArray[np.float64]:
    """[n] activations, any sign; times in seconds, a life shorter than a minute counts as one."""
    life = np.maximum(now - traces.written, 60) / 86400
    return np.asarray(np.log((1 + traces.uses) / (1 - d)) - d * np.log(life))
