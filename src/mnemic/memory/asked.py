"""What a caller asks for in words and dates, as the filter and the moments the rooms below understand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from mnemic.types import DEFAULT_SPACE, Filter, Kind, When

Time = str | float | datetime | When


class How(TypedDict, total=False):
    """How files are remembered; every field may be left out.

    Attributes:
        space: the tenant, "default" if not said.
        source: instead of the path.
        when: of records whose file does not say when they happened.
        kind: how to read it ("text", "markdown", "html", "pdf", "epub", "chat"), instead of by its name.
        vectors: whether to embed now; without, it is found by its words.
    """

    space: str
    source: str | None
    when: Time | None
    kind: str | None
    vectors: bool


class Where(TypedDict, total=False):
    """Which records may be found, and when and how one looks; every field may be left out.

    Attributes:
        space: the tenant, "default" if not said; source, author, session, kind: only of these.
        before: only what ended before this starts; after: only what started no earlier than this starts.
        when: only what happened during this.
        now: the moment that "yesterday" refers to; None is now.
        vectors: whether to search by meaning too, where the memory has an embedder.
    """

    space: str
    source: str | None
    author: str | None
    session: str | None
    kind: Kind | None
    before: Time | None
    after: Time | None
    when: Time | None
    now: Time | None
    vectors: bool


def only_known(given: Mapping[str, object], fields: type) -> None:
    """Refuse what is no field of a typed dictionary; Python itself does not.

    Raises:
        TypeError: there is no such field.
    """
    known = fields.__annotations__
    if unknown := given.keys() - known.keys():
        raise TypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")


def restriction(where: Where) -> Filter:
    """The filter that `where` describes, its times seen from its `now`.

    Raises:
        TypeError: a field that does not exist.
        ValueError: a time that is none.
    """
    only_known(where, Where)
    now = instant(where.get("now"))
    before, after, during = where.get("before"), where.get("after"), where.get("when")
    return Filter(
        space=where.get("space", DEFAULT_SPACE),
        source=where.get("source"),
        author=where.get("author"),
        session=where.get("session"),
        kind=where.get("kind"),
        before=None if before is None else span(before, now).start,
        after=None if after is None else span(after, now).start,
        during=None if during is None else span(during, now),
    )


def span(said: Time, now: float | None = None) -> When:
    """The time meant by an ISO date, by words ("last spring", seen from `now`), seconds or a datetime.

    Raises:
        ValueError: it is none of these.
    """
    try:
        return When.parse(said)
    except ValueError:
        from mnemic.read.time import expressions

        found = expressions(said, instant(now)) if isinstance(said, str) else []
        if len(found) != 1:
            raise
        return found[0].when


def instant(now: Time | None) -> float:
    """Seconds since 1970 of a moment that was given, or of now."""
    return time.time() if now is None else span(now).start
