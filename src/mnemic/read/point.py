"""Which words of an event answer a question about it.

A place is what "at", "in" or "to" leads to, taken whole ("the house behind the mill", not "the mill"). What
somebody did is told by the sentence. Anything else is the phrase that `extract` finds most fitting; where
there is an embedder, also by how near it comes to the kind of thing asked for ("car": "a red van").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mnemic.read import extract
from mnemic.read.about import Event
from mnemic.read.phrases import Word
from mnemic.read.question import Question
from mnemic.types import Citation, Embedder

NEAR = 6.0  # weight of meaning beside the score of a phrase
_DOING = re.compile(r"\bwhat\b.*?\b(?:do|doing|happen(?:ed)?|busy|up\s+to|go(?:ing)?\s+on)\b", re.IGNORECASE)
_VENUES = tuple(leads.split() for leads in ("at", "in into to inside", "from on across along by near around"))
_WITHIN = frozenset("of at on in behind by under near above beside opposite".split())


def point(asked: Question, event: Event, embedder: Embedder | None) -> Citation | None:
    """The words of `event` that answer; None if it holds no phrase that could."""
    if _DOING.search(asked.text):
        return event.cite()
    if found := place(asked, event):
        return found
    ranked = [c for c in extract.candidates(asked, [event.statement]) if not event.tells(c.start, c.end)]
    if not ranked:
        return None
    best = ranked[0]
    if embedder and asked.asks in ("thing", "place"):
        wanted = " ".join(w.lower for w in asked.words if asked.focus.intersection(w.stems)) or " ".join(
            w.lower for w in asked.words if w.stems and asked.names.isdisjoint(w.stems)
        )
        vectors = embedder.encode([wanted, *(c.text for c in ranked)])
        near = vectors[1:] @ vectors[0]
        best = ranked[int(np.argmax([c.score + NEAR * like for c, like in zip(ranked, near, strict=True)]))]
    return Citation(event.statement.record, best.text, best.start, best.end)


def place(asked: Question, event: Event) -> Citation | None:
    """The place of `event`, if a place is asked for and it says one."""
    span = _place(event, asked.names) if asked.asks == "place" else None
    return _cited(event, *span) if span else None


def _cited(event: Event, i: int, j: int) -> Citation:
    words, record = event.statement.words, event.statement.record
    start, end = words[i].start, words[j - 1].end
    return Citation(record, record.text[start:end], start, end)


def _place(event: Event, names: frozenset[str]) -> tuple[int, int] | None:
    """Words [i, j) of the place of an event: after "at" rather than "in" or "to", those rather than others."""
    words = event.statement.words
    for leads in _VENUES:
        found = [(i + 1, _end(event, i + 1, names)) for i, word in enumerate(words) if word.lower in leads]
        if spans := [(i, j) for i, j in found if j > i]:
            return max(spans, key=lambda span: any(w.kind == "name" for w in words[span[0] : span[1]]))
    return None


def _end(event: Event, i: int, names: frozenset[str]) -> int:
    """Where the noun phrase at word `i` ends, before a time or a name asked for; `i` if there is none."""
    words = event.statement.words
    end = i
    for k in range(i, len(words)):
        word = words[k]
        if event.tells(word.start, word.end) or not names.isdisjoint(word.stems):
            break
        if word.kind in ("open", "name", "number"):
            end = k + 1
        elif not (word.kind == "det" or word.lower in _WITHIN or _joins(words, k)):
            break
    return end


def _joins(words: Sequence[Word], k: int) -> bool:
    """Whether word `k` is inside a name: "number six, Fern Row", "Hill and Daughters"."""
    if k + 1 == len(words) or words[k + 1].kind != "name":
        return False
    return words[k].kind == "comma" or (words[k].lower == "and" and words[k - 1].kind == "name")
