"""Answers that event times decide: when, how long between, which first, in what order, before, after, latest.

Every sentence of a dated record is an event; its time is the one it says ("yesterday", in a record of
2023-05-02, is 2023-05-01), else its record's. Which events a question is about is a matter of words; which of
them answers is a matter of dates alone, never of similarity: the newest event tells how things are now, the
last one before the move tells how things were before the move.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mnemic.read import asker, extract, states
from mnemic.read.about import Event, about, events
from mnemic.read.extract import Statement
from mnemic.read.point import place, point
from mnemic.read.question import analyse
from mnemic.read.time import Plan, plan
from mnemic.types import Answer, Citation, Embedder, Recall, When

DAY = 86400.0


def answer(
    question: str, evidence: Recall, *, now: When | None, embedder: Embedder | None = None
) -> Answer | None:
    """What event times answer; None when the question does not turn on them or the evidence has no times."""
    found = asker.own(analyse(question), extract.statements(evidence))
    known = events(found)
    if not known:
        return None
    asked_at = now.middle if now else max(e.when.end for e in known)
    split = plan(without_order(question), asked_at)
    story = _Story(question, split, found, known, asked_at, embedder)
    given = story.answer()
    return None if given is None else replace(given, evidence=evidence)


@dataclass(frozen=True)
class _Story:
    """One question over the events of its evidence."""

    question: str
    plan: Plan
    found: Sequence[Statement]
    known: Sequence[Event]
    now: float
    embedder: Embedder | None

    def answer(self) -> Answer | None:
        if self.plan.asks == "duration":
            return self.duration()
        if self.plan.asks == "order":
            return self.order()
        if _LIST.search(self.question):
            return self.sequence()
        turns = self.plan.order or self.plan.anchor or self.plan.during or self.plan.before or self.plan.after
        if self.plan.asks == "date":
            return self.date()
        if turns or (_present(self.question) and not _NAME.search(self.question)):
            return self.state()
        return None

    # ------------------------------------------------------------------ which events

    def about(self, text: str, among: Sequence[Event]) -> list[Event]:
        return about(text, among, self.found, self.embedder)

    @cached_property
    def wanted(self) -> states.Asked | None:
        """The state a question asks for, how things are or were rather than what happened; None if none."""
        lasting = _present(self.question) or _LASTING.search(self.question) or _LIST.search(self.question)
        if not lasting or self.embedder is None or not states.known(self.embedder):
            return None
        wanted = states.asked(self.plan.what, self.embedder)
        return wanted if wanted.share >= states.ASKED else None

    def telling(self, among: Sequence[Event]) -> list[Event]:
        """The events that tell the state asked for."""
        if self.wanted is None or self.embedder is None:
            return []
        return states.telling(self.wanted, among, self.embedder)

    def one(self, text: str) -> Event | None:
        """The event that a few words name: the best match, the earliest of equals."""
        pool = self.about(text, self.known)
        return min(pool, key=lambda e: (-e.match, e.when.start)) if pool else None

    def chosen(self) -> list[Event]:
        """The events the question is about, within its time, in order of time."""
        split = self.plan
        within = [
            e
            for e in self.known
            if (split.during is None or e.when.overlaps(split.during))
            and (split.before is None or e.when.end <= split.before)
            and (split.after is None or e.when.start >= split.after)
        ]
        if split.during and (
            self.wanted or _LASTING.search(self.question)
        ):  # what lasts was told before, and is not over
            end = split.during.end
            within = [e for e in self.known if e.when.start < end]
        pool = self.telling(within) or self.about(split.what, within)
        return sorted(pool, key=lambda e: (e.when.middle, e.statement.record.order, e.statement.start))

    # ------------------------------------------------------------------ answers

    def date(self) -> Answer | None:
        pool = self.placed(self.chosen())
        if not pool:
            return None
        event = self.nth(pool) if self.plan.order else max(pool, key=lambda e: e.match)
        return _given(self.dated(event.when), [event]) if event else None

    def dated(self, when: When) -> str:
        """A time in ISO 8601, to the day unless the time of day is asked for."""
        fine = when.precision in ("hour", "minute", "second") and not _CLOCK.search(self.question)
        return when.iso.partition("T")[0] if fine else when.iso

    def state(self) -> Answer | None:
        pool = self.placed(self.chosen())
        if not pool:
            return None
        newest = (
            self.plan.order or self.plan.anchor or _present(self.question) or _LASTING.search(self.question)
        )
        event = self.nth(pool) if newest or self.wanted else max(pool, key=lambda e: e.match)
        cited = self.words(event) if event else None
        return _given(cited.quote, [event], cited) if event and cited else None

    def words(self, event: Event) -> Citation | None:
        """The words of an event that answer."""
        asked = analyse(self.plan.what)
        if self.wanted and self.embedder:
            told = place(asked, event) or states.value(self.wanted, event, self.embedder)
            if told:
                return told
        return point(asked, event, self.embedder)

    def nth(self, pool: Sequence[Event]) -> Event | None:
        """The event of a pool in order of time that was asked for, by default the newest; None past its end."""
        order = self.plan.order
        if order == "first" or (order is None and self.plan.anchor and self.plan.anchor.relation in _LATER):
            return pool[0]
        if isinstance(order, int):
            return pool[order - 1] if order <= len(pool) else None
        return pool[-1]

    def placed(self, pool: list[Event]) -> list[Event]:
        """Those of a pool that lie as asked to the event the question names, if it names one."""
        anchor = self.plan.anchor
        if anchor is None or not pool:
            return pool
        inside = [
            e
            for e in self.about(anchor.event, self.known)
            if anchor.when is None or e.when.overlaps(anchor.when)
        ]
        own = [e for e in inside if any(e.statement is p.statement for p in pool)]
        marks = sorted(own or inside, key=lambda e: e.when.middle)
        for mark in reversed(marks):
            if lying := [e for e in pool if _LIES[anchor.relation](e.when, mark.when)]:
                return [e for e in lying if e.statement is not mark.statement] or lying
        return []

    def duration(self) -> Answer | None:
        between = next((m for pattern in _BETWEEN if (m := pattern.search(self.question))), None)
        unit = (_UNIT.search(self.question) or ["", "day"])[1].lower()
        if between:
            first, second = self.one(between["a"]), self.one(between["b"])
            if first is None or second is None:
                return None
            return _given(_apart(first.when, second.when, unit), [first, second])
        if not _UNTIL_NOW.search(self.question):
            return None
        event = self.one(_COUNTING.sub(" ", self.plan.what))
        if event is None:
            return None
        now = When(self.now, self.now + 1, offset=event.when.offset)
        return _given(_apart(event.when, now, unit), [event])

    def order(self) -> Answer | None:
        if either := _EITHER.search(self.question):
            first, second = self.one(either["a"]), self.one(either["b"])
            if first is None or second is None or first.when.middle == second.when.middle:
                return None
            later = re.search(r"\b(?:last|later|latest|after)\b", self.question, re.IGNORECASE)
            a_wins = (first.when.middle > second.when.middle) == bool(later)
            return _given((either["a"] if a_wins else either["b"]).strip(), [first, second])
        if did := _DID.search(self.question):
            first, second = self.one(did["a"]), self.one(did["b"])
            if first is None or second is None:
                return None
            yes = _LIES["before" if did["relation"].lower() == "before" else "after"](first.when, second.when)
            return _given("yes" if yes else "no", [first, second])
        return self.sequence()

    def sequence(self) -> Answer | None:
        """All that the question is about, the earliest first, each with its date."""
        pool = self.chosen()
        return (
            _given("; ".join(f"{self.dated(e.when)}: {e.statement.text}" for e in pool), pool) if pool else None
        )


_LATER = ("after", "since")
_LIES: dict[str, Callable[[When, When], bool]] = {
    "before": lambda a, b: a.middle < b.middle,
    "until": lambda a, b: a.middle < b.middle,
    "after": lambda a, b: a.middle > b.middle,
    "since": lambda a, b: a.middle > b.middle,
    "during": lambda a, b: a.overlaps(b),
}
_BETWEEN = (
    re.compile(r"\bbetween\s+(?P<a>.+?)\s+and\s+(?P<b>.+?)\s*\?*$", re.IGNORECASE),
    re.compile(r"\bfrom\s+(?P<a>.+?)\s+(?:to|until)\s+(?P<b>.+?)\s*\?*$", re.IGNORECASE),
    re.compile(r"\b(?:after|before)\s+(?P<a>.+?)\s+(?:did|was|were)\s+(?P<b>.+?)\s*\?*$", re.IGNORECASE),
)
_UNIT = re.compile(r"\b(day|week|month|year|hour)s?\b", re.IGNORECASE)
_COUNTING = re.compile(
    r"\bhow\s+(?:many|much|long)\b|\b(?:days?|weeks?|months?|years?|hours?|ago|since|passed|time|it\s+been)\b",
    re.IGNORECASE,
)
_UNTIL_NOW = re.compile(r"\b(?:ago|since|have\s+passed|has\s+it\s+been|has\s+passed)\b", re.IGNORECASE)
_SIDE = r"(?:[^,:]|,(?=\s(?-i:[A-Z])))+?"  # a comma only within a name: "number six, Fern Row"
_EITHER = re.compile(
    r"\b(?:first|earlier|earliest|last|later|latest)\b\s*[,:—-]?\s*"
    rf"(?P<a>{_SIDE}),?\s+or\s+(?P<b>{_SIDE})\s*\?*$",
    re.IGNORECASE,
)
_DID = re.compile(r"^\W*\w+\s+(?P<a>.+?)\s+(?P<relation>before|after)\s+(?P<b>.+?)\s*\?*$", re.IGNORECASE)
_CLOCK = re.compile(r"\bo'clock\b|\b(?:what|which)\s+(?:time|hour)\b", re.IGNORECASE)
_LASTING = re.compile(
    r"\b(?:live|lived|living|work|worked|working|own|owned|stay|stayed|belong|belonged|based|drive|drove|use|used|wear|"
    r"wore|earn|earned|prefer|preferred)\b|\b(?:what|which)\s+(?:\w+\s+){1,2}(?:was|were)\b",
    re.IGNORECASE,
)
_LIST = re.compile(r"\b(?:oldest|earliest)\s+first\b|\bin\s+(?:chronological\s+)?order\b", re.IGNORECASE)
_NAME = re.compile(
    r"\b(?:called|named|name)\s*\?*\s*$|\bname\s+of\b", re.IGNORECASE
)  # told once, by "is called"
_PRESENT = re.compile(r"\b(?:is|are|am|do|does|has|have)\b", re.IGNORECASE)


_NOW = re.compile(
    r"\b(?:now|nowadays|currently|presently|these\s+days|at\s+present|at\s+the\s+moment|right\s+now)\b",
    re.IGNORECASE,
)


def without_order(question: str) -> str:
    """A question without the words that ask for its answers in order of time."""
    return _LIST.sub("", question)


def _present(question: str) -> bool:
    """Whether a question asks how things are, so that the newest event tells."""
    if _NOW.search(question):
        return True
    first = _PRESENT.search(question)
    return first is not None and not re.search(r"\b(?:was|were|did|had|ever)\b", question[: first.start()])


def _given(text: str, events_: Sequence[Event], citation: Citation | None = None) -> Answer:
    citations = (citation,) if citation else tuple(e.cite() for e in events_)
    sure = math.prod(e.sure for e in events_) ** (1 / len(events_))
    return Answer(text, citations, confidence=sure)


def _apart(a: When, b: When, unit: str) -> str:
    """How far apart two times begin, in whole units, days counted by the calendar: "14 days"."""
    first, second = (it.start + 60 * (it.offset or 0) for it in (a, b))
    if unit != "hour":
        first, second = first // DAY * DAY, second // DAY * DAY
    size = {"hour": 3600.0, "day": DAY, "week": 7 * DAY, "month": 30.4375 * DAY, "year": 365.25 * DAY}[unit]
    n = round(abs(second - first) / size)
    return f"{n} {unit}{'' if n == 1 else 's'}"
