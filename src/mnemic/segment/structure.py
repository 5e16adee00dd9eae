"""The shape an author gave a text: books, chapters, numbered sections and lists, as a tree.

In the spirit of StruXGPT (paper 47), where a text is turned into an outline before it is used, but
read off the text by rules instead of written by a model. Two grammars: Markdown ("## Title", underlined
titles, code fences skipped) and plain text as novels and reports are typeset ("BOOK TWO", "CHAPTER IV.
The Road", "II.", "3.1 Methods", a line of capitals). A plain heading stands between blank lines. A table
of contents looks like headings without text between them and is told apart by that.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading line (or an underlined pair of lines): characters [start, stop), depth `level` from 0."""

    start: int
    stop: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one heading, up to the next heading of any depth: a tile of the text.

    Attributes:
        start, stop: its characters, the heading included; body: where the text after the heading starts.
        place: the headings it stands under, outermost first, its own last; () before the first heading.
    """

    start: int
    body: int
    stop: int
    place: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A document, section or list item with all that stands under it: characters [start, stop)."""

    kind: Literal["document", "section", "item"]
    title: str
    start: int
    stop: int
    children: tuple[Node, ...] = ()


# --------------------------------------------------------------------------- headings

_FENCE = re.compile(
    r"^ {0,3}(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\1[^\n]*$|\Z)|\A---\n.*?^---$", re.MULTILINE | re.DOTALL
)
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+([^\n]+)$", re.MULTILINE)
_SETEXT = re.compile(r"^ {0,3}([^\s>#*+-][^\n]*)\n {0,3}(=+|-{2,})[ \t]*$", re.MULTILINE)

_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last"
)
_NUMBER = rf"(?:[IVXLC]+|\d{{1,3}}|(?i:(?:the\s+)?(?:{_WORDS})(?:[- ](?:{_WORDS}))?))"
_RANKS = ("Volume", "Book", "Part|Act", "Chapter|Letter|Stave|Canto|Scene|Adventure|Section|Article|Day")
_NAMED = [
    re.compile(rf"(?:{names}|{names.upper()})\s+{_NUMBER}\b(?P<title>[.:]?|[.:—–-]+\s*\S.*|\s+[A-Z(“\"].*)")
    for names in _RANKS
]
_STANDALONE = re.compile(
    r"(?:\w+\s+)?(?:prologue|epilogue|preface|foreword|afterword|introduction|contents|appendix|acknowledge?ments)\b"
    r"(?:[.:—–-].*)?",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"[IVXLC]{1,7}\.?")
_DIGITS = re.compile(r"\d{1,3}\.?")
_ROMAN_TITLE = re.compile(r"[IVXLC]{1,7}\.\s+[A-Z].*")
_DECIMAL = re.compile(r"(\d{1,2}(?:\.\d{1,2})*)\.?\s+[A-Z].*")
_PARAGRAPH = re.compile(  # one or two short lines between blank lines
    r"(?:\A|\n[^\S\n]*\n)[^\S\n]*(?P<line>\S[^\n]{0,99})(?:\n[^\S\n]*(?P<second>\S[^\n]{0,79}))?"
    r"(?=\n[^\S\n]*\n|\s*\Z)"
)
_STANDALONE_RANK, _NUMERAL_RANK, _DECIMAL_RANK, _CAPITALS_RANK = -1, 10, 20, 50
_CONTENTS_RUN = 4  # this many headings after the first with little text between them may be a table of contents
_SHORT_BODY = 60  # words
_WORD = re.compile(r"\w+")


def headings(text: str, *, markdown: bool = False) -> list[Heading]:
    """The headings of a text in order, with depths 0, 1, 2, ... as far as the text uses them."""
    found = _markdown_headings(text) if markdown else _without_contents(text, _plain_headings(text))
    ranks = sorted({heading.level for heading in found} - {_STANDALONE_RANK})
    depth = {rank: level for level, rank in enumerate(ranks)} | {_STANDALONE_RANK: 0}
    return [Heading(h.start, h.stop, depth[h.level], h.title) for h in found]


def _markdown_headings(text: str) -> list[Heading]:
    fences = [match.span() for match in _FENCE.finditer(text)]
    found = [Heading(*match.span(), len(match[1]), match[2].rstrip("# \t")) for match in _ATX.finditer(text)]
    found += [
        Heading(*match.span(), 1 if "=" in match[2] else 2, match[1].rstrip())
        for match in _SETEXT.finditer(text)
    ]
    found = [h for h in found if not any(start <= h.start < stop for start, stop in fences)]
    return sorted(found, key=lambda heading: heading.start)


def _plain_headings(text: str) -> list[Heading]:
    """Lines that look like headings; their `level` is a rank, outermost smallest."""
    found: list[Heading] = []
    untitled: Heading | None = None  # a numbered heading whose title may be the next paragraph
    for match in _PARAGRAPH.finditer(text):
        line, second = match["line"].strip(), (match["second"] or "").strip()
        start, stop = match.start("line"), match.end()
        rank, needs_title = _rank(line)
        if untitled is not None and not second and (rank is None or rank == _CAPITALS_RANK) and _is_title(line):
            adjacent = not text[untitled.stop : start].strip()
            if adjacent:
                found.append(Heading(untitled.start, stop, untitled.level, f"{untitled.title} {line}"))
                untitled = None
                continue
        if untitled is not None and not _DIGITS.fullmatch(untitled.title):
            found.append(untitled)
        untitled = None
        if rank is None or (second and not (needs_title and _is_title(second))):
            continue
        heading = Heading(start, stop, rank, f"{line} {second}".strip())
        if needs_title and not second:
            untitled = heading
        else:
            found.append(heading)
    if untitled is not None and not _DIGITS.fullmatch(untitled.title):
        found.append(untitled)
    numbered = [heading.start for heading in found if heading.level < _CAPITALS_RANK]
    return [h for h in found if h.level < _CAPITALS_RANK or len(numbered) < 3 or h.start < numbered[0]]


def _rank(line: str) -> tuple[int | None, bool]:
    """How outer a heading the line is (None: none at all), and whether its title may still follow."""
    for rank, pattern in enumerate(_NAMED):
        if named := pattern.fullmatch(line):
            return rank, not named["title"].strip(" .:")
    if _STANDALONE.fullmatch(line) and line[0].isupper():
        return _STANDALONE_RANK, False
    if _ROMAN.fullmatch(line) or _DIGITS.fullmatch(line):
        return _NUMERAL_RANK, True
    if line[-1] in ".,;:!?\"”’'" and not (line.isupper() and line[-1] == "."):
        return None, False
    if _ROMAN_TITLE.fullmatch(line):
        return _NUMERAL_RANK, False
    if decimal := _DECIMAL.fullmatch(line):
        return _DECIMAL_RANK + decimal[1].count("."), False
    if (
        line.isupper()
        and line[0].isalnum()
        and sum(map(str.isalpha, line)) >= 3
        and len(line) <= 60
        and line.strip(".") != "THE END"
    ):
        return _CAPITALS_RANK, False
    return None, False


def _is_title(line: str) -> bool:
    return (
        len(line) <= 80
        and line[0].isupper()
        and line[-1] not in ',;:!?"”'
        and (line.isupper() or line[-1] != ".")
    )


def _without_contents(text: str, found: list[Heading]) -> list[Heading]:
    """Drop the entries of tables of contents: runs of headings with little between them that return further on.

    The last entries of a run that lead from an outer heading inward ("BOOK ONE", "CHAPTER I") are real
    unless they return themselves.
    """
    names = [" ".join(_WORD.findall(heading.title.casefold())[:2]) for heading in found]
    bodies = [
        len(text[heading.stop : following].split(maxsplit=_SHORT_BODY))
        for heading, following in zip(found, [*(h.start for h in found[1:]), len(text)], strict=False)
    ]
    kept: list[Heading] = []
    first = 0
    while first < len(found):
        last = first
        while last + 1 < len(found) and bodies[last] < _SHORT_BODY:
            last += 1
        real = last
        while real > first and found[real - 1].level < found[real].level:
            real -= 1
        later = set(names[last + 1 :])
        returning = sum(name in later for name in names[first:real])
        if last - first >= _CONTENTS_RUN and (not any(bodies[first:last]) or 2 * returning > real - first):
            while real <= last and names[real] in later:
                real += 1
            kept += found[real : last + 1]
        else:
            kept += found[first : last + 1]
        first = last + 1
    return kept


# --------------------------------------------------------------------------- sections


def sections(text: str, *, markdown: bool = False) -> list[Section]:
    """The stretches between headings, tiling the text; a heading directly above a deeper one joins it."""
    found: list[Section] = []
    path: list[Heading] = []
    start = 0
    known = headings(text, markdown=markdown)
    for heading, following in zip([None, *known], [*known, None], strict=True):
        if heading is not None:
            path = [outer for outer in path if outer.level < heading.level] + [heading]
        body = heading.stop if heading is not None else 0
        stop = following.start if following is not None else len(text)
        empty = not text[body:stop].strip()
        leads_on = following is not None and (heading is None or heading.level < following.level)
        if start == stop or (empty and leads_on):
            continue
        found.append(Section(start, body, stop, tuple(outer.title for outer in path)))
        start = stop
    return found


# --------------------------------------------------------------------------- the tree

_ITEM = re.compile(
    r"^(?P<indent>[^\S\n]*)(?:[-*+•]|\(?(?:\d{1,3}|[a-z])[.)])[^\S\n]+(?P<title>\S[^\n]*)", re.MULTILINE
)
_LIST_ENDS = re.compile(r"\n[^\S\n]*\n(?=\S)")


def outline(text: str, *, markdown: bool = False) -> Node:
    """The text as a tree of sections and list items, each with its title and its characters."""
    found: list[tuple[int, Node]] = []
    known = headings(text, markdown=markdown)
    for heading, following in zip(known, [*(h.start for h in known[1:]), len(text)], strict=False):
        found.append((heading.level, Node("section", heading.title, heading.start, len(text))))
        found += _items(text, heading.stop, following)
    if not known or known[0].start > 0:
        found = _items(text, 0, known[0].start if known else len(text)) + found
    return _nest(Node("document", "", 0, len(text)), found)


def _items(text: str, start: int, stop: int) -> list[tuple[int, Node]]:
    """List items with depths deeper than any heading's: 100 and the width of their indentation."""
    ends = [match.start() for match in _LIST_ENDS.finditer(text, start, stop)] + [stop]
    return [
        (
            100 + len(match["indent"].expandtabs(4)),
            Node("item", match["title"], match.start(), ends[bisect_left(ends, match.end())]),
        )
        for match in _ITEM.finditer(text, start, stop)
    ]


def _nest(root: Node, found: list[tuple[int, Node]]) -> Node:
    """Hang nodes, given in order of their start, under each other; one of no greater depth ends a node."""
    children: list[Node] = []
    position = 0
    while position < len(found):
        depth, node = found[position]
        after = position + 1
        while after < len(found) and found[after][0] > depth and found[after][1].start < node.stop:
            after += 1
        stop = min(node.stop, root.stop, found[after][1].start if after < len(found) else root.stop)
        children.append(_nest(Node(node.kind, node.title, node.start, stop), found[position + 1 : after]))
        position = after
    return Node(root.kind, root.title, root.start, root.stop, tuple(children))
