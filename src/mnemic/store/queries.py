"""What is read from a memory: records, their columns and vectors as arrays, counts. Nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemic.store import rows
from mnemic.types import Filter, Floats, Ints, MnemicError, Record, State, TraceStats

DIM = "dim"  # the key in `meta` of the length of a vector

COLUMNS: tuple[tuple[str, type], ...] = (
    ("id", np.int64), ("space", object), ("source", object), ("session", object), ("author", object),
    ("kind", object), ("order", np.int64), ("when_start", np.float64), ("when_end", np.float64),
    ("written", np.float64),
)  # fmt: skip


class UnknownRecord(MnemicError, LookupError):
    """An id that was never given, or was purged."""


def space_code(con: sqlite3.Connection, name: str) -> int | None:
    row = con.execute("SELECT id FROM space WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def get_meta(con: sqlite3.Connection, key: str) -> str | None:
    row = con.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def get(con: sqlite3.Connection, ids: Sequence[int] | Ints) -> list[Record]:
    """Records in the order asked."""
    found = []
    for id in ids:
        row = con.execute(f"SELECT {rows.COLUMNS} FROM record WHERE id = ?", (int(id),)).fetchone()
        if row is None:
            raise UnknownRecord(f"there is no record {id}; it was never stored, or it was purged")
        found.append(rows.from_row(row))
    return found


def page(
    con: sqlite3.Connection, where: Filter | None, states: Sequence[State], after: int, size: int
) -> list[Record]:
    """The next `size` records by id."""
    said, values = f"state IN ({', '.join('?' * len(states))}) AND id > ?", [*states, after]
    if where is not None:
        sql, more = rows.condition(where, space_code(con, where.space))
        said, values = f"{said} AND {sql}", values + more
    found = con.execute(f"SELECT {rows.COLUMNS} FROM record WHERE {said} ORDER BY id LIMIT ?", (*values, size))
    return [rows.from_row(row) for row in found]


def columns(con: sqlite3.Connection, after: int, ids: Sequence[int] | Ints | None) -> dict[str, NDArray[Any]]:
    """`COLUMNS` of live records as arrays, by id."""
    said, values = some("record.id", after, ids)
    table = con.execute(
        "SELECT record.id, space.name, source, session, author, kind, rank, when_start, when_end, written "
        f"FROM record JOIN space ON space.id = record.space WHERE state = 'live' AND {said} ORDER BY record.id",
        values,
    ).fetchall()
    each = list(zip(*table, strict=True)) or [()] * len(COLUMNS)
    return {name: np.array(column, dtype) for (name, dtype), column in zip(COLUMNS, each, strict=True)}


def vectors(con: sqlite3.Connection, condition: str, values: Sequence[Any]) -> tuple[Ints, Ints, Ints, Floats]:
    """(record ids [m], starts [m], ends [m], vectors [m, dim]) of the parts of some records, by id."""
    found = con.execute(
        f"SELECT record, spans, vectors FROM part WHERE {condition} ORDER BY record", values
    ).fetchall()
    if not found:
        none = np.empty(0, np.int64)
        return none, none, none, np.empty((0, int(get_meta(con, DIM) or 0)), np.float32)
    spans, stored = rows.unpack(b"".join(row[1] for row in found), b"".join(row[2] for row in found))
    ids = np.repeat(
        np.fromiter((row[0] for row in found), np.int64, len(found)),
        np.fromiter((len(row[1]) // 8 for row in found), np.int64, len(found)),
    )
    return ids, spans[:, 0].astype(np.int64), spans[:, 1].astype(np.int64), stored


def some(column: str, after: int, ids: Sequence[int] | Ints | None) -> tuple[str, tuple[Any, ...]]:
    """A condition on ids: those after one, or those of a list."""
    if ids is None:
        return f"{column} > ?", (after,)
    return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps([int(id) for id in ids]),)


def traces(
    con: sqlite3.Connection, space: str, uses: Mapping[int, tuple[int, float]]
) -> tuple[Ints, TraceStats]:
    """(ids, what a retention rule may look at) of the live records of a space, by id.

    `uses`: how often and when last records were used of which the file does not know yet.
    """
    found = con.execute(
        "SELECT id, written, coalesce(used, written), coalesce(uses, 0), "
        "min(max(coalesce(CAST(json_extract(meta, '$.importance') AS REAL), 0.5), 0), 1), "
        "length(CAST(text AS BLOB)) + coalesce(length(spans) + length(vectors), 0) "
        "FROM record LEFT JOIN use ON use.record = id LEFT JOIN part ON part.record = id "
        "WHERE space = ? AND state = 'live' ORDER BY id",
        (space_code(con, space),),
    )
    table = np.array(found.fetchall(), np.float64).reshape(-1, 6)
    ids = table[:, 0].astype(np.int64)
    for id, (times, last) in uses.items():
        at = np.searchsorted(ids, id)
        if at < len(ids) and ids[at] == id:
            table[at, 2:4] = max(table[at, 2], last), table[at, 3] + times
    _, written, used, counts, importance, nbytes = table.T
    return ids, TraceStats(written, used, counts, importance, nbytes.astype(np.int64))


def stats(con: sqlite3.Connection, space: int | None) -> dict[str, Any]:
    """Counts and bytes of one space, or of all (None)."""
    here = "(?1 IS NULL OR record.space = ?1)"
    counted = con.execute(
        "SELECT sum(state = 'live'), sum(state = 'superseded'), sum(state = 'forgotten'), "
        f"sum(length(CAST(text AS BLOB))), min(when_start), max(when_end) FROM record WHERE {here}",
        (space,),
    ).fetchone()
    names = ("live", "superseded", "forgotten", "text_bytes")
    found: dict[str, Any] = {name: number or 0 for name, number in zip(names, counted, strict=False)}
    found["vectors"], found["vector_bytes"] = con.execute(
        "SELECT coalesce(sum(length(spans)), 0) / 8, coalesce(sum(length(vectors)), 0) "
        f"FROM part JOIN record ON record.id = part.record WHERE {here}",
        (space,),
    ).fetchone()
    (found["links"],) = con.execute(
        f"SELECT count(*) FROM link JOIN record ON record.id = a WHERE {here}", (space,)
    ).fetchone()
    (found["changes"],) = con.execute(
        "SELECT count(*) FROM change WHERE ?1 IS NULL OR space = ?1", (space,)
    ).fetchone()
    return found | {"first": counted[4], "last": counted[5]}
