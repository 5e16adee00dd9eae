"""The log: every change in order, what it touched and what that was before, so that it can be undone.

An entry holds ids, never the text they stand for; what a caller said about a change (a reason, the kind of a
link) is emptied when one of its records is purged. An entry belongs to one space.

A record is live, superseded or forgotten. `move` alone takes it from one to another, and keeps the word index,
which holds live records only, in step.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnemic.store import words
from mnemic.types import Ints, State, moment

UNDOABLE = ("put", "supersede", "forget", "link", "import")


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log.

    Attributes:
        seq: its number, growing.
        at: when, seconds since 1970.
        op: "put", "parts", "supersede", "forget", "purge", "link", "import" or "undo".
        ids: the records touched.
        detail: what was said about it ("reason", "kind", "weight", "of").
        undone: whether it has been reversed.
    """

    seq: int
    at: float
    op: str
    ids: tuple[int, ...]
    detail: Mapping[str, Any] = field(default_factory=dict)
    undone: bool = False


def note(
    con: sqlite3.Connection,
    at: float,
    op: str,
    space: int | None,
    touched: Iterable[tuple[int, str | None]],
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Write an entry; `touched` pairs each record with the state it had before, None if it was not there."""
    seq = con.execute(
        "INSERT INTO change (at, op, space, detail) VALUES (?, ?, ?, ?)",
        (at, op, space, json.dumps(detail or {}, ensure_ascii=False)),
    ).lastrowid
    assert seq is not None
    con.executemany("INSERT INTO touched VALUES (?, ?, ?)", ((seq, id, was) for id, was in touched))
    return seq


def move(con: sqlite3.Connection, id: int, state: State) -> State | None:
    """Bring a record into a state; returns the state it had, None if it does not exist."""
    row = con.execute("SELECT state, space, author, text FROM record WHERE id = ?", (id,)).fetchone()
    if row is None:
        return None
    was, space, author, text = row
    if was != state:
        terms = words.indexed(author, text)
        if was == "live":
            words.remove(con, id, space, terms)
        elif state == "live":
            words.add(con, [(id, space, terms)])
        con.execute("UPDATE record SET state = ?, terms = ? WHERE id = ?", (state, len(terms), id))
    return was  # type: ignore[no-any-return]


def read(con: sqlite3.Connection, condition: str, values: Sequence[Any], limit: int | None) -> list[Change]:
    """Entries that satisfy an SQL condition, oldest first."""
    rows = con.execute(
        f"SELECT seq, at, op, detail, undone_by FROM change WHERE {condition} ORDER BY seq LIMIT ?",
        (*values, -1 if limit is None else limit),
    ).fetchall()
    return [
        Change(seq, at, op, tuple(id for id, _ in touched(con, seq)), json.loads(detail), undone is not None)
        for seq, at, op, detail, undone in rows
    ]


def touched(con: sqlite3.Connection, seq: int) -> list[tuple[int, State | None]]:
    return con.execute("SELECT record, was FROM touched WHERE seq = ? ORDER BY record", (seq,)).fetchall()


def newest(con: sqlite3.Connection) -> int:
    return int(con.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0])


def since(con: sqlite3.Connection, seq: int) -> tuple[int, Ints, Ints]:
    """(newest entry, touched ids that are live now, touched ids that are not)."""
    last = newest(con)
    if last == seq:
        return last, np.empty(0, np.int64), np.empty(0, np.int64)
    rows = con.execute(
        "SELECT DISTINCT touched.record, coalesce(state, '') = 'live' FROM touched "
        "LEFT JOIN record ON id = touched.record WHERE seq > ? ORDER BY 1",
        (seq,),
    ).fetchall()
    table = np.array(rows, np.int64).reshape(-1, 2)
    live = table[:, 1] == 1
    return last, table[live, 0], table[~live, 0]


def undo(con: sqlite3.Connection, now: float, space: int | None) -> str:
    """Reverse the newest entry that can be and has not been; one line that says what was undone.

    What came new is forgotten (and stays in the history); what changed its state gets it back. Entries all of
    whose records are purged are passed over. `space` restricts it to the entries of one space.
    """
    row = con.execute(
        f"SELECT seq, op, at, space, detail FROM change WHERE undone_by IS NULL AND op IN {UNDOABLE} "
        "AND (op <> 'link' OR detail <> '{}') AND (? IS NULL OR space = ?) "
        "AND EXISTS (SELECT 1 FROM touched JOIN record ON id = touched.record WHERE touched.seq = change.seq) "
        "ORDER BY seq DESC LIMIT 1",
        (space, space),
    ).fetchone()
    if row is None:
        return "nothing to undo"
    seq, op, at, space, text = row
    before = touched(con, seq)
    moved: list[tuple[int, str | None]] = []
    if op == "link":
        _unlink(con, json.loads(text))
        moved = list(before)
    else:
        for id, was in before:
            state = move(con, id, was or "forgotten")
            if state is not None:
                moved.append((id, state))
    if op == "supersede":
        con.executemany(
            "UPDATE record SET valid_to = NULL, supersedes = iif(?2, supersedes, NULL), "
            "superseded_by = NULL WHERE id = ?1",
            [(id, was is not None) for id, was in before],
        )
    by = note(con, now, "undo", space, moved, {"of": seq})
    con.execute("UPDATE change SET undone_by = ? WHERE seq = ?", (by, seq))
    ids = [id for id, _ in moved]
    named = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    plural = "s" if len(ids) != 1 else ""
    return f"undone: {op} of {moment(at):%Y-%m-%d %H:%M:%S} UTC, {len(ids)} record{plural} ({named})"


def _unlink(con: sqlite3.Connection, detail: Mapping[str, Any]) -> None:
    key = (detail["a"], detail["b"], detail["kind"])
    if detail["was"] is None:
        con.execute("DELETE FROM link WHERE a = ? AND b = ? AND kind = ?", key)
    else:
        con.execute("UPDATE link SET weight = ? WHERE a = ? AND b = ? AND kind = ?", (detail["was"], *key))
