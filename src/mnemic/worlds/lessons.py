"""Lines to learn from which words tell what a question asks: what `read.states` is fitted on.

`lessons.txt` holds what may become true of a person (forty-odd states, each told, nearly told and asked in
several ways) and what people do; a line is one wording filled with a name and a value.

    state pet   told   Alma took in a greyhound from the shelter.
                idle   Alma would like a parrot but the landlord forbids it.
                now    Which animal lives with Alma these days?

None of it is worded like the diary of `worlds.diary`, on which what was learned is measured.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

MONTHS = ("in March 2022", "in June 2020", "in August 2021", "in May 2019", "in November 2023")
_OTHERS = (("he", "him", "his"), ("she", "her", "her"), ("they", "them", "their"))


@dataclass(frozen=True)
class Topic:
    """A state or something done, with its wordings: `lines["told"]`, `lines["idle"]`, ..."""

    kind: str
    name: str
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def values(self) -> tuple[str, ...]:
        """What a state may be, where something may be done."""
        return self.lines.get("values", self.lines.get("sites", ("",)))


@dataclass(frozen=True, slots=True)
class Line:
    """A wording of a topic, filled: `way` is "told", "idle" or how it is asked."""

    topic: str
    kind: str
    way: str
    template: str
    text: str
    who: str
    value: str

    @property
    def says(self) -> bool:
        """Whether it is a sentence of a diary rather than a question."""
        return self.way in ("told", "idle")


@cache
def topics() -> tuple[Topic, ...]:
    """Every topic of `lessons.txt`, and what is of no topic: "fillers" and "names"."""
    found: list[Topic] = []
    text = files("mnemic.worlds").joinpath("lessons.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        key, colon, rest = line.partition(": ")
        if not colon:
            kind, _, name = line.partition(" ")
            found.append(Topic(kind, name))
        elif key in ("fillers", "names"):
            found.append(Topic(key, key, {"told": tuple(rest.split(" | "))}))
        else:
            found[-1].lines[key] = tuple(rest.split(" | "))
    return tuple(found)


def lines(rng: random.Random, values: int) -> Iterator[Line]:
    """Every wording, those that tell filled with up to `values` values each."""
    names = next(topic.lines["told"] for topic in topics() if topic.kind == "names")
    for topic in topics():
        if topic.kind == "names":
            continue
        for way, templates in topic.lines.items():
            if way in ("values", "sites"):
                continue
            for template in templates:
                filled = "{value}" in template or "{where}" in template
                some = rng.sample(topic.values, min(values, len(topic.values))) if filled else [""]
                for value in some:
                    who = rng.choice(names)
                    text = fill(template, way, who, value, rng)
                    yield Line(topic.name, topic.kind, way, template, text, who, value)


def fill(template: str, way: str, who: str, value: str, rng: random.Random) -> str:
    """A wording with its places filled, "a" as the word after it wants; a doing becomes a question."""
    he, him, his = rng.choice(_OTHERS) if way in ("told", "idle") else _OTHERS[-1]
    text = template.format(
        who=who,
        value=value,
        where=value,
        then=rng.choice(MONTHS),
        he=he,
        him=him,
        his=his,
        himself=f"{him}self",
    )
    text = re.sub(r"\b(a) (?=[aeiouAEIOU])", "an ", text)
    if way == "asked":
        return f"When did {who} and I {text}?"
    return f"{text[0].upper()}{text[1:]}." if way in ("told", "idle") else text
