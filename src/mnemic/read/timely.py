"""Texts that say the time asked about rank above texts that only say the words (MRAG, paper 182).

A page of a book has no event time of its own: its times are in its words ("from 1916 to 1920 he was ...").
When a question is about a stretch of time, a passage's score is multiplied by

    1 + GAIN (overlaps + begins)

overlaps: 1 if a time it says overlaps the stretch; begins: 1 if one begins within a year of where that begins.
GAIN = 1 lies on a flat optimum (from 1 to 4) on the tuning half of TimeQA. Records with an event time are left
alone: that has been weighed already.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mnemic.read.time import Plan, expressions
from mnemic.types import Claim, When

PAPER = 182
CLAIM = Claim(
    says="splitting a question into what and when finds the evidence for the time asked more often",
    task="timeqa",
    method="mnemic",
    baseline="words",
    sabotage="another time",
    metric="evidence@1",
    budget="one paragraph read",
)

GAIN = 1.0
DEPTH = 50  # of the best passages are read for the times they say
YEAR = 366 * 86400.0


def timely(
    scores: NDArray[np.float64], undated: NDArray[np.bool_], text: Callable[[int], str], asked: Plan, now: float
) -> NDArray[np.float64]:
    """The scores [n], those of the best passages that say the time asked about raised; at most 1 if they were.

    Args:
        scores: [n], at least 0.
        undated: [n] where a record has no event time.
        text: the words of the record at a row.
    """
    stretch = _stretch(asked)
    if stretch is None:
        return scores
    raised = scores.copy()
    rows = np.flatnonzero(undated & (scores > 0))
    for row in rows[np.argsort(-scores[rows], kind="stable")[:DEPTH]].tolist():
        raised[row] *= 1 + GAIN * says(text(row), stretch, now)
    return raised / max(1.0, float(raised.max(initial=0)))


def says(text: str, asked: When, now: float) -> int:
    """0 to 2: whether a time said in `text` overlaps `asked`, and whether one begins about when it does."""
    said = [expression.when for expression in expressions(text, now)]
    return any(it.overlaps(asked) for it in said) + any(abs(it.start - asked.start) < YEAR for it in said)


def _stretch(split: Plan) -> When | None:
    """The stretch of time a question is about."""
    if split.during is not None:
        return split.during
    if split.after is not None and split.before is not None and split.after < split.before:
        return When(split.after, split.before)
    return None
