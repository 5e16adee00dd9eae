"""Which dated sentences of the evidence a few words are about.

The names among the words must be there. They say nothing of what happened, though, and two sentences that
share a name are alike for that alone; so the names asked for are left out before meanings are compared:

    fit = (1 - LIKE) coverage(words) + LIKE cosine(words without names, sentence without those names)

Without an embedder it is the coverage alone. A name that is missing costs most of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnemic.index.words import terms
from mnemic.read import extract
from mnemic.read.extract import Statement
from mnemic.read.kin import root
from mnemic.read.phrases import Word
from mnemic.read.question import Question, analyse
from mnemic.read.time import Expression, expressions
from mnemic.types import Citation, Embedder, Floats, When

LIKE = 0.8  # weight of meaning beside words
ABOUT = 0.85  # share of the best event's match that makes another event one of "those"
SAME = 0.5  # cosine to the best event that makes another one tell the same
MISSING = 0.3  # what is left of a match for every name that is not there
BY_WORDS = (14.0, 0.52)  # slope and middle of the probability that a match is right, set by hand
BY_MEANING = (14.0, 0.33)
_LIGHT = frozenset(map(root, terms("go get make take come happen busy")))  # words that tell nothing of what


@dataclass(frozen=True, slots=True)
class Event:
    """A sentence of the evidence, its time and the words in it that say that; how it fits what is asked."""

    statement: Statement
    when: When
    said: Expression | None
    match: float = 0.0
    sure: float = 0.0

    def tells(self, start: int, end: int) -> bool:
        """Whether characters [start, end) of the record hold a word of the time it says."""
        at = self.statement.start
        return self.said is not None and start < at + self.said.end and at + self.said.start < end

    def cite(self) -> Citation:
        s = self.statement
        return Citation(s.record, s.text, s.start, s.end)


def events(found: Sequence[Statement]) -> list[Event]:
    """The statements of dated records, each at the time it says or else at its record's."""
    dated: list[Event] = []
    for statement in found:
        if (at := statement.record.when) is not None:
            said = _said(statement.text, at)
            dated.append(Event(statement, said.when if said else at, said))
    return dated


def _said(text: str, at: When) -> Expression | None:
    """The first time that words of `at` say, if it was not still to come."""
    past = (e for e in expressions(text, at.middle) if e.relation == "during" and e.when.start < at.end)
    return next(past, None)


def about(
    text: str, among: Sequence[Event], found: Sequence[Statement], embedder: Embedder | None
) -> list[Event]:
    """The events that match `text` nearly as well as the best of them or tell the same, each with its match.

    Args:
        found: every statement of the evidence, which tells how rare words are.
    """
    if not among:
        return []
    asked = analyse(text)
    asked = replace(asked, content=tuple(s for s in asked.content if s not in _LIGHT))
    rare = extract.rarity(found, asked.content)
    fits = np.array([extract.coverage(asked, e.statement, rare) for e in among], np.float32)
    alike: Floats = np.eye(len(among), dtype=np.float32)
    if embedder and not asked.names.issuperset(asked.content):
        like, alike = _likeness(asked, among, embedder)
        fits = (1 - LIKE) * fits + LIKE * like
    for n, event in enumerate(among):
        there = event.statement.stems | event.statement.about
        fits[n] *= MISSING ** sum(name not in there for name in asked.names)
    best = int(np.argmax(fits))
    same = (fits >= ABOUT * fits[best]) | ((alike[best] >= SAME) & (fits > MISSING * fits[best]))
    slope, middle = BY_MEANING if embedder else BY_WORDS
    sure = 1 / (1 + np.exp(-slope * (fits - middle)))
    return [
        replace(event, match=float(fits[n]), sure=float(sure[n]))
        for n, event in enumerate(among)
        if same[n] and fits[n] > 0
    ]


def _likeness(asked: Question, among: Sequence[Event], embedder: Embedder) -> tuple[Floats, Floats]:
    """[events] how alike each event is to what is asked; [events, events] and to one another."""
    whole = [nameless(e.statement.record.text, e.statement.words, asked.names) for e in among]
    named = [text.rpartition(":")[2] for text in whole]  # what a colon leads to is what is told
    asked_for, told, parts = np.split(
        embedder.encode([nameless(asked.text, asked.words, asked.names), *whole, *named]), [1, 1 + len(whole)]
    )
    like = np.maximum(told @ asked_for[0], parts @ asked_for[0])
    return np.maximum(like, 0), told @ told.T


def nameless(text: str, words: Sequence[Word], names: frozenset[str]) -> str:
    return " ".join(text[w.start : w.end] for w in words if w.kind != "name" or names.isdisjoint(w.stems))
