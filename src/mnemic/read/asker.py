"""Whose life a sentence tells of, where a question is about the asker's own.

"What do I do for work?" is not answered by what a friend does, nor by what the assistant says. A sentence is of
somebody else when it opens with them ("Nora", "she", "my friend") and nothing in it is the teller's own ("I",
"me", "my" before anything but a person).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mnemic.index.words import terms
from mnemic.read.extract import Statement
from mnemic.read.kin import kin
from mnemic.read.phrases import MONTHS, Word
from mnemic.read.question import Question

_ASKER = re.compile(
    r"\b(?:do|did|am|was|have|had|can|could|will|should|is|are|were)\s+(?:i|we|my|our)\b", re.IGNORECASE
)
_NOW = re.compile(r"\b(?:do|am|have|can)\s+(?:i|we)\b|\b(?:is|are)\s+(?:my|our)\b", re.IGNORECASE)
_YOU = re.compile(r"\byou\b", re.IGNORECASE)
_MINE = frozenset("i me mine we us ours i'm i've i'd i'll we're we've".split())
_OTHERS = frozenset("he she his her hers".split())
_PEOPLE = frozenset(
    "friend friends sister brother mother father mum mom dad parents son daughter child children kid kids wife "
    "husband partner boyfriend girlfriend aunt uncle cousin niece nephew grandmother grandfather neighbour "
    "neighbor colleague boss roommate flatmate".split()
)


def own(question: Question, found: Sequence[Statement]) -> list[Statement]:
    """The statements that may answer: those of the asker's own where the question is about these.

    What happened is told of others too ("Felix took me out in a boat"); how things are with the asker is not.
    """
    if not _ASKER.search(question.text):
        return list(found)
    told = found if _YOU.search(question.text) else [s for s in found if s.record.author != "assistant"]
    if question.names or not _NOW.search(question.text) or _people(question.words):
        return list(told)
    return [s for s in told if not of_another(s.words)]


def of_another(words: Sequence[Word]) -> bool:
    """Whether a sentence opens with somebody else and holds nothing of the teller's own."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word.lower.replace("’", "'") in _MINE:
            return False
        if word.lower in ("my", "our") and not (following and following.lower.removesuffix("'s") in _PEOPLE):
            return False
    rest = [w for w in words if w.kind not in ("adverb", "conj", "comma", "quote")]
    if not rest:
        return False
    return _person(*rest[:2]) or rest[0].lower in _OTHERS or _people(words[:3])


def _person(opening: Word, following: Word | None = None) -> bool:
    """Whether the word that opens a sentence names somebody: a verb may follow, it is none itself ("Moved")."""
    if opening.kind != "name" or opening.lower in MONTHS or opening.lower.endswith(("ed", "ing")):
        return False
    ordinary = any(kin(s) for s in opening.stems) or opening.stems != tuple(terms(opening.lower))
    return not ordinary and following is not None and following.kind in ("open", "aux", "name")


def _people(words: Sequence[Word]) -> bool:
    """Whether words name somebody by what they are to the asker."""
    return any(w.lower.removesuffix("'s") in _PEOPLE for w in words)
