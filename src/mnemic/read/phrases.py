"""Words with their class, and the phrases that could answer a question, by rules alone.

There is no tagger here: the few hundred closed-class words of English (articles, prepositions, pronouns,
auxiliaries) are listed, numbers and capitals are seen, and everything else is an open-class word. A phrase
is a run of words that such words may start, join and end; which phrase answers is decided by `extract`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mnemic.index.words import terms
from mnemic.read.kin import root

WordClass = Literal[
    "open", "name", "number", "det", "prep", "conj", "pron", "aux", "adverb", "wh", "negation", "unit",
    "comma", "stop", "quote", "bracket", "mark", "edge",
]  # fmt: skip
CLASSES: tuple[WordClass, ...] = (
    "open", "name", "number", "det", "prep", "conj", "pron", "aux", "adverb", "wh", "negation", "unit",
    "comma", "stop", "quote", "bracket", "mark", "edge",
)  # fmt: skip

_CLOSED: dict[WordClass, str] = {
    "det": "a an the this that these those each every some any no another such both all several many much "
    "its his her their our my your whose",
    "prep": "of in on at by for with from to into onto upon about against between among through during before "
    "after above below under over within without along across behind beyond near toward towards around "
    "despite except since until till per via throughout inside outside beside besides like unlike than",
    "conj": "and or but nor so yet because although though while if unless whereas as",
    "pron": "i me we us you he him she they them it mine ours yours hers theirs himself herself itself "
    "themselves myself ourselves yourself there",
    "aux": "is are was were be been being am has have had having do does did doing will would shall should "
    "can could may might must",
    "adverb": "also then now very too only just still already ever never often usually generally later "
    "however therefore thus hence finally instead again soon first mostly mainly nearly almost about "
    "approximately roughly more most less least here up down out off away back even especially",
    "wh": "who whom which what when where why how",
    "negation": "not never neither none nothing nobody cannot",
    "unit": "percent per cent million billion thousand hundred dozen years year months month weeks week days "
    "day hours hour minutes minute seconds second km kilometres kilometers miles mile metres meters feet foot "
    "inches cm mm kg kilograms grams pounds tons tonnes acres hectares dollars euros degrees litres liters "
    "people persons men women children times",
}
_CLASS_OF: dict[str, WordClass] = {w: name for name, words in _CLOSED.items() for w in words.split()}
_NUMBER_WORDS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety".split()
)
MONTHS = frozenset(
    "january february march april may june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter".split()
)
_TITLED = (
    r"(?:Dr|Mr|Mrs|Ms|Mx|Prof|St|Rev|Capt|Col|Gen|Lt|Sgt|Sen|Gov|[A-Z])\.(?=\s*[A-Z])"  # "Dr. Hale", "J. Hale"
)
_TOKEN = re.compile(
    rf"[$£€]?\d+(?:[.,:]\d+)*(?:st|nd|rd|th|s)?%?|(?:[A-Z]\.){{2,}}|(?<!\w){_TITLED}|\w+(?:['’]\w+)*|\.\.\.|[^\w\s]",
    re.UNICODE,
)
_MARKED: dict[WordClass, str] = {"comma": ",", "bracket": "()[]", "stop": ".!?;:…", "quote": "\"'“”‘’«»`"}
_MARKS: dict[str, WordClass] = {mark: name for name, marks in _MARKED.items() for mark in marks}
_YEAR = re.compile(r"(?:1\d|20)\d\ds?")
_POSSESSIVE = re.compile(r"['’]s$")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or mark of a text: its characters [start, end), lower case, class and stems."""

    start: int
    end: int
    lower: str
    kind: WordClass
    stems: tuple[str, ...]


def words(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words and marks of `text[start:end]`, in order; positions count from the start of `text`."""
    found: list[Word] = []
    opening = True
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        raw = match.group()
        lower = raw.lower()
        kind = _kind(raw, lower, opening)
        found.append(Word(match.start(), match.end(), lower, kind, _stems(raw, kind)))
        opening = kind in ("stop", "quote") or (opening and kind in ("mark", "bracket"))
    return found


def _stems(raw: str, kind: WordClass) -> tuple[str, ...]:
    told = kind in ("open", "name", "number", "unit", "adverb", "negation")
    return tuple(map(root, terms(_POSSESSIVE.sub("", raw)))) if told else ()


def _kind(raw: str, lower: str, opening: bool) -> WordClass:
    if not (raw[0].isalnum() or raw[0] in "$£€_"):
        return _MARKS.get(raw, "mark")
    if any(c.isdigit() for c in raw) or lower in _NUMBER_WORDS:
        return "number"
    if raw[0].isupper() and (lower in MONTHS or (not opening and raw != "I")):
        return "name"
    if lower in _CLASS_OF:
        return _CLASS_OF[lower]
    return "name" if raw[0].isupper() else "open"


Shape = Literal["name", "date", "number", "amount", "phrase"]


def shape(span: Sequence[Word]) -> Shape:
    """What a phrase looks like: a name, a date, a bare number, a number of something, or just words."""
    kinds = {w.kind for w in span}
    dated = any(w.lower in MONTHS and w.kind == "name" for w in span)
    if dated or any(_YEAR.fullmatch(w.lower) for w in span):
        return "date"
    if "number" in kinds:
        return "number" if len(span) == 1 else "amount"
    if "name" in kinds:
        return "name"
    return "phrase"


_NEVER_FIRST = frozenset(("prep", "conj", "aux", "comma", "stop", "mark", "pron", "wh", "adverb", "negation"))
_NEVER_LAST = _NEVER_FIRST | {"det"}
_NEVER_IN = frozenset(("stop", "aux", "pron", "wh"))
_CLAUSE_OPENERS = frozenset("to by because due for through using in so after when if at with as".split())


def phrases(sentence: Sequence[Word], *, longest: int = 9, clauses: bool = False) -> list[tuple[int, int]]:
    """Word ranges [i, j) of a sentence that could answer a question.

    A phrase starts and ends with a content word, holds no finite verb that the rules know of, and cuts no title
    or initial from the name it belongs to. With
    `clauses` (for "why" and "how") also what "to", "by" or "because" opens, up to the next mark.
    """
    found: list[tuple[int, int]] = []
    for i, first in enumerate(sentence):
        if first.kind not in _NEVER_FIRST and first.kind != "bracket" and not (i and _titles(sentence[i - 1])):
            for j in range(i + 1, min(i + longest, len(sentence)) + 1):
                last = sentence[j - 1]
                if last.kind in _NEVER_IN:
                    break
                if last.kind not in _NEVER_LAST and not _titles(last) and _balanced(sentence[i:j]):
                    found.append((i, j))
        elif clauses and first.lower in _CLAUSE_OPENERS:
            found.extend((i, j) for j in _clause_ends(sentence, i))
    return found


def _titles(word: Word) -> bool:
    """Whether a word is a title or an initial, which belongs to the name after it."""
    return word.kind == "name" and word.lower.find(".") == len(word.lower) - 1


def _clause_ends(sentence: Sequence[Word], i: int) -> list[int]:
    """Where the clause that opens at word `i` may end: at each mark, or before a new clause."""
    ends = []
    for j in range(i + 2, min(i + 25, len(sentence)) + 1):
        stops = j == len(sentence) or sentence[j].kind in ("stop", "comma", "conj", "wh", "bracket", "aux")
        if stops and sentence[j - 1].kind not in ("comma", "stop", "det", "prep", "conj", "bracket"):
            ends.append(j)
        if j < len(sentence) and sentence[j].kind == "stop":
            break
    return ends


def _balanced(span: Sequence[Word]) -> bool:
    """Whether brackets and quotes that open inside a phrase also close inside it."""
    depth = sum((w.lower in "([") - (w.lower in ")]") for w in span if w.kind == "bracket")
    quotes = sum(w.kind == "quote" and w.lower not in "'’" for w in span)
    return depth == 0 and quotes % 2 == 0
