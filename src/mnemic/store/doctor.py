"""Looks a memory over: what is derived is mended, what is not is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from mnemic.store import words


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at.

    Attributes:
        found: what is wrong and could not be mended.
        mended: what was wrong and is right again.
    """

    found: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.found


def examine(con: sqlite3.Connection) -> Report:
    """Check pages, word index, vectors, links and log, in the caller's transaction, mending what is derived."""
    found, mended = [], []
    pages = _pages(con)
    if pages:
        con.execute("REINDEX")
        left = _pages(con)
        found += [f"the file is damaged ({line}): restore it from a backup or an export" for line in left]
        if not left:
            mended.append(f"the look-up tables were built anew ({pages[0]})")
    if found:
        return Report(tuple(found))
    if not words.in_step(con):
        words.rebuild(con)
        mended.append("the word index was out of step with the records and was built anew")
    for sentence, statement in _STRAYS:
        count = con.execute(statement).rowcount
        if count:
            mended.append(f"{count} {sentence}")
    for sentence, query in _CONTRADICTIONS:
        ids = [str(id) for (id,) in con.execute(query)]
        if ids:
            found.append(f"{sentence}: records {', '.join(ids[:10])}{', ...' if len(ids) > 10 else ''}")
    return Report(tuple(found), tuple(mended))


def _pages(con: sqlite3.Connection) -> list[str]:
    def lines() -> Iterator[str]:
        for (text,) in con.execute("PRAGMA integrity_check(10)"):
            yield from str(text).splitlines()

    return [line for line in lines() if line != "ok"]


_STRAYS = (
    ("vectors of no record were removed", "DELETE FROM part WHERE record NOT IN (SELECT id FROM record)"),
    (
        "spoilt vectors were removed (embed those records anew)",
        "DELETE FROM part WHERE length(spans) = 0 OR length(spans) % 8 OR length(vectors) <> length(spans) / 8 "
        "* 2 * (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'dim')",
    ),
    ("use counts of no record were removed", "DELETE FROM use WHERE record NOT IN (SELECT id FROM record)"),
    (
        "links to no record or into another space were removed",
        "DELETE FROM link WHERE NOT EXISTS (SELECT 1 FROM record x JOIN record y ON x.space = y.space "
        "WHERE x.id = link.a AND y.id = link.b)",
    ),
)
_CONTRADICTIONS = (
    (
        "the log does not say where these came from",
        "SELECT id FROM record WHERE id NOT IN (SELECT record FROM touched WHERE was IS NULL)",
    ),
    (
        "these name a version before or after them that does not name them",
        "SELECT x.id FROM record x LEFT JOIN record y ON y.id = x.superseded_by "
        "WHERE x.superseded_by IS NOT NULL AND y.supersedes IS NOT x.id UNION "
        "SELECT x.id FROM record x LEFT JOIN record y ON y.id = x.supersedes "
        "WHERE x.supersedes IS NOT NULL AND y.superseded_by IS NOT x.id",
    ),
    ("these are live though another took their place", "SELECT id FROM record WHERE state = 'live' "
     "AND superseded_by IS NOT NULL"),
    ("these are of no space", "SELECT id FROM record WHERE space NOT IN (SELECT id FROM space)"),
)  # fmt: skip
