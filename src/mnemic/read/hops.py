"""The second look-up: evidence that names what is missing leads to the record about it.

"Who directed the film that was shot in Leland in 1986?" finds the page on Leland, which names the film, whose
page names the director. No language model is asked. A record is *about* a name when the name stands at its
head: its title line, or the first name of its first sentence. With h the words of the head and m of the name,

    about(record, name) = min(|m|, |h|) / max(|m|, |h|)    one is a run within the other
                        = EARLY                            all words of the name are among its first `OPENING`
    score_r += NAMED    * best * max over names in the question of about(r, name)
    score_r += FOLLOWED * best * max over leads d and names in d of (score_d / best) about(r, name)

The leads are the best `LEADS` records; a name made of the question's own words leads nowhere new and is passed
over. Only the passage that opens a document has a head, so that the pages of one book do not lead to each other
by the names they share; turns of a conversation neither lead nor are led to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mnemic.index.flat import highest
from mnemic.index.words import terms
from mnemic.patterns import pattern
from mnemic.types import Floats

NAMED, FOLLOWED = 0.4, 0.9
LEADS = 3
EARLY, OPENING = 0.3, 12

_JOINT = r"(?:of|the|and|de|in|for|on|la|du|von|van|del|der|&)"
_CAPITAL = r"(?:(?:[A-Z]\.)+(?=\s?[A-Z])|[A-Z0-9À-ÞΑ-ΩА-Я][\w'’&]*)"
_NAME = pattern(rf"{_CAPITAL}(?:,?(?:\s{_JOINT})*[ \-–]{_CAPITAL})*")
_OPENER = pattern(
    """(?: an? | the | this | that | these | it | its | he | his | she | her | they | their | we | our | i | you
    | who | what | which | when | where | how | after | also | although | and | are | as | at | before | both
    | but | by | during | for | from | if | in | is | of | on | one | other | since | to | was | were | while
    | with )['’,]*""",
    re.VERBOSE | re.IGNORECASE,
)
_SAYS = pattern(
    r"['’]s\b|\s+(?:is|are|was|were|has|have)\b|\s*\("
)  # goes on after a name, seldom after another opener
_SENTENCE_END = pattern(r"(?<=[a-z0-9)])[.!?]\s")
_BRACKETS = pattern(r"\([^)]*\)")
_TITLE_WORDS = 12  # a longer first line is no title


def names(text: str) -> list[str]:
    """Proper names in `text`, in order, each once: capitalised runs, and the parts of joined ones.

    The capital of a sentence's first word says nothing: alone, it is a name only if it stands so within a
    sentence too, or if something is said of it ("Leland is a village").
    """
    found: dict[str, None] = {}
    matches = list(_NAME.finditer(text))
    opening = [_opens(text, match.start()) for match in matches]
    inside = {match[0] for match, first in zip(matches, opening, strict=True) if not first}
    for match, first in zip(matches, opening, strict=True):
        if first and match[0].isalpha() and match[0] not in inside and not _SAYS.match(text, match.end()):
            continue
        words = match[0].split()
        while words and _OPENER.fullmatch(words[0]):
            words.pop(0)
        name = re.sub(r"['’]s$", "", " ".join(words).rstrip(",.'’"))
        for part in (name, *re.split(r", | and ", name)):
            if len(part) > 2 and not part.isdigit():
                found.setdefault(part)
    return list(found)


def _opens(text: str, at: int) -> bool:
    """Whether a sentence begins at character `at`."""
    before = text[max(at - 4, 0) : at].rstrip(" \"'“‘(")
    return at == 0 or not before or before[-1] in ".!?…\n"


def head(text: str) -> list[str]:
    """The terms a passage is about: its title line without brackets, or its first sentence's first name."""
    line, _, body = text.partition("\n")
    if body and len(line.split()) <= _TITLE_WORDS:
        return terms(_BRACKETS.sub("", line)) or terms(line)
    first = names(_SENTENCE_END.split(text, maxsplit=1)[0])
    return terms(first[0]) if first else []


def about(name: Sequence[str], text: str) -> float:
    """How far the passage `text` is about the name (terms), 0 to 1."""
    at_head = head(text)
    short, long = sorted((list(name), at_head), key=len)
    if short and any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1)):
        return len(short) / len(long)
    return EARLY if len(name) > 1 and set(name) <= set(terms(text[: 16 * OPENING])[:OPENING]) else 0.0


def _largest(named: Iterable[tuple[float, str, dict[int, float]]]) -> dict[int, tuple[float, str]]:
    """Per record the largest of weight times share, and the name it came by."""
    best: dict[int, tuple[float, str]] = {}
    for weight, name, shares in named:
        for row, share in shares.items():
            if weight * share > best.get(row, (0.0, ""))[0]:
                best[row] = (weight * share, name)
    return best


def follow(
    question: str,
    scores: Floats,
    text: Callable[[int], str | None],
    find: Callable[[Sequence[str]], Sequence[int]],
) -> tuple[Floats, dict[int, str]]:
    """The scores [n] with what names add, and for each record so found the name that led to it.

    Args:
        scores: [n], positive where a record may matter.
        text: the passage at a row; None for what is none.
        find: the rows of the best few documents for some terms, each by the passage that opens it.
    """
    best = float(scores.max(initial=0.0))
    led = scores.copy()
    why: dict[int, str] = {}
    if best <= 0:
        return led, why
    seen: dict[str, dict[int, float]] = {}

    def records_about(name: str) -> dict[int, float]:
        if name not in seen:
            wanted = terms(name)
            near = {row: about(wanted, found) for row in find(wanted) if (found := text(row))}
            seen[name] = {row: share for row, share in near.items() if share}
        return seen[name]

    def add(shares: dict[int, tuple[float, str]], weight: float) -> None:
        for row, (share, name) in shares.items():
            led[row] += np.float32(weight * best * share)
            why[row] = name

    add(_largest((1.0, name, records_about(name)) for name in names(question)), NAMED)
    asked = set(terms(question))
    leads = highest(led, LEADS).tolist()
    top = float(led[leads[0]])
    named = [
        (
            float(led[lead]) / top,
            name,
            {row: share for row, share in records_about(name).items() if row != lead},
        )
        for lead in leads
        for name in names(text(lead) or "")
        if not set(terms(name)) <= asked
    ]
    add(_largest(named), FOLLOWED)
    return led, why
