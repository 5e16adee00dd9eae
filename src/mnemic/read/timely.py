"""Texts that say the time asked about rank above texts that only say the words.

A page of a book has no event time of its own: its times are in its words ("from 1916 to 1920 he was ...").
When a question is about a stretch of time, a passage's score is multiplied by

    1 + GAIN (overlaps + begins)

overlaps: 1 if a time it says overlaps the stretch; begins: 1 if one begins within a year of where that begins.
GAIN = 1 lies on a flat optimum (from 1 to 4) on the tuning half of TimeQA. Records with an event time are left
alone: recall has weighed that already.
"""

from __future__ import annotations

from dataclasses import replace

from mnemic.read.time import Plan, expressions, plan
from mnemic.types import Recall, When

GAIN = 1.0
YEAR = 366 * 86400.0


def timely(evidence: Recall, question: str, now: float) -> Recall:
    """The same hits, those that say the time the question asks about first; unchanged if it asks about none."""
    asked = _stretch(plan(question, now))
    if asked is None:
        return evidence
    hits = [
        replace(hit, score=hit.score * (1 + GAIN * says(hit.record.text, asked, now)))
        if hit.record.when is None
        else hit
        for hit in evidence
    ]
    return replace(evidence, hits=tuple(sorted(hits, key=lambda hit: -hit.score)))


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
