"""Months of conversation between somebody and an assistant, with questions whose answers are known.

Sessions lie a day or a few apart. Some bring a fact about the user that is told once, some one that is told
again later with another value, some a recommendation of the assistant, some a standing instruction; most are
about nothing that will ever be asked, in the same words as those that are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mnemic.types import Record, When, seconds
from mnemic.worlds.question import Question

SOURCE = "chat"


@dataclass(frozen=True, slots=True)
class _Told:
    """A fact of the user: what is said of `{value}`, the assistant's reply, how one asks for it."""

    title: str
    said: tuple[str, ...]
    reply: str
    question: str
    values: tuple[str, ...]


_ONCE = (
    _Told("A new pet",
          ("We came home with a kitten yesterday, and after a long debate she is called {value}. What does "
           "she need in her first week?",),
          "Congratulations! Give {value} one quiet room, a litter tray in the far corner, and let her come "
          "to you. A check-up in the first days is wise.",
          "What did I name my cat?", ("Biscuit", "Marlene", "Pepper", "Olive", "Zuzu")),
    _Told("Allergy test",
          ("The test came back and it turns out that I react to {value}. Which everyday dishes should I look "
           "at twice?",),
          "Good to know. Read the labels of sauces, baked goods and spice mixes: {value} hides in all of them.",
          "Which food makes me ill?", ("sesame", "celery", "hazelnuts", "mustard", "lupin")),
    _Told("Packing for a trip",
          ("My flight to {value} leaves next week and I only take hand luggage. What would you leave at "
           "home?",),
          "For {value} I would leave the second pair of shoes, the big towel and every 'just in case'. "
          "Layers beat volume.",
          "Which city was I going to fly to with hand luggage only?", ("Reykjavik", "Lisbon", "Riga",
           "Seville", "Oslo")),
    _Told("An old instrument",
          ("My uncle left me his {value}. I have never played one: how do I find out whether it can be "
           "repaired?",),
          "Take the {value} to somebody who builds them. Look for cracks and loose joints first, and do not "
          "tune it up to pitch yet.",
          "What did I inherit?", ("cello", "accordion", "mandolin", "harmonium", "oboe")),
    _Told("Allotment",
          ("I got plot {value} at the allotments after three years of waiting! What can still go into the "
           "ground?",),
          "Lovely. On plot {value} you can still sow beans, chard and autumn lettuce, if you water in the "
          "evening.",
          "What is the number of my garden plot?", ("17", "42", "8", "63", "29")),
    _Told("Choir",
          ("I have joined a choir, and they put me with the {value}. How do I practise without a piano?",),
          "Welcome to the {value}! Hum a drone from your phone, sing the line slowly against it, and record "
          "yourself.",
          "Which voice do I sing?", ("altos", "tenors", "basses", "sopranos")),
)  # fmt: skip

_CHANGING = (
    _Told("Running plan",
          ("I can run {value} kilometres without stopping now. How do I go on from here?",
           "New record: {value} kilometres without a break. What is the next sensible step?"),
          "Well done. From {value} kilometres add no more than a tenth each week, and one of three runs "
          "stays slow.",
          "How far can I run in one go these days?", ("3", "5", "7", "9", "12", "15", "18")),
    _Told("Language course",
          ("The school moved me to level {value} of the Portuguese course. Which exercises fit that?",
           "I passed, so it is {value} in Portuguese from today. What should I read?"),
          "For {value} I would read short news items aloud, write five sentences a day and keep a list of "
          "your own mistakes.",
          "Which level of my evening class am I in at present?", ("A1.1", "A1.2", "A2.1", "A2.2", "B1.1",
           "B1.2")),
    _Told("Desk at work",
          ("I sit on the {value} floor since this morning, next to the printers. How can I keep the noise out?",
           "They moved my desk again, up to the {value} floor. Any trick against the draught?"),
          "On the {value} floor or any other: soft things between you and the source, and headphones only "
          "for the hard hours.",
          "Which storey is my desk on now?", ("second", "fifth", "third", "seventh", "fourth", "ninth")),
    _Told("Sourdough",
          ("My starter likes {value} flour best, I have decided. How often do I feed it?",
           "I threw everything over and feed the starter {value} flour now. Does that change the timing?"),
          "With {value} flour feed it once a day at room temperature, or once a week in the cold.",
          "What do I currently feed my starter?", ("rye", "spelt", "emmer", "wheat", "einkorn")),
    _Told("Savings",
          ("There are {value} euros in the jar for the canoe. How long at forty a month if it costs nine "
           "hundred?",
           "The canoe jar is at {value} euros as of today. Are we on track?"),
          "With {value} euros in the jar you are on your way; divide what is missing by forty and round up.",
          "How much money is in the jar for the boat?", ("120", "180", "260", "340", "420", "530", "610")),
)  # fmt: skip

_ADVICE = (
    _Told("Somewhere to eat",
          ("Could you think up a name for the little restaurant in my story, the one by the harbour?",),
          "How about {value}? It sounds like a place with six tables and a cook who sings.",
          "What did you suggest calling the restaurant in my story?",
          ("The Salted Plum", "Gull and Ladle", "Table Nine", "The Patient Oyster", "Lantern Soup")),
    _Told("A film for Sunday",
          ("What kind of film would calm three tired adults and one excited child?",),
          "Something with {value}: no villain, plenty of weather, and an ending that everyone sees coming.",
          "What did you say the film for the tired adults should have in it?",
          ("ducks", "a lighthouse", "trains", "a baker", "penguins")),
    _Told("A knot",
          ("Which knot would you use to hang a heavy flower pot from a beam?",),
          "I would use {value}. It holds under load, and you can undo it afterwards without a knife.",
          "Which knot did you recommend for the flower pot?",
          ("a bowline", "a clove hitch", "a rolling hitch", "a figure of eight")),
    _Told("A birthday poem",
          ("I need a rhyme scheme for a short birthday poem that does not sound childish.",),
          "Try {value}. It leaves you room to breathe, and the last line still lands.",
          "Which rhyme scheme did you propose for the birthday poem?", ("ABBA", "ABA BCB", "AABBA", "ABAAB")),
)  # fmt: skip

_STANDING = (
    ("Please always give me metric units from now on.", "Will do: metric from here on.", "metric"),
    ("I am vegetarian, so keep that in mind for every recipe.", "Noted, no meat and no fish.", "vegetarian"),
    ("Call me Robin, please.", "Of course, Robin.", "Robin"),
    ("I prefer short answers without lists.", "Understood. Short, and in sentences.", "short answers"),
    ("Never suggest flights if a train would do.", "Trains first, then.", "train"),
)  # fmt: skip

_SMALL = (
    ("Stains", "How do I get {thing} out of {cloth}?",
     "Cold water first, then a little soap, and patience. Never rub {cloth}; dab, from the edge inward."),
    ("Explain a word", "What does '{word}' mean, and where does it come from?",
     "In short, '{word}' names something that one knows and cannot quite put. It came with traders and "
     "stayed for its sound."),
    ("Dinner", "I have {food} and half a lemon. Is that a dinner?",
     "It is. Brown the {food} slowly, finish with the lemon and whatever green thing is left, and put bread "
     "beside it."),
    ("Plants", "My {plant} drops its leaves. Too much water or too little?",
     "Put a finger into the soil. If it is wet two joints down, let the {plant} dry out; if not, water it "
     "once, deeply."),
    ("Small talk", "Tell me something odd about {beast}.",
     "People who live with {beast} say that they recognise faces, and that they hold a grudge for about a "
     "week."),
    ("Sleep", "I cannot fall asleep when {noise}. What helps?",
     "A steady sound that is yours covers one that is not: a fan will do when {noise}. And get up after "
     "twenty minutes."),
)  # fmt: skip
_SLOTS = {
    "thing": ("red wine", "ink", "candle wax", "grass", "beetroot", "coffee"),
    "cloth": ("linen", "an old shirt", "wool", "the tablecloth", "silk"),
    "word": ("saudade", "gossamer", "murmuration", "petrichor", "sonder", "hinterland"),
    "food": ("leeks", "chickpeas", "a cauliflower", "cold potatoes", "mushrooms", "lentils"),
    "plant": ("ficus", "fern", "lemon tree", "orchid", "basil", "ivy"),
    "beast": ("crows", "octopuses", "donkeys", "hedgehogs", "goats", "eels"),
    "noise": ("the tram goes by", "it rains on the skylight", "the fridge hums", "the neighbours sing"),
}  # fmt: skip
_THANKS = (
    ("Thanks, that helps.", "You are welcome. Ask again when you have tried it."),
    ("And if that does not work?", "Then change one thing at a time, so that you know which one it was."),
    ("My sister says the opposite.", "She may be right for her case; yours I would still do this way."),
    ("How long will it take?", "Less than you fear, and a little more than you would like."),
)  # fmt: skip


@dataclass
class Chat:
    """`sessions` conversations from `start` on, the same for the same seed.

    Attributes:
        sessions: JSON-ready: session_id, title, date, and messages with role, content and created_at.
        questions: with `gold` counting turns over all sessions, as in `entries`.
        standing: the turns (as in `entries`) that say how to answer the user, each with its key word.
        now: a day after the last turn, seconds since 1970: when the questions are asked.
    """

    seed: int
    length: int = 60
    start: date = date(2023, 2, 6)
    sessions: list[dict[str, Any]] = field(init=False, default_factory=list)
    questions: list[Question] = field(init=False, default_factory=list)
    standing: list[tuple[int, str]] = field(init=False, default_factory=list)
    now: float = field(init=False)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"a chat needs at least one session, not {self.length}")
        rng = random.Random(self.seed)
        script = self._script(rng)
        at = datetime(self.start.year, self.start.month, self.start.day, 18, 5, tzinfo=UTC)
        turns = 0
        told: dict[str, list[tuple[_Told, str, int]]] = {}
        for number in range(self.length):
            title, lines, fact, value = script[number]
            if fact is not None:
                told.setdefault(fact.question, []).append((fact, value, turns + (fact in _ADVICE)))
            if title == "How to answer me":
                self.standing.append((turns, value))
            messages = [
                {
                    "role": ("user", "assistant")[i % 2],
                    "content": line,
                    "created_at": f"{at + timedelta(minutes=2 * i):%Y-%m-%dT%H:%M:%S}",
                }
                for i, line in enumerate(lines)
            ]
            self.sessions.append(
                {
                    "session_id": f"s{number + 1:03d}",
                    "title": title,
                    "date": f"{at:%Y-%m-%d}",
                    "messages": messages,
                }
            )
            turns += len(lines)
            at += timedelta(days=rng.choice((1, 1, 2, 2, 3, 5)), minutes=rng.randint(-90, 90))
        self.now = seconds(at)
        for question, history in told.items():
            fact, value, index = history[-1]
            kind = "advice" if fact in _ADVICE else "fact" if len(history) == 1 else "latest"
            self.questions.append(Question(question, kind, (value,), (index,), self.now))
        for fact in (*_ONCE, *_CHANGING, *_ADVICE):
            if fact.question not in told:
                self.questions.append(Question(fact.question, "absent", (), (), self.now))

    @property
    def entries(self) -> list[Record]:
        """The turns of all sessions as records ready to be stored."""
        return [
            Record(
                text=message["content"],
                kind="turn",
                source=SOURCE,
                author=message["role"],
                session=session["session_id"],
                title=session["title"],
                order=order,
                when=When.parse(message["created_at"]),
            )
            for session in self.sessions
            for order, message in enumerate(session["messages"])
        ]

    def _script(self, rng: random.Random) -> list[tuple[str, list[str], _Told | None, str]]:
        """Title, lines, fact and value of every session; what changes does so in the order of its values."""
        special: list[tuple[float, str, list[str], _Told | None, str]] = []
        for fact in rng.sample(_ONCE, 4) + rng.sample(_ADVICE, 3):
            special.append((rng.random(), *self._told(rng, fact, rng.choice(fact.values), 0)))
        for fact in rng.sample(_CHANGING, 4):
            first = rng.randrange(len(fact.values) - 2)
            for rank, place in enumerate(sorted(rng.random() for _ in range(rng.choice((2, 3))))):
                special.append((place, *self._told(rng, fact, fact.values[first + rank], min(rank, 1))))
        for asked, reply, word in rng.sample(_STANDING, 3):
            special.append((rng.random(), "How to answer me", [asked, reply], None, word))
        special.sort(key=lambda it: it[0])
        special = special[: max(1, self.length // 2)]
        places = sorted(rng.sample(range(self.length), len(special)))
        script: list[tuple[str, list[str], _Told | None, str]] = [self._small(rng) for _ in range(self.length)]
        for place, (_, title, lines, told, value) in zip(places, special, strict=True):
            script[place] = (title, lines, told, value)
        return script

    def _told(
        self, rng: random.Random, fact: _Told, value: str, form: int
    ) -> tuple[str, list[str], _Told, str]:
        lines = [fact.said[form].format(value=value), fact.reply.format(value=value), *rng.choice(_THANKS)]
        return fact.title, lines, fact, value

    def _small(self, rng: random.Random) -> tuple[str, list[str], None, str]:
        title, asked, reply = rng.choice(_SMALL)
        slots = {name: rng.choice(values) for name, values in _SLOTS.items()}
        more = [line for pair in rng.sample(_THANKS, rng.choice((0, 1, 2))) for line in pair]
        return title, [asked.format(**slots), reply.format(**slots), *more], None, ""
