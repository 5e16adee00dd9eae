"""Decay: a salience that fades with age and is renewed by use and importance (HEMA, paper 83).

    keep = (importance + uses) * 2 ** (-(now - last) / half_life)        last = max(written, used)

The paper prunes its vector memory weighted by age ("semantic forgetting"); this exponential form, the half-life
of a month and one unit of salience for each recall are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemic.retain import recency
from mnemic.types import Claim, TraceStats

PAPER = 83

CLAIM = Claim(
    says="where what was asked often is asked again, fading salience keeps more of what is asked than recency",
    task="retention",
    method="decay",
    baseline="recency",
    sabotage="decay, uses shuffled",
    metric="kept",
    budget="half the bytes",
)


def keep(traces: TraceStats, now: float, half_life: float = 30 * 86400) -> NDArray[np.float64]:
    """[n], 0 and above; times and `half_life` in seconds."""
    return np.asarray((traces.importance + traces.uses) * recency.keep(traces, now, half_life))
