"""A question split into what is asked and when it was (papers 110 and 182), by rules.

"Where did I live before the move in 2016?" asks *where did I live*, tells an event, *the move*, that what is
asked lies before, and a stretch of time, 2016. Times are answered from event times, so what can be decided by
them is taken out of the words that are searched for. The expressions themselves are in `expressions.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mnemic.patterns import pattern
from mnemic.read.atoms import ORDINALS
from mnemic.read.expressions import Expression, Relation, expressions
from mnemic.types import When

__all__ = ["Anchor", "Expression", "Plan", "expressions", "plan"]

Asks = Literal["date", "duration", "order"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """An event that what is asked lies before, after or within: its words, and its time if that was said."""

    relation: Relation
    event: str
    when: When | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A question, split.

    Attributes:
        what: the question without its time words, to be searched for.
        during: the stretch it is about; None if none was said.
        before, after: what is asked ended by, or started from, then (seconds since 1970, as in `Filter`).
        order: "first" or "last" of several, their n-th from 1, or "latest": how things stand now.
        anchor: an event it lies before, after or within.
        asks: whether the answer is a date, a duration, or which came first; None if it is no time.
    """

    what: str
    during: When | None = None
    before: float | None = None
    after: float | None = None
    order: Literal["first", "last", "latest"] | int | None = None
    anchor: Anchor | None = None
    asks: Asks | None = None


def plan(question: str, now: float) -> Plan:
    """Split a question asked at `now` (seconds since 1970) into what and when."""
    said = expressions(question, now)
    asks = _asks(question)
    cut = [(it.start, it.end) for it in said]
    anchor = None
    if asks not in ("duration", "order") and (match := _anchor(question, said)):
        inside = [it for it in said if match.start() <= it.start and it.end <= match.end()]
        relation = _RELATIONS[match["relation"].lower().split()[-1]]
        event = _without(match["event"], [(a - match.start("event"), b - match.start("event")) for a, b in cut])
        anchor = Anchor(relation, event, _together([it.when for it in inside]))
        if relation != "during":
            said = [it for it in said if it not in inside]
        cut.append(match.span())
    order, span = (None, None) if asks == "order" else _order(question, cut)
    if span:
        cut.append(span)
    before = [
        it.when.start if it.relation == "before" else it.when.end for it in said if it.relation in _EARLIER
    ]
    after = [it.when.end if it.relation == "after" else it.when.start for it in said if it.relation in _LATER]
    return Plan(
        what=_without(question, cut),
        during=_together([it.when for it in said if it.relation == "during"]),
        before=min(before, default=None),
        after=max(after, default=None),
        order=order,
        anchor=anchor,
        asks=asks,
    )


_EARLIER, _LATER = ("before", "until"), ("after", "since")


# --------------------------------------------------------------------------- what kind of answer

_DURATION = pattern(
    r"\bhow\s+(?:many|much)\s+(?:\w+\s+)?(?:seconds|minutes|hours|days|weeks|months|years|decades|time)\b.*"
    r"\b(?:ago|between|before|after|since|pass(?:ed)?|elapsed?|until|from|been|take|took|apart|later|earlier|for)\b"
    r"|\bhow\s+long\s+(?:ago|after|before|since|until|between|has|have|had|did|do|does|was|were|will|it)\b",
    re.IGNORECASE,
)
_AUXILIARY = r"(?:is|was|are|were|am|do|does|did|has|have|had|will|would|can|should|exactly|\w+['’]s)"
_DATE = pattern(
    rf"\b(?:since\s+|until\s+)?when\s+{_AUXILIARY}\b"
    r"|\b(?:what|which)\s+(?:\w+\s+)?(?:date|day|month|year|weekday|decade|century|time|season)\b",
    re.IGNORECASE,
)
_ORDER = pattern(
    r"\b(?:which|who|what)\b.*\b(?:first|earlier|earliest|later|latest|last|before)\b.*\bor\b"
    r"|\b(?:which|who|what)\b.{0,60}?\b(?:came|come|comes|happened|occurred|took\s+place|started|was)\s+"
    r"(?:first|earlier|later|last)\b"
    r"|\b(?:what|which)\s+(?:(?:is|was|were)\s+the\s+)?(?:\w+\s+)?(?:order|sequence)\b"
    r"|\bfrom\s+(?:the\s+)?(?:first|earliest|oldest)\s+to\s+(?:the\s+)?(?:last|latest|newest)\b"
    r"|^\W*(?:did|was|were|had|have|has)\b.*\b(?:before|after|earlier\s+than|later\s+than)\s+"
    r"(?:i|we|he|she|they|you|my|the|our|his|her|their|(?-i:[A-Z])\w+)\b.*\?",
    re.IGNORECASE | re.DOTALL,
)


def _asks(question: str) -> Asks | None:
    if _DURATION.search(question):
        return "duration"
    if _ORDER.search(question):
        return "order"
    return "date" if _DATE.search(question) else None


# --------------------------------------------------------------------------- which of several

_NO_EVENT = (
    r"(?!\s+(?:names?|aid|floor|class|grade|language|hand|person|world|lady|street|avenue|edition|place|draft|minute|"
    r"degree|cousin|half|quarter|resort|of\s+all)\b)"
)
_NTH = pattern(
    rf"\b(?P<word>{'|'.join(ORDINALS)}|(?P<digits>\d{{1,3}})(?:st|nd|rd|th))\s+"
    r"(?:time\b|(?=(?:visit|trip|meeting|session|call|attempt|appointment|conversation|lesson|interview|letter|"
    r"message|entry)\b))",
    re.IGNORECASE,
)
_FIRST = pattern(rf"\b(?:very\s+)?(?:first|earliest)\b{_NO_EVENT}(?:\s+time\b)?", re.IGNORECASE)
_LAST = pattern(
    rf"\b(?:very\s+)?last\b{_NO_EVENT}(?:\s+time\b)?"
    r"(?!\s+(?:week|month|year|night|spring|summer|autumn|fall|winter|decade|century|weekend|quarter|\w+day|\d+|"
    r"few)\b)",
    re.IGNORECASE,
)
_LATEST = pattern(
    r"\b(?:most\s+recent(?:ly)?|latest|newest|current(?:ly)?|right\s+now|now(?:adays)?|at\s+(?:the\s+moment|present)|"
    r"these\s+days|as\s+of\s+(?:now|today)|recently|lately|still|any\s?more)\b",
    re.IGNORECASE,
)


def _order(
    question: str, taken: list[tuple[int, int]]
) -> tuple[Literal["first", "last", "latest"] | int | None, tuple[int, int] | None]:
    """Which of several is asked for, and the words that say so; words inside times and events do not count."""

    def free(match: re.Match[str]) -> bool:
        return all(match.end() <= start or end <= match.start() for start, end in taken)

    for nth in filter(free, _NTH.finditer(question)):
        n = int(nth["digits"]) if nth["digits"] else ORDINALS[nth["word"].lower()]
        return ("first" if n == 1 else n), nth.span()
    for name, words in (("latest", _LATEST), ("first", _FIRST), ("last", _LAST)):
        for match in filter(free, words.finditer(question)):
            return name, match.span()  # type: ignore[return-value]
    return None, None


# --------------------------------------------------------------------------- events whose time is not said

_RELATIONS: dict[str, Relation] = {
    "before": "before", "to": "before", "until": "until", "till": "until", "time": "until", "after": "after",
    "following": "after", "since": "since", "when": "during", "while": "during", "during": "during",
}  # fmt: skip
_ANCHOR = pattern(
    r"\b(?P<relation>(?:(?:right|just|shortly|soon)\s+)?(?:before|prior\s+to|until|till|by\s+the\s+time|after|"
    r"following|since|when|while|during))\s+(?P<event>(?:i|we|you|he|she|they|it|my|our|your|his|her|their|its|the|a|"
    r"an|that|this|(?-i:[A-Z])\w+|\w+ing)\b[^?,;.]*)",
    re.IGNORECASE,
)


def _anchor(question: str, said: list[Expression]) -> re.Match[str] | None:
    """The first event that something is before, after or within, not a time expression's own "before"."""
    for match in _ANCHOR.finditer(question):
        if not any(it.start < match.end("relation") and match.start() < it.end for it in said):
            return match
    return None


# --------------------------------------------------------------------------- pieces


def _together(whens: list[When]) -> When | None:
    """What several stretches have in common; if nothing, the stretch from the first to the last."""
    if not whens:
        return None
    start, end = max(it.start for it in whens), min(it.end for it in whens)
    if start >= end:
        start, end = min(it.start for it in whens), max(it.end for it in whens)
    finest = min(whens, key=lambda it: it.end - it.start)
    return When(start, end, finest.precision, finest.offset, any(it.about for it in whens))


def _without(question: str, cut: list[tuple[int, int]]) -> str:
    """The question without some stretches; the whole of it if nothing would be left."""
    kept = "".join(c for i, c in enumerate(question) if not any(start <= i < end for start, end in cut))
    kept = re.sub(
        r"\b(?:the|for\s+the)\s+(?=[?.!,]|$)|^[,;:\s]+|,\s*(?=[?.!]+(?:\s|$))", "", kept, flags=re.IGNORECASE
    )
    kept = re.sub(r"\s+(?=[?.!,]+(?:\s|$))", "", " ".join(kept.split()))
    return kept if re.search(r"\w", kept) else question
