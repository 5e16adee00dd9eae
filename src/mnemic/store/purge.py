"""Forgotten means gone: what is purged leaves every byte of the memory's files.

1. `erase`, in one transaction: rows, vectors, digests, links, use counts, what was said in the log, and the
   postings, whose index is then merged so that no deleted term lingers in an old segment.
2. `scrub`: VACUUM writes every page anew from what is left, and a truncating checkpoint empties the write-ahead
   log. A reader of an older state blocks the second; until it is done the file says "purge pending".
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from mnemic.store import log, words

PENDING = "purge_pending"


@dataclass(frozen=True, slots=True)
class Purge:
    """What became of a purge.

    Attributes:
        done: nothing of it is left in any byte; False while it is pending.
        ids: the records it is about; they are out of every result either way.
        detail: one line for a reader.
    """

    done: bool
    ids: tuple[int, ...] = ()
    detail: str = "nothing to purge"


def erase(con: sqlite3.Connection, ids: Sequence[int], now: float) -> list[int]:
    """Take records out of every table, inside the caller's transaction; returns those that were there."""
    gone: dict[int, list[tuple[int, str | None]]] = {}
    for id in dict.fromkeys(ids):
        row = con.execute(
            "SELECT space, state, author, text, supersedes, superseded_by FROM record WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            continue
        space, state, author, text, before, after = row
        if state == "live":
            words.remove(con, id, space, words.indexed(author, text))
        con.execute("UPDATE record SET superseded_by = NULL WHERE id = ?", (before,))
        con.execute("UPDATE record SET supersedes = NULL WHERE id = ?", (after,))
        for table in ("part", "use"):
            con.execute(f"DELETE FROM {table} WHERE record = ?", (id,))
        con.execute("DELETE FROM link WHERE a = ?1 OR b = ?1", (id,))
        con.execute("DELETE FROM record WHERE id = ?", (id,))
        con.execute(
            "UPDATE change SET detail = '{}' WHERE seq IN (SELECT seq FROM touched WHERE record = ?)", (id,)
        )
        gone.setdefault(space, []).append((id, state))
    if not gone:
        return []
    con.execute("INSERT INTO words (words) VALUES ('optimize')")
    for space, touched in gone.items():
        log.note(con, now, "purge", space, touched)
    con.execute("DELETE FROM kept")
    con.execute("DELETE FROM space WHERE id NOT IN (SELECT DISTINCT space FROM record)")
    erased = sorted(id for touched in gone.values() for id, _ in touched)
    _remember(con, sorted({*erased, *(pending(con) or ())}), rewritten=False)
    return erased


def pending(con: sqlite3.Connection) -> tuple[int, ...] | None:
    """The ids of purges that are not finished, None if there are none."""
    row = con.execute("SELECT value FROM meta WHERE key = ?", (PENDING,)).fetchone()
    return tuple(json.loads(row[0])["ids"]) if row else None


def scrub(con: sqlite3.Connection, patience: float) -> Purge:
    """Finish what is pending, outside any transaction, waiting at most `patience` seconds for others."""
    row = con.execute("SELECT value FROM meta WHERE key = ?", (PENDING,)).fetchone()
    if row is None:
        return Purge(True)
    value = json.loads(row[0])
    ids = tuple(value["ids"])
    (usual,) = con.execute("PRAGMA busy_timeout").fetchone()
    con.execute(f"PRAGMA busy_timeout = {round(1000 * patience)}")
    try:
        if not value["rewritten"]:
            con.execute("VACUUM")
            _remember(con, ids, rewritten=True)
        (blocked, _, _) = con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if blocked:
            return _waiting(ids, "another reader or writer still holds an older state of the file")
        con.execute("DELETE FROM meta WHERE key = ?", (PENDING,))
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_LOCKED")):
            raise
        return _waiting(ids, f"{error}")
    finally:
        con.execute(f"PRAGMA busy_timeout = {usual}")
    return Purge(True, ids, f"{len(ids)} purged: gone from every byte of the file")


def _waiting(ids: tuple[int, ...], reason: str) -> Purge:
    return Purge(
        False, ids, f"purge pending: {len(ids)} out of every result, but bytes may remain ({reason}); "
        "it is finished at the next write or opening"
    )  # fmt: skip


def _remember(con: sqlite3.Connection, ids: Sequence[int], *, rewritten: bool) -> None:
    value = json.dumps({"ids": list(ids), "rewritten": rewritten})
    con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (PENDING, value))
