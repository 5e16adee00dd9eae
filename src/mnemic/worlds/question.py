"""A question about a generated text, with its answer and where that stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which kind, what is right, and on what that rests.

    Attributes:
        answers: what is right; of kind "list" all of them in order, else acceptable forms; () if the text
            does not say.
        gold: indexes of the entries that the answer rests on.
        now: when it is asked, seconds since 1970.
    """

    text: str
    kind: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    now: float
