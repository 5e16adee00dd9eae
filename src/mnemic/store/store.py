"""`Store`: records, their words, vectors, links and history in one SQLite file, which is the truth.

Everything else a memory uses to be quick is derived from it and can be thrown away. The work is done by
functions on a connection (`rows`, `words`, `log`, `purge`, `transfer`, `doctor`); here stand the transactions.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemic.store import file, log, purge, put, rows, words
from mnemic.store.file import Durability
from mnemic.store.log import Change
from mnemic.store.purge import Purge
from mnemic.types import Filter, Floats, Ints, MnemicError, Part, Record, State, When

PAGE = 1000  # records read at a time by `scan`
PATIENCE = 2.0  # seconds that a purge waits for readers


class Store:
    """One memory file; open it with `Store.open`, close it with `close` or a `with` block.

    Any number of processes may have it open, to read and to write; they take turns. Within a process the object
    may be used from any thread. Every method raises `MnemicError` if the file is closed, damaged, full, or held
    by another writer for longer than a minute.
    """

    def __init__(self, path: Path, con: sqlite3.Connection) -> None:
        self.path = path
        self._con: sqlite3.Connection | None = con
        self._lock = threading.RLock()
        self._uses: dict[int, tuple[int, float]] = {}

    @classmethod
    def open(cls, path: str | Path, *, durability: Durability = "full") -> Store:
        """Open the memory at `path`, or start one there.

        `durability` is what a returned call promises: "full" that it survives a power cut (one fsync per write,
        about 4 ms on a common disk), "normal" that it survives the end of the process (about 0.1 ms), but the
        last moments before a power cut may be lost; neither can leave the file inconsistent.

        Raises:
            MnemicError: the file is no memory, damaged, or of a newer version; it is left untouched.
        """
        path = Path(path)
        with file.explained(path):
            try:
                if not path.exists():
                    file.create(path)
                file.look(path)
                store = cls(path, file.connect(path, durability))
            except OSError as error:
                raise MnemicError(f"{path} cannot be opened: {error.strerror}; check the path") from error
            purge.scrub(store._connection(), patience=0)
        return store

    def close(self) -> None:
        """Write what is still to be written; further calls raise."""
        with self._lock:
            if self._con is None:
                return
            if self._uses:
                with self._writing():
                    pass
            with file.explained(self.path):
                self._con.close()
            self._con = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ----------------------------------------------------------------- transactions

    def _connection(self) -> sqlite3.Connection:
        if self._con is None:
            raise MnemicError(f"{self.path} is closed; open it again with Store.open")
        return self._con

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; use counts ride along, and an unfinished purge is tried again."""
        with self._lock, file.explained(self.path):
            con = self._connection()
            with file.transaction(con):
                self._write_uses(con)
                yield con
            self._uses.clear()
            if purge.pending(con):
                purge.scrub(con, patience=0)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One moment of the file."""
        with self._lock, file.explained(self.path):
            con = self._connection()
            with file.snapshot(con):
                yield con

    def _write_uses(self, con: sqlite3.Connection) -> None:
        con.executemany(
            "INSERT INTO use SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM record WHERE id = ?1) "
            "ON CONFLICT (record) DO UPDATE SET uses = uses + excluded.uses, used = max(used, excluded.used)",
            [(id, uses, used) for id, (uses, used) in self._uses.items()],
        )

    # ----------------------------------------------------------------- writing

    def put(self, records: Sequence[Record], parts: Sequence[Sequence[Part]] | None = None) -> list[Record]:
        """Store records, with their vectors if given, in one transaction; returns them as stored.

        An exact repeat (same space, source, session, author, order, time and text) gives the record that is
        there already, with the vectors it lacked: live again if it was forgotten, as it is if superseded
        (unless it names no source, session or time: then it is said anew). `written` is filled where it is 0,
        and `order` where all records of a (source, session) come with 0.

        Raises:
            ValueError: not one list of parts per record, a vector of another length than those stored, or text
                that no file can hold.
        """
        if parts is not None and len(parts) != len(records):
            raise ValueError(f"{len(parts)} lists of parts for {len(records)} records; give one per record")
        marks = [rows.digest(record) for record in records]
        now = time.time()
        with self._writing() as con:
            ids, new = put.put(con, records, marks, now)
            if parts is not None:
                lacking = [at for at, id in enumerate(ids) if id in new or not _has_parts(con, id)]
                put.put_parts(con, [ids[at] for at in lacking], [parts[at] for at in lacking], now, new)
            return put.get(con, ids)

    def put_parts(self, ids: Sequence[int], parts: Sequence[Sequence[Part]]) -> None:
        """Give records their vectors, in place of those they had.

        Raises:
            UnknownRecord: no such record.
            ValueError: not one list per id, or a vector of another length than those stored.
        """
        if len(parts) != len(ids):
            raise ValueError(f"{len(parts)} lists of parts for {len(ids)} ids; give one per id")
        with self._writing() as con:
            put.put_parts(con, ids, parts, time.time(), new=set())

    def drop_parts(self) -> None:
        """Throw all vectors away, so that another embedder can fill them in (see `without_parts`)."""
        with self._writing() as con:
            con.execute("DELETE FROM part")
            con.execute("DELETE FROM meta WHERE key = ?", (put.DIM,))

    def supersede(
        self, id: int, text: str, *, when: When | None = None, parts: Sequence[Part] | None = None
    ) -> Record:
        """Close a live record and store `text` in its place; the old one stays in the history.

        The new record inherits everything but the text and its place in the source; `when` is when the change
        took effect: the old one was true until its start (until now if not given).

        Raises:
            UnknownRecord: no such record.
            MnemicError: it is not live.
        """
        with self._writing() as con:
            return put.supersede(con, id, text, when, parts, time.time())

    def forget(self, ids: Sequence[int], *, reason: str = "") -> int:
        """Take records out of every result; `undo` brings them back. Returns how many changed.

        Raises:
            UnknownRecord: no such record.
        """
        detail = {"reason": reason} if reason else {}
        with self._writing() as con:
            touched: dict[int, dict[int, str | None]] = defaultdict(dict)
            for record in put.get(con, list(dict.fromkeys(ids))):
                if record.state != "forgotten":
                    space = put.space_code(con, record.space) or 0
                    touched[space][record.id] = log.move(con, record.id, "forgotten")
            for space, states in touched.items():
                log.note(con, time.time(), "forget", space, states.items(), detail)
        return sum(map(len, touched.values()))

    def undo(self, space: str | None = None) -> str:
        """Reverse the last change that is not yet undone nor purged; one line that says which it was.

        `space` restricts it to the changes of one space. A change belongs to one space: what one call did in
        several takes as many undos.
        """
        with self._writing() as con:
            code = None if space is None else put.space_code(con, space) or -1
            return log.undo(con, time.time(), code)

    def touch(self, ids: Sequence[int], now: float) -> None:
        """Count records as used at `now`; kept until the next write or `close`, lost by a kill."""
        with self._lock:
            for id in ids:
                uses, used = self._uses.get(int(id), (0, now))
                self._uses[int(id)] = (uses + 1, max(used, now))

    # ----------------------------------------------------------------- purging

    def purge(self, ids: Sequence[int]) -> Purge:
        """Erase records from every byte of the file; cannot be undone. Unknown ids are passed over.

        Rewrites the file (time and free space of about its size). While a reader holds an older state it is
        pending, and tried again at each write, each opening, and by `finish_purges`.
        """
        with self._lock, file.explained(self.path):
            con = self._connection()
            with file.transaction(con):
                for id in purge.erase(con, [int(id) for id in ids], time.time()):
                    self._uses.pop(id, None)
            return purge.scrub(con, PATIENCE)

    def finish_purges(self, patience: float = PATIENCE) -> Purge:
        """Try to finish what is pending, waiting at most `patience` seconds for readers."""
        with self._lock, file.explained(self.path):
            return purge.scrub(self._connection(), patience)

    def pending(self) -> tuple[int, ...]:
        """The ids of purged records of which bytes may remain; empty when there are none."""
        with self._reading() as con:
            return purge.pending(con) or ()

    # ----------------------------------------------------------------- reading

    def get(self, ids: Sequence[int]) -> list[Record]:
        """Records in the order asked, in whatever state they are.

        Raises:
            UnknownRecord: no such record (a `LookupError`).
        """
        with self._reading() as con:
            return put.get(con, ids)

    def scan(
        self,
        where: Filter | None = None,
        *,
        states: Sequence[State] = ("live",),
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Records by id, those after id `after`; `where=None` goes through all spaces.

        Read in pages, so that nothing is held open between them; what is written meanwhile may be seen.
        """
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            with self._reading() as con:
                said, values = "id > ?", [after]
                if where is not None:
                    sql, more = rows.condition(where, put.space_code(con, where.space))
                    said, values = f"{said} AND {sql}", values + more
                page = con.execute(
                    f"SELECT {rows.COLUMNS} FROM record WHERE {said} AND "
                    f"state IN ({', '.join('?' * len(states))}) ORDER BY id LIMIT ?",
                    (*values, *states, size),
                ).fetchall()
            for row in page:
                yield rows.from_row(row)
            if len(page) < size:
                return
            after = page[-1][0]
            left = None if left is None else left - size

    def columns(self, after: int = 0, ids: Sequence[int] | Ints | None = None) -> dict[str, NDArray[Any]]:
        """The live records as arrays [n] by id, those after id `after` or those of `ids`, without their text.

        "id", "order": int64; "space", "source", "session", "author", "kind": str or None; "when_start",
        "when_end" (NaN if unknown), "written": float64 seconds.
        """
        said, values = _some("record.id", after, ids)
        with self._reading() as con:
            table = con.execute(
                "SELECT record.id, space.name, source, session, author, kind, rank, when_start, when_end, "
                f"written FROM record JOIN space ON space.id = record.space WHERE state = 'live' AND {said} "
                "ORDER BY record.id",
                values,
            ).fetchall()
        columns = list(zip(*table, strict=True)) or [()] * len(_COLUMNS)
        return {name: np.array(column, dtype) for (name, dtype), column in zip(_COLUMNS, columns, strict=True)}

    def parts(self, after: int = 0) -> tuple[Ints, Ints, Ints, Floats]:
        """The vectors of live records after id `after`, by id: (ids [m], starts, ends, vectors [m, dim])."""
        with self._reading() as con:
            return put.vectors(con, _LIVE_PARTS, (after,))

    def parts_of(self, ids: Sequence[int] | Ints) -> tuple[Ints, Ints, Ints, Floats]:
        """The vectors of some records in any state, by id: (ids [m], starts, ends, vectors [m, dim])."""
        said, values = _some("record", 0, ids)
        with self._reading() as con:
            return put.vectors(con, said, values)

    def without_parts(self, limit: int = PAGE) -> list[int]:
        """Ids of live records that have no vector yet."""
        with self._reading() as con:
            found = con.execute(
                "SELECT id FROM record WHERE state = 'live' AND terms > 0 "
                "AND id NOT IN (SELECT record FROM part) ORDER BY id LIMIT ?",
                (limit,),
            )
            return [id for (id,) in found]

    def words(self, terms: Sequence[str], where: Filter, limit: int) -> tuple[Ints, Floats]:
        """The `limit` best live records for any of some stemmed terms: (ids, BM25), best first.

        `where` restricts what is found; how common a word is is counted over the whole space.
        """
        with self._reading() as con:
            space = put.space_code(con, where.space)
            if space is None:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            ids, scores = words.score(con, space, terms)
            if where != Filter(space=where.space):
                sql, values = rows.condition(where, space)
                allowed = con.execute(f"SELECT id FROM record WHERE state = 'live' AND {sql}", values)
                keep = np.isin(ids, np.fromiter((id for (id,) in allowed), np.int64))
                ids, scores = ids[keep], scores[keep]
        return words.best(ids, scores, limit)

    # ----------------------------------------------------------------- history

    def history(self, id: int) -> list[Change]:
        """What happened to one record, oldest first."""
        with self._reading() as con:
            return log.read(con, "seq IN (SELECT seq FROM touched WHERE record = ?)", [id], None)

    def log(self, after: int = 0, limit: int | None = None, space: str | None = None) -> list[Change]:
        """The changes after entry `after`, oldest first, of all spaces or one."""
        with self._reading() as con:
            code = None if space is None else put.space_code(con, space) or -1
            return log.read(con, "seq > ?1 AND (?2 IS NULL OR space = ?2)", [after, code], limit)

    def changes(self, since: int) -> tuple[int, Ints, Ints]:
        """What a copy in memory must do after entry `since`, whoever wrote: (newest entry, live, gone).

        `live` are ids that came, came back or got new vectors; `gone` those that are no longer live.
        """
        with self._reading() as con:
            return log.since(con, since)

    # ----------------------------------------------------------------- the memory itself

    def spaces(self) -> dict[str, int]:
        """The spaces and how many live records each holds."""
        with self._reading() as con:
            found = con.execute(
                "SELECT name, count(record.id) FROM space LEFT JOIN record "
                "ON record.space = space.id AND state = 'live' GROUP BY space.id ORDER BY name"
            )
            return dict(found.fetchall())

    def get_meta(self, key: str) -> str | None:
        """What `set_meta` wrote; None if nothing."""
        with self._reading() as con:
            row = con.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str | None) -> None:
        """Write down something about the memory as a whole; None removes it."""
        with self._writing() as con:
            if value is None:
                con.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


_COLUMNS: tuple[tuple[str, type], ...] = (
    ("id", np.int64), ("space", object), ("source", object), ("session", object), ("author", object),
    ("kind", object), ("order", np.int64), ("when_start", np.float64), ("when_end", np.float64),
    ("written", np.float64),
)  # fmt: skip
_LIVE_PARTS = "record > ? AND record IN (SELECT id FROM record WHERE state = 'live')"


def _some(column: str, after: int, ids: Sequence[int] | Ints | None) -> tuple[str, tuple[Any, ...]]:
    """A condition on ids: those after one, or those of a list."""
    if ids is None:
        return f"{column} > ?", (after,)
    return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps([int(id) for id in ids]),)


def _has_parts(con: sqlite3.Connection, id: int) -> bool:
    return con.execute("SELECT 1 FROM part WHERE record = ?", (id,)).fetchone() is not None
