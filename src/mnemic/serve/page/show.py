"""How values are written on the page: dates as they were said, bytes, marked stretches of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from markupsafe import Markup, escape

from mnemic.index.words import query_terms, terms
from mnemic.types import Record, When, moment

MONTH_NAMES = "January February March April May June July August September October November December".split()
_WORD = re.compile(r"\w+")


def day(at: float) -> str:
    """ "18 October 1851" """
    it = moment(at)
    return f"{it.day} {MONTH_NAMES[it.month - 1]} {it.year}"


def month(at: float) -> str:
    """ "October 1851" """
    it = moment(at)
    return f"{MONTH_NAMES[it.month - 1]} {it.year}"


def clock(at: float) -> str:
    """ "18 October 1851, 04:07" """
    return f"{day(at)}, {moment(at):%H:%M}"


def said(when: When) -> Markup:
    """A time as exact as it was said, with its ISO form for machines."""
    it: datetime = moment(when.start, when.offset)
    text = f"{it.day} {MONTH_NAMES[it.month - 1]} {it.year}"
    if when.precision == "year":
        text = str(it.year)
    elif when.precision == "month":
        text = f"{MONTH_NAMES[it.month - 1]} {it.year}"
    elif when.precision != "day":
        text += f", {it:%H:%M}"
    iso = when.iso.removeprefix("about ")
    text = f"about {text}" if when.about else text
    return Markup('<time datetime="{iso}">{text}</time>').format(iso=iso, text=text)


def size(nbytes: float | None) -> str:
    """ "12.3 kB" """
    if nbytes is None:
        return "no limit"
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            break
        nbytes /= 1000
    return f"{nbytes:.0f} {unit}" if unit == "B" or nbytes >= 100 else f"{nbytes:.1f} {unit}"


def marked(text: str, spans: Iterable[tuple[int, int]]) -> Markup:
    """A text, escaped, with some stretches of it marked; stretches may touch and overlap."""
    pieces, at = [], 0
    for start, end in sorted(spans):
        start, end = max(start, at), min(end, len(text))
        while start < end and text[end - 1].isspace():
            end -= 1
        if start < end:
            pieces += [escape(text[at:start]), Markup("<mark>"), escape(text[start:end]), Markup("</mark>")]
            at = end
    return Markup("").join([*pieces, escape(text[at:])])


def asked_for(text: str, query: str) -> list[tuple[int, int]]:
    """The words of a text that are words of a query, by their stems."""
    wanted = set(query_terms(query))
    return [it.span() for it in _WORD.finditer(text) if wanted.intersection(terms(it.group()))]


def label(record: Record) -> str:
    """Where a record comes from, in a few words."""
    parts = (record.title, record.source, record.author)
    return " · ".join(dict.fromkeys(part for part in parts if part)) or "told"


def number(value: float | None) -> str:
    """Three places for small numbers, none for large ones."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
