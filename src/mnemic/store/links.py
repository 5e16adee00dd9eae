"""Links: directed, weighted ties between two records of one space."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from mnemic.store import log
from mnemic.store.queries import UnknownRecord
from mnemic.types import Ints, MnemicError


@dataclass(frozen=True, slots=True)
class Link:
    """From record `a` to record `b`; `kind` says what ties them."""

    a: int
    b: int
    kind: str
    weight: float = 1.0


def link(con: sqlite3.Connection, link: Link, now: float) -> None:
    """Tie two records, or change the weight of the tie. See `Store.link`."""
    states = {}
    for id in (link.a, link.b):
        row = con.execute("SELECT space, state FROM record WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise UnknownRecord(f"there is no record {id} to link; it was never stored, or it was purged")
        states[id] = row
    if len(states) < 2:
        raise ValueError(f"record {link.a} cannot be linked to itself")
    if states[link.a][0] != states[link.b][0]:
        raise MnemicError(f"records {link.a} and {link.b} are in different spaces, which never see each other")
    key = (link.a, link.b, link.kind)
    was = con.execute("SELECT weight FROM link WHERE a = ? AND b = ? AND kind = ?", key).fetchone()
    if was == (link.weight,):
        return
    con.execute("INSERT OR REPLACE INTO link VALUES (?, ?, ?, ?)", (*key, link.weight))
    detail = {"a": link.a, "b": link.b, "kind": link.kind, "weight": link.weight, "was": was and was[0]}
    touched = [(id, state) for id, (_, state) in states.items()]
    log.note(con, now, "link", states[link.a][0], touched, detail)


def links(con: sqlite3.Connection, ids: Sequence[int] | Ints) -> list[Link]:
    """The ties between live records that start or end at some ids, ordered by (a, b, kind)."""
    rows = con.execute(
        "WITH asked AS (SELECT value FROM json_each(?)) SELECT a, b, link.kind, weight FROM link "
        "JOIN record one ON one.id = a AND one.state = 'live' "
        "JOIN record other ON other.id = b AND other.state = 'live' "
        "WHERE a IN asked OR b IN asked ORDER BY a, b, link.kind",
        (json.dumps([int(id) for id in ids]),),
    )
    return [Link(*row) for row in rows]
