"""A diary without end, with questions whose answers are known, in the spirit of the study of paper 229.

Days hold a few entries each: something done with somebody somewhere, a friend whose circumstances changed (or
nearly did), a routine, or nothing much. An event is asked for by some of its cues (who, what, where, when) in
words that the entry does not use; the same people do the same things in other places at other times, so that
near-duplicates outnumber the answer, and what is true now has been preceded by what no longer is. Some
questions ask for what never happened.

    entry     2021-05-04  "Fog over the roofs. Pancakes with Nora at the Copper Kettle, twice over."
    who       Who did I eat breakfast out with at the Copper Kettle on 4 May 2021?    Nora
    latest    Which town is Tomas's home these days?                                  Graz
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from mnemic.types import Record, When, seconds
from mnemic.worlds.life import (
    CLOSINGS,
    FACTS,
    FILLERS,
    OPENINGS,
    PASTIMES,
    PEOPLE,
    ROUTINES,
    SITES,
    Fact,
    Pastime,
    Routine,
)
from mnemic.worlds.question import Question

SOURCE = "diary"
KINDS = (
    "who",
    "where",
    "what",
    "when",
    "latest",
    "then",
    "list",
    "first",
    "nth",
    "last",
    "order",
    "days",
    "absent",
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something done with somebody somewhere on a day, told in entry `index`."""

    pastime: Pastime
    who: str
    where: str
    day: date
    index: int


@dataclass(frozen=True, slots=True)
class Change:
    """From `day` on, `fact` of `who` is `value`, told in entry `index`."""

    fact: Fact
    who: str
    value: str
    day: date
    index: int


@dataclass
class Diary:
    """`days` days of a diary from `start` on, the same for the same seed.

    Attributes:
        entries: records ready to be stored, in order, each with the minute it was written.
        events, changes, visits: what happened in them; visits are (routine, day, index of the entry).
        now: the evening after the last day, seconds since 1970: when the questions are asked.
    """

    seed: int
    days: int
    start: date = date(2021, 3, 1)
    entries: list[Record] = field(init=False, default_factory=list)
    events: list[Event] = field(init=False, default_factory=list)
    changes: list[Change] = field(init=False, default_factory=list)
    visits: list[tuple[Routine, date, int]] = field(init=False, default_factory=list)
    now: float = field(init=False)

    def __post_init__(self) -> None:
        if self.days < 1:
            raise ValueError(f"a diary needs at least one day, not {self.days}")
        rng = random.Random(self.seed)
        for number in range(self.days):
            self._day(rng, self.start + timedelta(days=number))
        evening = self.start + timedelta(days=self.days)
        self.now = seconds(datetime(evening.year, evening.month, evening.day, 20, tzinfo=UTC))

    # ----------------------------------------------------------------- what happens

    def _day(self, rng: random.Random, day: date) -> None:
        minute = rng.randint(6 * 60, 12 * 60)
        for _ in range(rng.choice((1, 1, 2, 2, 3))):
            kind = rng.choices(("event", "change", "idle", "routine", "filler"), (50, 14, 12, 6, 18))[0]
            words = getattr(self, f"_{kind}")(rng, day)
            opening = rng.choice(OPENINGS) + " " if rng.random() < 0.5 else ""
            closing = " " + rng.choice(CLOSINGS) if kind in ("event", "routine") and rng.random() < 0.7 else ""
            self.entries.append(
                Record(
                    text=f"{opening}{words}{closing}",
                    source=SOURCE,
                    author="me",
                    order=len(self.entries),
                    when=When.parse(f"{day}T{minute // 60:02d}:{minute % 60:02d}"),
                )
            )
            minute = min(minute + rng.randint(20, 300), 23 * 60 + 50)

    def _event(self, rng: random.Random, day: date) -> str:
        pastime, who = rng.choice(PASTIMES), rng.choice(PEOPLE)
        where = rng.choice(SITES[pastime.site])
        late = rng.random() < 0.08 and day > self.start
        self.events.append(Event(pastime, who, where, day - timedelta(days=late), len(self.entries)))
        words = rng.choice(pastime.told).format(who=who, where=where)
        return f"Too tired to write yesterday, so here is yesterday: {words}." if late else _sentence(words)

    def _change(self, rng: random.Random, day: date) -> str:
        fact, who = rng.choice(FACTS), rng.choice(PEOPLE[:10])
        value = rng.choice([value for value in fact.values if value != self._value(fact, who)])
        self.changes.append(Change(fact, who, value, day, len(self.entries)))
        return _sentence(rng.choice(fact.told).format(who=who, value=value))

    def _idle(self, rng: random.Random, day: date) -> str:
        fact, who = rng.choice(FACTS), rng.choice(PEOPLE[:10])
        value = rng.choice([value for value in fact.values if value != self._value(fact, who)])
        return _sentence(rng.choice(fact.idle).format(who=who, value=value))

    def _routine(self, rng: random.Random, day: date) -> str:
        routine = rng.choice(ROUTINES)
        self.visits.append((routine, day, len(self.entries)))
        return _sentence(rng.choice(routine.told))

    def _filler(self, rng: random.Random, day: date) -> str:
        return rng.choice(FILLERS).format(n=rng.randint(3, 999))

    def _value(self, fact: Fact, who: str) -> str | None:
        return next((it.value for it in reversed(self.changes) if it.fact is fact and it.who == who), None)

    # ----------------------------------------------------------------- what is asked

    def questions(self, n: int, seed: int = 0) -> list[Question]:
        """Up to `n` different questions, of all kinds in turn as far as the diary has material for them."""
        rng = random.Random(f"{self.seed}/{seed}")
        found: dict[str, Question] = {}
        dry = 0
        while len(found) < n and dry < 50 * len(KINDS):
            question = getattr(self, f"_ask_{KINDS[(len(found) + dry) % len(KINDS)]}")(rng)
            if question is None or question.text in found:
                dry += 1
            else:
                found[question.text] = question
        return list(found.values())

    def _question(self, kind: str, text: str, answers: tuple[str, ...], *gold: int) -> Question:
        return Question(text, kind, answers, gold, self.now)

    def _pick(self, rng: random.Random) -> Event | None:
        return rng.choice(self.events) if self.events else None

    def _date(self, rng: random.Random, event: Event, **cues: object) -> str | None:
        """A time that tells the event apart from all others with the same cues: its month, else its day."""
        same = [it.day for it in self.events if all(getattr(it, name) == value for name, value in cues.items())]
        if sum(day.replace(day=1) == event.day.replace(day=1) for day in same) == 1:
            return f"in {event.day:%B %Y}"
        if same.count(event.day) > 1:
            return None
        day = event.day
        return rng.choice((f"on {day.day} {day:%B %Y}", f"on {day:%B} {day.day}, {day.year}"))

    def _ask_who(self, rng: random.Random) -> Question | None:
        event = self._pick(rng)
        when = event and self._date(rng, event, pastime=event.pastime, where=event.where)
        if not event or not when:
            return None
        text = f"Who did I {event.pastime.asked} with at {event.where} {when}?"
        return self._question("who", text, (event.who,), event.index)

    def _ask_where(self, rng: random.Random) -> Question | None:
        event = self._pick(rng)
        when = event and self._date(rng, event, pastime=event.pastime, who=event.who)
        if not event or not when:
            return None
        text = f"Where did {event.who} and I {event.pastime.asked} {when}?"
        return self._question("where", text, (event.where,), event.index)

    def _ask_what(self, rng: random.Random) -> Question | None:
        event = self._pick(rng)
        when = event and self._date(rng, event, who=event.who, where=event.where)
        if not event or not when:
            return None
        text = f"What were {event.who} and I busy with at {event.where} {when}?"
        return self._question("what", text, (event.pastime.thing,), event.index)

    def _ask_when(self, rng: random.Random) -> Question | None:
        event = self._unique(rng)
        if event is None:
            return None
        text = f"When did {event.who} and I {event.pastime.asked} at {event.where}?"
        return self._question("when", text, (event.day.isoformat(),), event.index)

    def _unique(self, rng: random.Random) -> Event | None:
        """An event whose who, what and where happened once only."""
        once = Counter((it.pastime, it.who, it.where) for it in self.events)
        events = [it for it in self.events if once[it.pastime, it.who, it.where] == 1]
        return rng.choice(events) if events else None

    def _history(self, rng: random.Random, least: int) -> list[Change]:
        """What became of one fact of one person, at least so many times."""
        known = Counter((it.fact.name, it.who) for it in self.changes)
        often = sorted(key for key, times in known.items() if times >= least)
        if not often:
            return []
        name, who = rng.choice(often)
        return [it for it in self.changes if it.fact.name == name and it.who == who]

    def _ask_latest(self, rng: random.Random) -> Question | None:
        history = self._history(rng, 2)
        if not history:
            return None
        newest = history[-1]
        text = rng.choice(newest.fact.now).format(who=newest.who)
        return self._question("latest", text, (newest.value,), newest.index)

    def _ask_then(self, rng: random.Random) -> Question | None:
        """A month in which the fact did not change, and had been told of before."""
        history = self._history(rng, 2)
        for before, after in pairwise(history):
            first = (before.day.replace(day=1) + timedelta(days=32)).replace(day=1)
            last = (first + timedelta(days=32)).replace(day=1)
            if last <= after.day:
                text = before.fact.then.format(who=before.who, when=f"in {first:%B %Y}")
                return self._question("then", text, (before.value,), before.index)
        return None

    def _ask_list(self, rng: random.Random) -> Question | None:
        history = self._history(rng, 2)
        if not 2 <= len(history) <= 5:
            return None
        text = history[0].fact.each.format(who=history[0].who)
        return self._question("list", text, tuple(it.value for it in history), *(it.index for it in history))

    def _ask_first(self, rng: random.Random) -> Question | None:
        """Where something was done with somebody for the first time."""
        return self._ask_rank(rng, "first", 0)

    def _ask_last(self, rng: random.Random) -> Question | None:
        return self._ask_rank(rng, "last", -1)

    def _ask_rank(self, rng: random.Random, kind: str, rank: int) -> Question | None:
        event = self._pick(rng)
        if event is None:
            return None
        same = [it for it in self.events if (it.pastime, it.who) == (event.pastime, event.who)]
        same.sort(key=lambda it: it.day)
        if len(same) < 2 or [it.day for it in same].count(same[rank].day) > 1:
            return None
        text = f"At which place did {event.who} and I {event.pastime.asked} for the {kind} time?"
        return self._question(kind, text, (same[rank].where,), same[rank].index)

    def _ask_nth(self, rng: random.Random) -> Question | None:
        routine = rng.choice(ROUTINES)
        days = [(day, index) for it, day, index in self.visits if it is routine]
        n = rng.randint(2, 5)
        if len(days) < n or [day for day, _ in days].count(days[n - 1][0]) > 1:
            return None
        word = ("second", "third", "fourth", "fifth")[n - 2]
        text = f"When did I {routine.asked} for the {word} time?"
        return self._question("nth", text, (days[n - 1][0].isoformat(),), *(index for _, index in days[:n]))

    def _ask_order(self, rng: random.Random) -> Question | None:
        a, b = self._unique(rng), self._unique(rng)
        if a is None or b is None or a.day == b.day:
            return None
        first, second = (f"{it.pastime.asking} with {it.who} at {it.where}" for it in (a, b))
        text = f"Which came first, {first} or {second}?"
        return self._question("order", text, (first if a.day < b.day else second,), a.index, b.index)

    def _ask_days(self, rng: random.Random) -> Question | None:
        a, b = self._unique(rng), self._unique(rng)
        if a is None or b is None or a.day == b.day:
            return None
        first, second = (f"{it.pastime.asking} with {it.who} at {it.where}" for it in (a, b))
        text = f"How many days passed between {first} and {second}?"
        return self._question("days", text, (str(abs((a.day - b.day).days)),), a.index, b.index)

    def _ask_absent(self, rng: random.Random) -> Question | None:
        """What never happened: a pastime with somebody, or somewhere, or in a month, without an entry."""
        event = self._pick(rng)
        if event is None:
            return None
        who, where = rng.choice(PEOPLE), rng.choice(SITES[event.pastime.site])
        month = event.day.replace(day=1)
        same = [it for it in self.events if it.pastime is event.pastime]
        if not any(it.who == who and it.day.replace(day=1) == month for it in same):
            return self._question(
                "absent", f"Where did {who} and I {event.pastime.asked} in {month:%B %Y}?", ()
            )
        if not any(it.who == who and it.where == where for it in same):
            return self._question("absent", f"When did {who} and I {event.pastime.asked} at {where}?", ())
        return None


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
