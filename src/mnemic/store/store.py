"""`Store`: records, their words, vectors, links and history in one SQLite file, which is the truth.

Everything else a memory uses to be quick is derived from it and can be thrown away. The work is done by
functions on a connection (`rows`, `words`, `log`, `purge`, `transfer`, `doctor`); here stand the transactions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from mnemic.store import doctor, file, links, log, purge, put, queries, rows, transfer, words
from mnemic.store.access import MemoryFile
from mnemic.store.doctor import Report
from mnemic.store.links import Link
from mnemic.store.log import Change
from mnemic.store.purge import Purge
from mnemic.types import Filter, Floats, Ints, Part, Record, State, TraceStats, When

PAGE = 1000  # records read at a time by `scan`
PATIENCE = 2.0  # seconds that a purge waits for readers


class Store(MemoryFile):
    """One memory file; open it with `Store.open`, close it with `close` or a `with` block.

    Any number of processes may have it open, to read and to write; they take turns. Within a process the object
    may be used from any thread. Every method raises `MnemicError` if the file is closed, damaged, full, or held
    by another writer for longer than a minute.
    """

    # ----------------------------------------------------------------- writing

    def put(self, records: Sequence[Record], parts: Sequence[Sequence[Part]] | None = None) -> list[Record]:
        """Store records, with their vectors if given, in one transaction; returns them as stored.

        An exact repeat (same space, kind, source, session, author, order, time and text) gives the record that
        is there already, with the vectors it lacked: live again if it was forgotten, as it is if superseded
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
                lacking = [
                    at
                    for at, id in enumerate(ids)
                    if id in new or not len(queries.vectors(con, "record = ?", [id])[0])
                ]
                put.put_parts(con, [ids[at] for at in lacking], [parts[at] for at in lacking], now, new)
            return queries.get(con, ids)

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
            put.drop_parts(con, time.time())

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

    def forget(self, ids: Sequence[int] | Ints, *, reason: str = "") -> int:
        """Take records out of every result; `undo` brings them back. Returns how many changed.

        Raises:
            UnknownRecord: no such record.
        """
        detail = {"reason": reason} if reason else {}
        with self._writing() as con:
            touched: dict[int, dict[int, str | None]] = defaultdict(dict)
            for record in queries.get(con, list(dict.fromkeys(int(id) for id in ids))):
                if record.state != "forgotten":
                    space = queries.space_code(con, record.space) or 0
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
            code = None if space is None else queries.space_code(con, space) or -1
            return log.undo(con, time.time(), code)

    def link(self, a: int, b: int, kind: str, weight: float = 1.0) -> None:
        """Tie record `a` to record `b`; the same tie again changes its weight.

        Raises:
            UnknownRecord: no such record.
            MnemicError: they are in different spaces.
            ValueError: they are the same record.
        """
        with self._writing() as con:
            links.link(con, Link(int(a), int(b), kind, float(weight)), time.time())

    def touch(self, ids: Sequence[int] | Ints, now: float) -> None:
        """Count records as used at `now`; kept until the next write or `close`, lost by a kill."""
        with self._lock:
            for id in ids:
                uses, used = self._uses.get(int(id), (0, now))
                self._uses[int(id)] = (uses + 1, max(used, now))

    # ----------------------------------------------------------------- purging

    def purge(self, ids: Sequence[int] | Ints, *, patience: float = PATIENCE) -> Purge:
        """Erase records from every byte of the file; cannot be undone. Unknown ids are passed over.

        Rewrites the file (time and free space of about its size). While a reader holds an older state it is
        pending (after `patience` seconds), and tried again at each write, each opening, and by `finish_purges`.
        """
        with self._lock, file.explained(self.path):
            con = self._connection()
            with file.transaction(con):
                for id in purge.erase(con, [int(id) for id in ids], time.time()):
                    self._uses.pop(id, None)
            return purge.scrub(con, patience)

    def finish_purges(self, patience: float = PATIENCE) -> Purge:
        """Try to finish what is pending, waiting at most `patience` seconds for readers."""
        with self._lock, file.explained(self.path):
            return purge.scrub(self._connection(), patience)

    def pending(self) -> tuple[int, ...]:
        """The ids of purged records of which bytes may remain; empty when there are none."""
        with self._reading() as con:
            return purge.pending(con) or ()

    # ----------------------------------------------------------------- reading

    def get(self, ids: Sequence[int] | Ints) -> list[Record]:
        """Records in the order asked, in whatever state they are.

        Raises:
            UnknownRecord: no such record (a `LookupError`).
        """
        with self._reading() as con:
            return queries.get(con, ids)

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
                page = queries.page(con, where, states, after, size)
            yield from page
            if len(page) < size:
                return
            after = page[-1].id
            left = None if left is None else left - size

    def columns(self, after: int = 0, ids: Sequence[int] | Ints | None = None) -> dict[str, NDArray[Any]]:
        """The live records as arrays [n] by id, those after id `after` or those of `ids`, without their text.

        "id", "order": int64; "space", "source", "session", "author", "kind": str or None; "when_start",
        "when_end" (NaN if unknown), "written": float64 seconds.
        """
        with self._reading() as con:
            return queries.columns(con, after, ids)

    def parts(self, after: int = 0) -> tuple[Ints, Ints, Ints, Floats]:
        """The vectors of live records after id `after`, by id: (ids [m], starts, ends, vectors [m, dim])."""
        with self._reading() as con:
            return queries.vectors(con, _LIVE_PARTS, (after,))

    def parts_of(self, ids: Sequence[int] | Ints) -> tuple[Ints, Ints, Ints, Floats]:
        """The vectors of some records in any state, by id: (ids [m], starts, ends, vectors [m, dim])."""
        with self._reading() as con:
            return queries.vectors(con, *queries.some("record", 0, ids))

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
            space = queries.space_code(con, where.space)
            if space is None:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            ids, scores = words.score(con, space, terms)
            if where != Filter(space=where.space):
                sql, values = rows.condition(where, space)
                allowed = con.execute(f"SELECT id FROM record WHERE state = 'live' AND {sql}", values)
                keep = np.isin(ids, np.fromiter((id for (id,) in allowed), np.int64))
                ids, scores = ids[keep], scores[keep]
        return words.best(ids, scores, limit)

    def links(self, ids: Sequence[int] | Ints) -> list[Link]:
        """The ties between live records that start or end at some ids, ordered by (a, b, kind)."""
        with self._reading() as con:
            return links.links(con, ids)

    def trace_stats(self, space: str) -> tuple[Ints, TraceStats]:
        """What a retention rule may look at: (ids [n], one row per live record of a space).

        Importance is `meta["importance"]`, 0.5 where nothing is said; bytes are those of text and vectors.
        """
        with self._reading() as con:
            return queries.traces(con, space, self._uses)

    # ----------------------------------------------------------------- history

    def history(self, id: int) -> list[Change]:
        """What happened to one record, oldest first."""
        with self._reading() as con:
            return log.read(con, "seq IN (SELECT seq FROM touched WHERE record = ?)", [id], None)

    def log(self, after: int = 0, limit: int | None = None, space: str | None = None) -> list[Change]:
        """The changes after entry `after`, oldest first, of all spaces or one."""
        with self._reading() as con:
            code = None if space is None else queries.space_code(con, space) or -1
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

    def stats(self, space: str | None = None) -> dict[str, Any]:
        """Counts and bytes of one space, or of the whole memory.

        "live", "superseded", "forgotten": records; "text_bytes", "vectors", "vector_bytes", "links", "changes";
        "first", "last": event times in seconds, None without any; for the whole memory also "file_bytes" and
        "pending", the purged records of which bytes may remain.
        """
        with self._reading() as con:
            if space is not None:
                return queries.stats(con, queries.space_code(con, space) or -1)
            beside = (self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm"))
            size = sum(one.stat().st_size for one in beside if one.exists())
            pending = purge.pending(con) or ()
            return queries.stats(con, None) | {"file_bytes": size, "pending": len(pending)}

    def kept(self, name: str) -> bytes | None:
        """The index that `keep` wrote under this name; None if there is none, or a purge dropped it."""
        with self._reading() as con:
            row = con.execute("SELECT data FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, name: str, data: bytes, seq: int) -> bool:
        """Keep an index of the live records as of log entry `seq`; refused if anything was written since.

        (What was purged meanwhile would come back with it.)
        """
        with self._writing() as con:
            if log.newest(con) != seq:
                return False
            for given in (data, None):  # a statement holds on to what it was last given
                con.execute("INSERT OR REPLACE INTO kept SELECT ?1, ?2 WHERE ?2 IS NOT NULL", (name, given))
        return True

    def get_meta(self, key: str) -> str | None:
        """What `set_meta` wrote; None if nothing."""
        with self._reading() as con:
            return queries.get_meta(con, key)

    def set_meta(self, key: str, value: str | None) -> None:
        """Write down something about the memory as a whole; None removes it."""
        with self._writing() as con:
            if value is None:
                con.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # ----------------------------------------------------------------- out, in, and well

    def export(self, stream: TextIO, space: str | None = None) -> dict[str, int]:
        """Write the memory, or one space, as JSON lines without loss; returns how many records, links, changes.

        What is read belongs to one moment; others may go on writing.
        """
        with file.explained(self.path), self._apart() as con, file.snapshot(con):
            return transfer.export(con, stream, space)

    def import_(self, stream: Iterable[str]) -> int:
        """Read what `export` wrote, all of it or nothing; returns how many records are new here.

        An empty memory becomes what was exported, ids, history and settings included. In any other one records
        get new ids, exact repeats are left out, and one `undo` per space takes the import back.

        Raises:
            MnemicError: it is not a whole and unchanged export, or its vectors are of another embedder.
        """
        with self._writing() as con:
            return transfer.import_(con, stream, time.time())

    def backup(self, path: str | Path) -> None:
        """Copy the memory to a new file while others go on using it; what was purged is not in it.

        Raises:
            MnemicError: the path is taken.
        """
        with file.explained(self.path), self._apart() as con:
            transfer.backup(con, Path(path))

    def doctor(self, *, patience: float = PATIENCE) -> Report:
        """Look everything over, mend what is derived, finish what is pending; reads and tokenises it all."""
        with self._writing() as con:
            report = doctor.examine(con)
        left = self.finish_purges(patience)
        return report if left.done else replace(report, found=(*report.found, left.detail))


_LIVE_PARTS = "record > ? AND record IN (SELECT id FROM record WHERE state = 'live')"
