"""What a caller asks for in words and dates, as the filter and the moments the rooms below understand."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TypedDict

from mnemic.types import DEFAULT_SPACE, Filter, Kind, When

Time = str | float | datetime | When


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


def restriction(where: Where, now: float) -> Filter:
    """The filter that `where` describes, its times seen from `now` (seconds)."""
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


def span(said: Time, now: float) -> When:
    """The time meant by an ISO date, seconds or a datetime.

    Raises:
        ValueError: it is none of these.
    """
    return When.parse(said)


def instant(now: Time | None) -> float:
    """Seconds since 1970 of a moment that was given, or of now."""
    return time.time() if now is None else span(now, time.time()).start
