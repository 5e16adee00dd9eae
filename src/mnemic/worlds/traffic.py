"""What one person asks an assistant over some weeks, with what is right at each moment.

Programs, facts of a made-up country, how things stand now, the person's own affairs, and small talk come mixed.
A question is asked in many wordings; beside most lies another that sounds almost the same and means something
else: the other language, the other direction, another number, a denial, another time. Code is asked about by
few people's favourites over and over, small talk hardly twice. Prices, weather and scores change by the hour,
the person's own affairs a few times, and then the memory is told.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["code", "knowledge", "state", "personal", "chat"]

_CODE_FORMS = (
    "How do I {do} in {lang}?",
    "How can I {do} in {lang}?",
    "In {lang}, how do I {do}?",
    "{do} in {lang}",
    "how to {do} in {lang}",
    "What is the best way to {do} in {lang}?",
    "Show me how to {do} in {lang}",
    "I need to {do} in {lang}, how?",
    "Could you tell me how one can {do} in {lang}?",
    "how do you {do} using {lang}",
    "What's the {lang} idiom to {do}?",
    "Is there a simple way to {do} in {lang}?",
    "{lang} code to {do} please",
)
# Each line: wordings of one task, then its neighbours, which are tasks of their own.
_TASKS = (
    (("reverse a list", "invert a list"), ("reverse a string",), ("sort a list",)),
    (("sort a list in ascending order",), ("sort a list in descending order",), ("sort a list by length",)),
    (("convert a number to a string",), ("convert a string to a number",)),
    (("convert a date to a timestamp", "turn a date into a timestamp"), ("convert a timestamp to a date",)),
    (
        ("remove duplicates from a list", "delete duplicates from a list", "drop repeated entries from a list"),
        ("find duplicates in a list",),
        ("count duplicates in a list",),
    ),
    (("copy a file", "duplicate a file"), ("move a file",), ("copy a file without overwriting",)),
    (
        ("read the first 10 lines of a file",),
        ("read the last 10 lines of a file",),
        ("read the first 100 lines of a file",),
    ),
    (
        ("round a number to 2 decimals", "round a number to two decimal places"),
        ("round a number to 3 decimals",),
    ),
    (("encode text as base64", "base64 encode a text"), ("decode text from base64",)),
    (
        ("loop over a dictionary", "iterate over a dictionary", "go through all entries of a dictionary"),
        ("loop over a list",),
    ),
    (("check that a file exists", "test whether a file exists"), ("check that a file does not exist",)),
    (("start a thread", "begin a thread", "launch a thread"), ("stop a thread",), ("start 4 threads",)),
    (("catch an exception", "handle an exception", "catch an error"), ("raise an exception",)),
    (("join two strings", "concatenate two strings"), ("compare two strings",), ("join three strings",)),
)
_LANGUAGES = ("Python", "Rust", "JavaScript", "Go", "Ruby")

_PLACES = ("Orvany", "Tessmark", "Lower Brill", "Quenland", "Sarrow", "Ostmere", "Vallin", "Hask")
_PEOPLE = ("Ada Molnar", "Jonas Reit", "Petra Quill", "Emil Varga", "Nora Lindqvist")
_FACTS = (
    (
        (
            "What is the capital of {p}?",
            "What's {p}'s capital?",
            "Which town is the capital of {p}?",
            "capital of {p}",
            "Do you know the capital of {p}?",
            "Tell me the capital of {p}.",
        ),
        ("What is the largest port of {p}?",),
        ("What was the capital of {p}?",),
    ),
    (
        (
            "How high is Mount {p}?",
            "What is the height of Mount {p}?",
            "How tall is Mount {p}?",
            "Mount {p} height",
            "Can you tell me how high Mount {p} is?",
        ),
        ("How deep is Lake {p}?",),
        ("How far is Mount {p}?",),
    ),
    (
        (
            "Who founded {p}?",
            "By whom was {p} founded?",
            "Do you know who founded {p}?",
            "Who established {p}?",
            "Who was the founder of {p}?",
        ),
        ("Who left {p}?",),
        ("When was {p} founded?",),
    ),
    (
        ("Is {p} larger than {q}?", "Is {p} bigger than {q}?", "Tell me, is {p} larger than {q}?"),
        ("Is {q} larger than {p}?",),
        ("Is {p} not larger than {q}?",),
        ("Is {p} smaller than {q}?",),
    ),
    (
        (
            "Which river flows from {p} to {q}?",
            "What river flows from {p} to {q}?",
            "Do you know which river flows from {p} to {q}?",
        ),
        ("Which river flows from {q} to {p}?",),
    ),
    (
        ("Who ruled {p} in 1820?", "Who was ruling {p} in 1820?", "Do you remember who ruled {p} in 1820?"),
        ("Who ruled {p} in 1840?",),
        ("Who ruled {p} before 1820?",),
        ("Who ruled {p} after 1820?",),
    ),
    (
        ("Did {a} defeat {b} at {p}?", "Did {a} beat {b} at {p}?", "Was it {a} who defeated {b} at {p}?"),
        ("Did {b} defeat {a} at {p}?",),
    ),
    (
        (
            "Which metal is mined in {p}?",
            "What metal do they mine in {p}?",
            "Which metal do people dig for in {p}?",
        ),
        ("Which metal is not mined in {p}?",),
        ("Which salt is mined in {p}?",),
    ),
)

_COMPANIES = ("Brillwerk", "Ostmere Rail", "Hask Foods", "Vallin Energy")
_STATES = (
    (
        2.0,
        (
            "What is the share price of {c}?",
            "What's the stock price of {c}?",
            "share price {c}",
            "Can you tell me the share price of {c}?",
            "What is the share price of {c} right now?",
            "How much is a share of {c}?",
        ),
    ),
    (
        3.0,
        (
            "What is the weather in {p}?",
            "What's the weather like in {p}?",
            "weather in {p}",
            "How is the weather in {p} at the moment?",
            "Tell me the weather in {p}",
        ),
    ),
    (
        4.0,
        (
            "What is the exchange rate from {c} tokens to {p} crowns?",
            "exchange rate from {c} tokens to {p} crowns",
            "What's the exchange rate from {c} tokens to {p} crowns currently?",
        ),
    ),
    (
        4.0,
        (
            "What is the exchange rate from {p} crowns to {c} tokens?",
            "exchange rate from {p} crowns to {c} tokens",
            "Tell me the exchange rate from {p} crowns to {c} tokens",
        ),
    ),
    (
        0.5,
        (
            "What is the score of {p} against {q}?",
            "What's the score of {p} against {q}?",
            "score of {p} against {q} please",
        ),
    ),
    (0.5, ("What is the score of {q} against {p}?", "what's the score of {q} against {p} right now")),
)

_AFFAIRS = (
    (
        "I live in {v} now.",
        ("Aldham", "Birchford", "Corle", "Dunsey"),
        (
            "Where do I live?",
            "Which town do I live in?",
            "Tell me where I live",
            "Do you know where I live?",
            "Where is it that I live at the moment?",
        ),
        ("Where did I live before?", "Where does my sister live?"),
    ),
    (
        "My dentist is Dr. {v}.",
        ("Amsel", "Brodin", "Castell", "Dorn"),
        (
            "Who is my dentist?",
            "What is the name of my dentist?",
            "Remind me who my dentist is",
            "What's my dentist called?",
            "my dentist's name",
        ),
        ("Who was my dentist?", "Who is her dentist?"),
    ),
    (
        "I can run {v} kilometres without a break.",
        ("4", "7", "10", "13"),
        (
            "How far can I run without a break?",
            "What distance can I run without a break?",
            "Do you remember how far I can run without a break?",
        ),
        ("How far can I run with a break?",),
    ),
    (
        "Our next meeting is in room {v}.",
        ("101", "204", "309", "412"),
        (
            "Which room is our next meeting in?",
            "In which room is our next meeting?",
            "In what room is our next meeting?",
            "Do you know which room our next meeting is in?",
        ),
        ("Which room was our last meeting in?",),
    ),
    (
        "My bike is a {v}.",
        ("Kestrel", "Marlin", "Otter", "Puffin"),
        (
            "What bike do I have?",
            "Which bike do I have?",
            "Which bicycle do I have?",
            "What kind of bike do I own?",
        ),
        ("Which bike did I have?", "Which bike do you have?"),
    ),
    (
        "I pay {v} euros for the flat.",
        ("640", "700", "755", "810"),
        (
            "What do I pay for the flat?",
            "How much do I pay for the flat?",
            "How much do I pay for the apartment?",
            "What is it that I pay for my flat?",
        ),
        ("How much did I pay for the flat?", "How much do I pay for the garage?"),
    ),
)

_SUBJECTS = (
    "penguins",
    "trains",
    "soup",
    "umbrellas",
    "Mondays",
    "lawyers",
    "cats",
    "the sea",
    "bread",
    "ghosts",
)
_TALK = (
    (
        "Tell me a joke about {s}",
        "Do you know a joke about {s}?",
        "I want to hear a joke about {s}",
        "Got any good jokes about {s}?",
        "make me laugh with something about {s}",
    ),
    ("Say something nice about {s}", "Say something kind about {s}", "Could you say something nice about {s}?"),
    (
        "I'm bored, tell me something odd about {s}",
        "What is something odd about {s}?",
        "something odd about {s} please",
    ),
    ("Do you like {s}?", "Are you fond of {s}?", "So, do you like {s}?"),
    (
        "Write a two-line poem about {s}",
        "Can you write a two-line poem about {s}?",
        "a two-line poem about {s}",
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question at a moment (seconds): `answer` is right then; `about` names the affair it rests on, if
    any."""

    at: float
    text: str
    kind: Kind
    answer: str
    about: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the memory is told at a moment: how the affair `about` stands from now on."""

    at: float
    text: str
    about: int


SHARES: dict[Kind, float] = {"code": 0.3, "knowledge": 0.25, "state": 0.15, "personal": 0.2, "chat": 0.1}
HOUR, DAY = 3600.0, 86400.0


@dataclass
class Traffic:
    """`length` questions over `days` with what is told in between, in the order of time; the same for a
    seed."""

    seed: int
    length: int = 250
    days: float = 21.0
    start: float = 1.7e9
    events: list[Asked | Told] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.length < 1 or self.days <= 0:
            raise ValueError(f"traffic needs a question and some time, not {self.length} in {self.days} days")
        self._rng = random.Random(self.seed)
        self._tasks = self._rng.sample(range(len(_TASKS)), 6)
        self._languages = self._rng.sample(_LANGUAGES, 2)
        self._places = self._rng.sample(_PLACES, 4)
        self._told = {n: self._tellings(n) for n in self._rng.sample(range(len(_AFFAIRS)), 4)}
        told = [
            Told(at, _AFFAIRS[n][0].format(v=value), n) for n, some in self._told.items() for at, value in some
        ]
        kinds = self._rng.choices(list(SHARES), list(SHARES.values()), k=self.length)
        self.events = sorted([*told, *map(self._asked, self._moments(), kinds)], key=lambda it: it.at)

    def _moments(self) -> list[float]:
        """Some visits a day, a few questions each, minutes apart."""
        rng, found = self._rng, list[float]()
        while len(found) < self.length:
            at = self.start + rng.random() * self.days * DAY
            for _ in range(rng.randint(3, 12)):
                found.append(at)
                at += rng.expovariate(1 / 180.0)
        return sorted(found[: self.length])

    def _tellings(self, affair: int) -> list[tuple[float, str]]:
        values = self._rng.sample(_AFFAIRS[affair][1], self._rng.choice((1, 2, 3)))
        times = [self.start - 1, *sorted(self.start + self._rng.random() * self.days * DAY for _ in values[1:])]
        return list(zip(times, values, strict=True))

    def _asked(self, at: float, kind: Kind) -> Asked:
        return {
            "code": self._code,
            "knowledge": self._knowledge,
            "state": self._state,
            "personal": self._personal,
            "chat": self._chat,
        }[kind](at)

    def _often(self, number: int) -> int:
        """One of so many, the first far more often (Zipf)."""
        return self._rng.choices(range(number), [1 / (rank + 1) for rank in range(number)])[0]

    def _code(self, at: float) -> Asked:
        task = self._tasks[self._often(len(self._tasks))]
        neighbour = 0 if self._rng.random() < 0.65 else self._rng.randrange(len(_TASKS[task]))
        language = self._languages[self._rng.random() < 0.3]
        do = self._rng.choice(_TASKS[task][neighbour])
        text = self._rng.choice(_CODE_FORMS).format(do=do, lang=language)
        return Asked(at, text, "code", f"code {task}.{neighbour} {language}")

    def _knowledge(self, at: float) -> Asked:
        fact = self._often(len(_FACTS))
        neighbour = 0 if self._rng.random() < 0.65 else self._rng.randrange(len(_FACTS[fact]))
        p, q = self._places[self._often(2)], self._places[2]
        named = {"p": p, "q": q, "a": _PEOPLE[fact % 2], "b": _PEOPLE[2 + fact % 3]}
        text = self._rng.choice(_FACTS[fact][neighbour]).format(**named)
        return Asked(at, text, "knowledge", f"fact {fact}.{neighbour} {p}")

    def _state(self, at: float) -> Asked:
        which = self._rng.randrange(len(_STATES))
        hours, forms = _STATES[which]
        p, c = self._places[self._often(2)], _COMPANIES[self._often(2)]
        text = self._rng.choice(forms).format(p=p, q=self._places[3], c=c)
        reading = int((at + 977.0 * which) // (hours * HOUR))  # until then it is another
        subject = c if "{c}" in forms[0] and "{p}" not in forms[0] else f"{c} {p}" if "{c}" in forms[0] else p
        return Asked(at, text, "state", f"state {which} {subject} {reading}")

    def _personal(self, at: float) -> Asked:
        affair = self._rng.choice(list(self._told))
        _, _, forms, others = _AFFAIRS[affair]
        if self._rng.random() < 0.25:
            text = self._rng.choice(others)
            return Asked(at, text, "personal", f"other affair {text}", None)
        value = [value for since, value in self._told[affair] if since <= at][-1]
        return Asked(at, self._rng.choice(forms), "personal", f"affair {affair} {value}", affair)

    def _chat(self, at: float) -> Asked:
        which, subject = self._rng.randrange(len(_TALK)), self._rng.choice(_SUBJECTS)
        return Asked(at, self._rng.choice(_TALK[which]).format(s=subject), "chat", f"talk {which} {subject}")

    def __iter__(self) -> Iterator[Asked | Told]:
        return iter(self.events)
