"""Time expressions: what "last spring", "two weeks before Christmas" or "between 1961 and 1965" mean.

`atoms.py` finds "last spring", "Christmas" and "1961" and resolves them; here what stands around an atom
widens, narrows or moves it ("late", "two weeks before", "to 1965", "at 4 pm"), and its preposition says on
which side of it the question lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from mnemic.patterns import pattern
from mnemic.read import calendar as cal
from mnemic.read.atoms import NUMBER, UNIT, Atom, atoms, number, part_of_day, unit
from mnemic.read.calendar import Direction
from mnemic.types import When, moment

Relation = Literal["during", "before", "until", "after", "since"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A time expression: characters [start, end) of the question, its preposition included.

    `relation` says how what is asked lies to `when`: within it, before its start ("before"), up to its end
    ("until"), after its end ("after") or from its start on ("since").
    """

    start: int
    end: int
    when: When
    relation: Relation = "during"


_LINK = pattern(r"\s*(?P<word>and|to|until|till|through|[-–—])\s*(?:in\s+|the\s+)?", re.IGNORECASE)
_OPENS_RANGE = pattern(r"\b(?:(?P<between>between)|(?P<from>from))\s+(?:the\s+)?$", re.IGNORECASE)
_EDGE = pattern(
    r"(?:\b(?P<edge>early|mid|late)|(?:the\s+)?\b(?P<noun>beginning|start|middle|end|(?:first|second)\s+half)\s+of)"
    r"[- ](?:in\s+)?(?:the\s+)?$",
    re.IGNORECASE,
)
_SHIFT = pattern(
    rf"(?:\b{NUMBER}|\bthe)\s+{UNIT}\s+(?:(?P<before>before|prior\s+to|preceding)|after|following)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_OF = pattern(r"\bthe\s+(?P<unit>week|month|year)\s+of\s+(?:the\s+)?$", re.IGNORECASE)
_ABOUT = pattern(r"\b(?:about|around|circa|roughly|approximately)\s+(?:the\s+)?$", re.IGNORECASE)
_PART_AFTER = pattern(
    r"\s+(?:(?:in|at|during)\s+)?(?:the\s+)?(morning|afternoon|evening|night)\b", re.IGNORECASE
)
_CLOCK = r"(?P<hour>[012]?\d)(?::(?P<minute>[0-5]\d))?\s*(?P<half>am|pm|a\.m\.|p\.m\.)?"
_CLOCK_AFTER = pattern(rf",?\s+at\s+{_CLOCK}(?!\w)", re.IGNORECASE)
_CLOCK_BEFORE = pattern(rf"\bat\s+{_CLOCK}\s+(?:on\s+)?(?:the\s+)?$", re.IGNORECASE)
_ONWARD = pattern(r"\s+(?:on|onwards?)\b", re.IGNORECASE)
_PREPOSITION_WORDS: dict[Relation, str] = {
    "before": r"before|prior\s+to|earlier\s+than",
    "until": r"until|till|up\s+to|by|as\s+of|no\s+later\s+than",
    "after": r"after|following|later\s+than",
    "since": r"since|starting(?:\s+(?:in|on|from))?",
    "during": r"(?:back\s+)?in|on|at|during|within|over|throughout|through|from|of|for",
}
_PREPOSITIONS = {
    relation: pattern(rf"\b(?:{words})\s+(?:the\s+)?$", re.IGNORECASE)
    for relation, words in _PREPOSITION_WORDS.items()
}


def expressions(question: str, now: float) -> list[Expression]:
    """The time expressions of a question, in order, resolved against `now` (seconds since 1970).

    They do not overlap. What is no date (a 31st of June) is passed over.
    """
    at = moment(now)
    ahead: Direction = "next" if _LOOKS_AHEAD.search(question) else "past"
    found: list[Expression] = []
    for atom in _ranges(question, at, ahead):
        earliest = found[-1].end if found else 0
        found.append(_related(question, _dressed(question, atom, earliest), earliest))
    return found


_LOOKS_AHEAD = pattern(
    r"\b(?:will|shall|going to|upcoming|planned|planning|scheduled|plans? for)\b", re.IGNORECASE
)


def _ranges(text: str, now: datetime, ahead: Direction) -> list[Atom]:
    """Atoms, those joined to a range made one; the first of a range is meant seen from the second."""
    found: list[Atom] = []
    for atom in atoms(text, now, ahead):
        first = found[-1] if found else None
        link = first and _LINK.fullmatch(text, first.end, atom.start)
        if first and link:
            opening = _OPENS_RANGE.search(text, 0, first.start)
            dash = link["word"] in "-–—"
            if (opening and bool(opening["between"]) == (link["word"].lower() == "and")) or dash:
                before = moment(atom.when.end - 1)
                seen = next(it.when for it in atoms(text, before, "past") if it.start == first.start)
                if seen.start < atom.when.end:
                    start = opening.start() if opening else first.start
                    when = When(
                        seen.start, atom.when.end, atom.when.precision, about=seen.about or atom.when.about
                    )
                    found[-1] = Atom(start, atom.end, when)
                    continue
        found.append(atom)
    return found


def _dressed(text: str, atom: Atom, earliest: int) -> Expression:
    """The atom with the words around it that say which part of it, or how far from it, is meant."""
    start, end, when = atom.start, atom.end, atom.when
    if when.precision == "day" and when.end - when.start == 86400:
        if part := _PART_AFTER.match(text, end):
            end, when = part.end(), part_of_day(when, part[1])
        elif clock := _CLOCK_AFTER.match(text, end) or _CLOCK_BEFORE.search(text, earliest, start):
            start, end = min(start, clock.start()), max(end, clock.end())
            when = _clock(when, clock)
    if edge := _EDGE.search(text, earliest, start):
        start, when = edge.start(), _edge(when, (edge["edge"] or edge["noun"]).lower())
    if shift := _SHIFT.search(text, earliest, start):
        start, when = shift.start(), _shifted(when, shift)
    elif of := _OF.search(text, earliest, start):
        start, when = of.start(), cal.unit_around(moment(when.start), unit(of["unit"]))
    if about := _ABOUT.search(text, earliest, start):
        start, when = about.start(), replace(when, about=True)
    return Expression(start, end, when)


def _edge(when: When, name: str) -> When:
    """The early, middle or late third of a stretch, or one of its halves."""
    first, last = {
        "early": (0.0, 1 / 3), "beginning": (0.0, 1 / 3), "start": (0.0, 1 / 3), "first half": (0.0, 1 / 2),
        "mid": (1 / 3, 2 / 3), "middle": (1 / 3, 2 / 3),
        "late": (2 / 3, 1.0), "end": (2 / 3, 1.0), "second half": (1 / 2, 1.0),
    }[" ".join(name.split())]  # fmt: skip
    width = when.end - when.start
    return replace(when, start=when.start + first * width, end=when.start + last * width, about=True)


def _shifted(when: When, match: re.Match[str]) -> When:
    """So many units before or after a stretch; "the week before" ends where the stretch starts."""
    step = unit(match["unit"])
    start, end = moment(when.start), moment(when.end)
    if match["n"]:
        n = number(match["n"])
        return cal.near(cal.add(start, -n if match["before"] else n, step), step)
    if match["before"]:
        return cal.stretch(cal.add(start, -1, step), start)
    return cal.stretch(end, cal.add(end, 1, step))


def _clock(day: When, match: re.Match[str]) -> When:
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), (match["half"] or "").lower()[:1]
    hour = hour % 12 + 12 * (half == "p") if half else hour
    start = day.start + 3600 * (hour % 24) + 60 * minute
    return When(start, start + (60 if match["minute"] else 3600), "minute" if match["minute"] else "hour")


def _related(text: str, expression: Expression, earliest: int) -> Expression:
    """The expression with the preposition before it."""
    for relation, words in _PREPOSITIONS.items():
        if found := words.search(text, earliest, expression.start):
            end = expression.end
            if found[0].lower().startswith("from") and (onward := _ONWARD.match(text, end)):
                relation, end = "since", onward.end()
            return replace(expression, start=found.start(), end=end, relation=relation)
    return expression
