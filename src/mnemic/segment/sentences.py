"""Where one sentence ends and the next begins, by rules, losing no character.

A sentence ends at a mark (. ! ? … and their kin in other scripts) with the quotes and brackets that
close after it, at a blank line, or before a list item. A mark does not end one when it belongs to an
abbreviation, an initial or an enumeration ("1."), or when what follows goes on in lower case
("What?" he said). The white space after a sentence is part of it, so the spans tile the text.
"""

from __future__ import annotations

import re
from itertools import pairwise

from mnemic.types import Span

_CLOSERS = "\"'”’»)\\]}*_"
_CJK_CLOSERS = "」』”’）》〉】"
_OPENERS = "\"'“‘«([{*_¿¡—"
_ITEM = r"[^\S\n]*(?:[-*+•]|\(?\d{1,3}[.)]|\(?[a-z]\))[^\S\n]+\S"  # a list item's line
_BOUNDARY = re.compile(
    rf"""(?P<wide>[。！？｡]+[{_CJK_CLOSERS}]*\s*)                  # scripts that put no space after a mark
    |(?<![.!?…।؟۔])(?P<mark>[.!?…।؟۔]+)                             # a mark,
     (?P<close>[{_CLOSERS}]*)(?P<space>\s+)                       # what closes after it, white space
    |\n(?:[^\S\n]*\n)+\s*                                           # blank lines
    |\n(?={_ITEM})                                                  # the next line is a list item
    """,
    re.VERBOSE,
)
_BEFORE_ITEM = re.compile(rf"\s*\n(?={_ITEM})")
_BLANK = re.compile(r"\n[^\S\n]*\n")
_WORD = re.compile(r"[\w.&’'-]+")
_LAST_WORD = re.compile(r"[\w.&’'-]+$")
_ENUMERATOR = re.compile(r"\d{1,3}|[ivxlcIVXLC]{1,6}|[a-zA-Z]")
_SPEAKS = re.compile(
    r"(?:[A-Z]\w+\s+){1,2}(?:said|says|asked|cried|replied|answered|exclaimed|whispered|shouted|"
    r"murmured|muttered|called|remarked|continued|returned|observed|added|repeated)\b"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_LAST = _words("""
    mr mrs ms mx messrs mme mlle dr prof rev hon st gen col capt lieut lt maj sgt cmdr adm gov sen rep pres mt
    e.g eg i.e ie cf vs viz al ca approx esp incl
""")
_BEFORE_NUMBER = _words("""
    no nos vol vols ch chap sec art fig figs eq eqs p pp op jan feb mar apr jun jul aug sep sept oct nov dec
""")
_MAYBE_LAST = _words("""
    etc inc ltd co corp bros jr sr esq dept ave blvd rd ft est ed eds
    ph.d m.d b.a m.a a.m p.m u.s u.k u.n u.s.a d.c b.c a.d
""")
_STARTERS = _words("""
    the a an he she it they we i you this that these those there here his her its their our my your
    in on at from but and or so if when while after before as then now what who why how where no yes not
    one all some for to
""")


def sentences(text: str) -> list[Span]:
    """The sentences of a text, as spans of its characters that tile it; none for an empty text."""
    cuts = [0]
    paragraph_end, casual = 0, False
    for match in _BOUNDARY.finditer(text):
        if match.end() == len(text):
            break
        if match["mark"] and not (
            _BLANK.search(match["space"]) or _BEFORE_ITEM.match(text, match.end("close"))
        ):
            if match.start() >= paragraph_end:
                paragraph_end, casual = _paragraph(text, match.start())
            if not _ends(text, match, casual):
                continue
        if not text[cuts[-1] : match.end()].isspace():
            cuts.append(match.end())
    cuts.append(len(text))
    return [Span(start, stop) for start, stop in pairwise(cuts) if start < stop]


def _paragraph(text: str, position: int) -> tuple[int, bool]:
    """Where the paragraph around `position` ends, and whether it starts in lower case, as hasty chat does."""
    start = text.rfind("\n\n", 0, position) + 1
    end = text.find("\n\n", position)
    first = next((c for c in text[start : start + 200] if c.isalpha()), "A")
    return (len(text) if end < 0 else end), first.islower()


def _ends(text: str, match: re.Match[str], casual: bool) -> bool:
    """Whether the matched mark ends its sentence, judged by the words on its two sides."""
    following = text[match.end() : match.end() + 48].lstrip(_OPENERS)
    if following[:1].islower() and (match["close"] or not casual):
        return False
    if match["close"] and _SPEAKS.match(following):
        return False
    before = _LAST_WORD.search(text, max(0, match.start() - 24), match.start())
    if match["mark"] != "." or before is None:
        return True
    word = before[0].strip("'’-.")
    lower = word.lower()
    next_word = _WORD.match(following)
    starts = next_word is not None and next_word[0].lower().strip(".") in _STARTERS
    context = text[max(0, before.start() - 40) : before.start()]
    line = context.rpartition("\n")[2]
    if _ENUMERATOR.fullmatch(word) and not line.strip(" \t("):
        return False
    if lower in _NEVER_LAST:
        return False
    if lower in _BEFORE_NUMBER and not (lower == "no" and starts):
        return not following[:1].isdigit()
    if lower in _MAYBE_LAST or (len(word) == 1 and word.isupper()):
        preceding = context.split()
        named = len(word) == 1 and bool(preceding) and preceding[-1][0].isupper()
        return starts and not named
    return True
