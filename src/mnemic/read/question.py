"""What a question asks for: the kind of answer, the words that must be near it, the names that must match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mnemic.read.phrases import Word, words

Asks = Literal["person", "place", "date", "number", "reason", "manner", "yes-no", "thing"]
ASKS: tuple[Asks, ...] = ("person", "place", "date", "number", "reason", "manner", "yes-no", "thing")

_OPENER: dict[str, Asks] = {
    "who": "person", "whom": "person", "whose": "person", "where": "place", "when": "date",
    "why": "reason", "how": "manner", "what": "thing", "which": "thing",
}  # fmt: skip
_NOUN: dict[Asks, str] = {
    "person": "person man woman girl boy king queen president author scientist researcher leader player actor "
    "actress singer writer inventor",
    "place": "place city country town village state province region continent location county street island "
    "nation room where neighbourhood",
    "date": "year date day month century decade time season",
    "number": "number percentage percent amount distance age price population rate size cost degree "
    "temperature speed length height weight",
    "reason": "reason cause purpose motive",
}
_ASKED_NOUN: dict[str, Asks] = {noun: asks for asks, nouns in _NOUN.items() for noun in nouns.split()}
_BE = frozenset("is are was were".split())
_OF_NOUNS = frozenset("type kind sort form name example part one piece of".split())
_MEASURES = frozenset("many much long old far tall high deep fast big large often heavy wide".split())


@dataclass(frozen=True, slots=True)
class Question:
    """A question taken apart.

    Attributes:
        words: all of its words and marks; wh: the index of the question word, -1 if there is none.
        asks: the kind of answer expected.
        focus: stems of the noun that the answer is an instance of ("which *city*"), may be empty.
        content: stems of the words that evidence should share, without the focus's question word.
        names: stems of its capitalised words and numbers, which must match.
        subject: whether the question word is the subject ("who wrote ..."), so the answer precedes the verb.
        negated: whether it denies ("which was not ...").
    """

    text: str
    words: tuple[Word, ...]
    wh: int
    asks: Asks
    focus: frozenset[str]
    content: tuple[str, ...]
    names: frozenset[str]
    subject: bool
    negated: bool


def analyse(text: str) -> Question:
    """Take a question apart."""
    found = words(text)
    wh = next((i for i, w in enumerate(found) if w.lower in _OPENER), -1)
    asks, focus = _expected(found, wh)
    after = found[wh + 1] if 0 <= wh < len(found) - 1 else None
    asked = {w.start for w in focus}
    negated = any(w.kind == "negation" or w.lower.endswith(("n't", "n’t")) for w in found)
    content = [s for w in found for s in w.stems if w.lower not in ("many", "much") and w.kind != "negation"]
    named = [w for w in found if w.kind == "name" or w.lower[0].isdigit()]
    if named[:1] == found[:1] and found[1:2] and found[1].kind == "det":  # "List the ..." names nothing
        named = named[1:]
    names = {s for w in named if w.start not in asked for s in w.stems}
    return Question(
        text=text,
        words=tuple(found),
        wh=wh,
        asks=asks,
        focus=frozenset(s for w in focus for s in w.stems),
        content=tuple(dict.fromkeys(content)),
        names=frozenset(names),
        subject=after is not None and (after.kind == "open" or _passive(found, wh)),
        negated=negated,
    )


def _expected(found: Sequence[Word], wh: int) -> tuple[Asks, Sequence[Word]]:
    """The kind of answer, and the words of the noun it is an instance of."""
    if wh < 0:
        return ("yes-no", ()) if found and found[0].kind == "aux" else ("thing", ())
    opener = found[wh].lower
    if opener == "how":
        measured = wh + 1 < len(found) and found[wh + 1].lower in _MEASURES
        counted = measured and found[wh + 1].lower in ("many", "much")
        return ("number" if measured else "manner"), (_noun(found, wh + 2) if counted else ())
    if opener not in ("what", "which"):
        return _OPENER[opener], ()
    noun = _noun(found, wh + 1)
    for word in reversed(noun):
        if word.lower in _ASKED_NOUN:
            return _ASKED_NOUN[word.lower], noun
    return "thing", noun


def _noun(found: Sequence[Word], i: int) -> Sequence[Word]:
    """The noun phrase at word `i`, past "is the", "type of" and the like."""
    if i < len(found) and found[i].kind == "aux" and found[i].lower not in _BE:
        return ()
    while i < len(found) and (found[i].lower in _BE or found[i].kind == "det" or found[i].lower in _OF_NOUNS):
        i += 1
    j = i
    while j < len(found) and found[j].kind in ("open", "name", "unit"):
        j += 1
    if all(w.kind == "name" for w in found[i:j]):  # "what were Ann and I ...": no kind of thing is named
        return ()
    closed = j < len(found) and found[j].kind in ("aux", "prep", "stop", "pron")
    return found[i:j] if closed or j - i < 2 else found[i : j - 1]


def _passive(found: Sequence[Word], wh: int) -> bool:
    """ "What was built ...": an auxiliary and at once an open-class verb form."""
    pair = found[wh + 1 : wh + 3]
    return len(pair) == 2 and pair[0].kind == "aux" and pair[1].kind == "open"
