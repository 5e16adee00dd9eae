"""Writing down: what is new, what is a repeat, what replaces something; all inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mnemic.store import log, rows, words
from mnemic.store.queries import DIM, UnknownRecord, get, get_meta, space_code
from mnemic.types import MnemicError, Part, Record, State, When


def put(
    con: sqlite3.Connection, records: Sequence[Record], marks: Sequence[bytes], now: float
) -> tuple[list[int], set[int]]:
    """Store records whose digests are `marks`: (the id of each, the ids that are new). See `Store.put`."""
    con.executemany("INSERT OR IGNORE INTO space (name) VALUES (?)", {(r.space,) for r in records})
    spaces = {name: space_code(con, name) or 0 for name in {r.space for r in records}}
    given: list[int] = []
    fresh: dict[bytes, int] = {}
    touched: dict[int, dict[int, State | None]] = defaultdict(dict)
    inserts: list[tuple[Any, ...]] = []
    indexed: list[tuple[int, int, list[str]]] = []
    next_id = last_id(con) + 1
    for record, mark in zip(_in_order(con, records, spaces), marks, strict=True):
        space = spaces[record.space]
        there = fresh.get(mark) or _repeated(con, record, mark, touched[space])
        if there is None:
            terms = words.indexed(record.author, record.text)
            new = replace(
                record, id=next_id, written=record.written or now, state="live", valid_to=None,
                supersedes=None, superseded_by=None,
            )  # fmt: skip
            inserts.append(rows.to_row(new, space, len(terms), mark))
            indexed.append((next_id, space, terms))
            touched[space][next_id] = None
            there = fresh[mark] = next_id
            next_id += 1
        given.append(there)
    con.executemany(rows.INSERT, inserts)
    words.add(con, indexed)
    for space, states in touched.items():
        if states:
            log.note(con, now, "put", space, states.items())
    return given, set(fresh.values())


def last_id(con: sqlite3.Connection) -> int:
    """The largest id ever given, purged ones included."""
    row = con.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    return 0 if row is None else int(row[0])


def _repeated(
    con: sqlite3.Connection, record: Record, mark: bytes, touched: dict[int, State | None]
) -> int | None:
    """The id under which a record is there already, brought back if it was forgotten."""
    row = con.execute(
        "SELECT id, state, superseded_by FROM record WHERE digest = ? "
        "ORDER BY state = 'live' DESC, state = 'superseded' DESC, id DESC LIMIT 1",
        (mark,),
    ).fetchone()
    if row is None:
        return None
    id, state, successor = row
    closed = state == "superseded" or successor is not None
    if closed and not (record.source or record.session or record.when):
        return None
    if state == "forgotten":
        touched[id] = log.move(con, id, "superseded" if closed else "live")
    return int(id)


def _in_order(con: sqlite3.Connection, records: Sequence[Record], spaces: dict[str, int]) -> Sequence[Record]:
    """Records with their rank after those already there, where a whole (source, session) came without any."""
    groups: dict[tuple[str, str | None, str | None], list[int]] = defaultdict(list)
    for at, record in enumerate(records):
        groups[record.space, record.session, record.source].append(at)
    ordered = list(records)
    for (space, session, source), members in groups.items():
        if any(records[at].order for at in members):
            continue
        (last,) = con.execute(
            "SELECT max(rank) FROM record WHERE space = ? AND session IS ? AND source IS ?",
            (spaces[space], session, source),
        ).fetchone()
        for rank, at in enumerate(members, 0 if last is None else last + 1):
            ordered[at] = replace(records[at], order=rank)
    return ordered


def put_parts(
    con: sqlite3.Connection, ids: Sequence[int], parts: Sequence[Sequence[Part]], now: float, new: set[int]
) -> None:
    """Store the vectors of records, in place of those they had; the log tells of all but the `new` records.

    Raises:
        UnknownRecord: no such record.
        ValueError: a vector of another length than those stored.
    """
    lengths = {part.vector.shape for some in parts for part in some}
    if not lengths:
        return
    known_dim = get_meta(con, DIM)
    dim = int(known_dim) if known_dim else next(iter(lengths))[0]
    if lengths != {(dim,)}:
        wrong = next(iter(lengths - {(dim,)}))
        raise ValueError(
            f"a vector of shape {wrong} among vectors of {dim} numbers; one memory holds the vectors of one "
            "embedder: remove the old ones first (drop_parts) and embed everything anew"
        )
    if known_dim is None:
        con.execute("INSERT INTO meta VALUES (?, ?)", (DIM, str(dim)))
    touched: dict[int, dict[int, State | None]] = defaultdict(dict)
    for id, some in zip(ids, parts, strict=True):
        known = con.execute("SELECT space, state FROM record WHERE id = ?", (int(id),)).fetchone()
        if known is None:
            raise UnknownRecord(f"there is no record {id}; it was never stored, or it was purged")
        if some:
            con.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?)", (int(id), *rows.pack(some)))
            if id not in new:
                touched[known[0]][int(id)] = known[1]
    for space, states in touched.items():
        log.note(con, now, "parts", space, states.items())


def drop_parts(con: sqlite3.Connection, now: float) -> None:
    """Throw all vectors away; the log tells of every record that had one."""
    had: dict[int, list[tuple[int, State]]] = defaultdict(list)
    for space, id, state in con.execute(
        "SELECT space, id, state FROM part JOIN record ON id = part.record ORDER BY id"
    ):
        had[space].append((id, state))
    con.execute("DELETE FROM part")
    con.execute("DELETE FROM meta WHERE key = ?", (DIM,))
    for space, states in had.items():
        log.note(con, now, "parts", space, states)


def supersede(
    con: sqlite3.Connection, id: int, text: str, when: When | None, parts: Sequence[Part] | None, now: float
) -> Record:
    """Close a live record and put a new one in its place. See `Store.supersede`."""
    (old,) = get(con, [id])
    if old.state != "live":
        successor = f"; record {old.superseded_by} took its place" if old.superseded_by else ""
        raise MnemicError(f"record {id} is {old.state}{successor}: only a live record can be superseded")
    new = replace(
        old, id=last_id(con) + 1, text=text, when=when or old.when, start=0, end=0, written=now, supersedes=id
    )
    terms = words.indexed(new.author, text)
    space = space_code(con, new.space) or 0
    log.move(con, id, "superseded")
    con.execute(
        "UPDATE record SET valid_to = ?, superseded_by = ? WHERE id = ?",
        (when.start if when else now, new.id, id),
    )
    con.execute(rows.INSERT, rows.to_row(new, space, len(terms), rows.digest(new)))
    words.add(con, [(new.id, space, terms)])
    log.note(con, now, "supersede", space, [(id, "live"), (new.id, None)])
    if parts is not None:
        put_parts(con, [new.id], [parts], now, new={new.id})
    return new
