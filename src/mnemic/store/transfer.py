"""Out and in again without loss: JSON lines that carry all there is, and a copy of the file.

An export is a header, one line for each record (with its vectors and use), link and log entry, and a last line
with the counts and the sha256 of all lines before it, so that a piece of an export is never taken for a whole.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

from mnemic.store import file, log, purge, put, rows, words
from mnemic.store.queries import DIM, get_meta, space_code
from mnemic.types import MnemicError

FORMAT = 1
FINGERPRINT, EMBEDDER = "fingerprint", "embedder"  # keys in `meta`: what embedded the vectors
_NAMES = [name.strip() for name in rows.INSERT.partition("(")[2].partition(")")[0].split(",")]


def export(con: sqlite3.Connection, stream: TextIO, space: str | None) -> dict[str, int]:
    """Write everything, or everything of one space, in one snapshot; returns how many lines of each kind."""
    seen, counts = sha256(), Counter[str]()
    for kind, value in _lines(con, space):
        line = json.dumps({kind: value}, ensure_ascii=False) + "\n"
        seen.update(line.encode())
        counts[kind] += 1
        stream.write(line)
    del counts["mnemic"]
    stream.write(json.dumps({"manifest": {"counts": counts, "sha256": seen.hexdigest()}}) + "\n")
    return dict(counts)


def _lines(con: sqlite3.Connection, space: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    code = None if space is None else space_code(con, space) or -1
    meta = dict(con.execute("SELECT key, value FROM meta WHERE key <> ?", (purge.PENDING,)).fetchall())
    if space is not None:  # other settings name other spaces and what is in them
        meta = {key: value for key, value in meta.items() if key in (DIM, FINGERPRINT, EMBEDDER)}
    yield "mnemic", {"format": FORMAT, "last_id": put.last_id(con), "space": space, "meta": meta}
    names = ", ".join(f"record.{name}" for name in _NAMES)
    for row in con.execute(
        f"SELECT space.name, spans, vectors, uses, used, {names} FROM record "
        "JOIN space ON space.id = record.space LEFT JOIN part ON part.record = record.id "
        "LEFT JOIN use ON use.record = record.id WHERE ?1 IS NULL OR record.space = ?1 ORDER BY record.id",
        (code,),
    ):
        value = dict(zip(["space", "spans", "vectors", "uses", "used"], row, strict=False))
        value |= {
            name: cell for name, cell in zip(_NAMES, row[5:], strict=True) if name not in ("space", "terms")
        }
        value |= {name: json.loads(value[name]) for name in ("place", "meta")}
        for name in ("spans", "vectors", "digest"):
            value[name] = value[name] and b64encode(value[name]).decode()
        yield "record", {name: cell for name, cell in value.items() if cell is not None}
    for a, b, kind, weight in con.execute(
        "SELECT a, b, link.kind, weight FROM link JOIN record ON record.id = a "
        "WHERE ?1 IS NULL OR space = ?1 ORDER BY a, b, link.kind",
        (code,),
    ):
        yield "link", {"a": a, "b": b, "kind": kind, "weight": weight}
    for seq, at, op, name, detail, undone in con.execute(
        "SELECT seq, at, op, name, detail, undone_by FROM change LEFT JOIN space ON space.id = change.space "
        "WHERE ?1 IS NULL OR space = ?1 ORDER BY seq",
        (code,),
    ):
        yield "change", {
            "seq": seq, "at": at, "op": op, "space": name, "detail": json.loads(detail), "undone_by": undone,
            "touched": log.touched(con, seq),
        }  # fmt: skip


def import_(con: sqlite3.Connection, stream: Iterable[str], now: float) -> int:
    """Read an export into the caller's transaction; returns how many records are new. See `Store.import_`."""
    seen, counts, manifest = sha256(), Counter[str](), None
    reader: _Reader | None = None
    for number, line in enumerate(stream, 1):
        try:
            ((kind, value),) = json.loads(line).items()
            if manifest is not None:
                raise ValueError("something follows the last line")
            if kind == "manifest":
                manifest = value
                continue
            seen.update(line.encode())
            if reader is None:
                if kind != "mnemic":
                    raise ValueError("the header is missing")
                reader = _Reader(con, value)
                continue
            counts[kind] += 1
            {"record": reader.record, "link": reader.link, "change": reader.change}[kind](value)
        except (ValueError, KeyError, TypeError, AttributeError, sqlite3.IntegrityError) as error:
            raise MnemicError(
                f"line {number} is not of an export of mnemic ({error!r}); nothing was imported"
            ) from error
    if reader is None or manifest is None:
        raise MnemicError("the export ends before its last line; nothing was imported: export it again")
    if manifest != {"counts": dict(counts), "sha256": seen.hexdigest()}:
        raise MnemicError("the export was changed on its way (its sums differ); nothing was imported")
    return reader.finish(now)


class _Reader:
    """Puts the lines of an export into a file.

    Into an empty file everything goes as it is: ids, history, settings. Into another one records get new ids,
    exact repeats are left out, and the log gets one entry that can be undone.
    """

    def __init__(self, con: sqlite3.Connection, header: Mapping[str, Any]) -> None:
        if header["format"] > FORMAT:
            raise MnemicError(f"the export has format {header['format']}; install a newer mnemic to import it")
        self.con, self.header, self.meta = con, header, header["meta"]
        self.empty = log.newest(con) == 0 and put.last_id(con) == 0
        self.ids: dict[int, int] = {}
        self.new: dict[int, list[tuple[int, str | None]]] = defaultdict(list)
        self.next = put.last_id(con) + 1

    def record(self, value: dict[str, Any]) -> None:
        old, mark = int(value["id"]), b64decode(value["digest"])
        there = None if self.empty else self._repeated(value, mark)
        id = there or (old if self.empty else self.next)
        self.ids[old] = id
        if there is None:
            self.next += 1
            self.con.execute("INSERT OR IGNORE INTO space (name) VALUES (?)", (value["space"],))
            space = space_code(self.con, value["space"]) or 0
            terms = words.indexed(value.get("author"), value["text"])
            cells = value | {"id": id, "space": space, "terms": len(terms), "digest": mark}
            cells |= {name: json.dumps(value[name], ensure_ascii=False) for name in ("place", "meta")}
            self.con.execute(rows.INSERT, [cells.get(name) for name in _NAMES])
            if value["state"] == "live":
                words.add(self.con, [(id, space, terms)])
            self.new[space].append((id, None))
            if "uses" in value:
                self.con.execute("INSERT INTO use VALUES (?, ?, ?)", (id, value["uses"], value["used"]))
        if "vectors" in value:
            self._comparable()
            self.con.execute(
                "INSERT OR IGNORE INTO part VALUES (?, ?, ?)",
                (id, b64decode(value["spans"]), b64decode(value["vectors"])),
            )

    def _repeated(self, value: Mapping[str, Any], mark: bytes) -> int | None:
        row = self.con.execute(
            "SELECT id FROM record WHERE digest = ? AND state = ?", (mark, value["state"])
        ).fetchone()
        return None if row is None else int(row[0])

    def _comparable(self) -> None:
        if get_meta(self.con, DIM) is None:
            made_by = [(key, self.meta[key]) for key in (DIM, FINGERPRINT, EMBEDDER) if key in self.meta]
            self.con.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", made_by)
        for key in (DIM, FINGERPRINT):
            here, there = get_meta(self.con, key), self.meta.get(key)
            if here != there:
                raise MnemicError(
                    f"the vectors of the export ({key} {there}) cannot be compared with those here ({here}); "
                    "nothing was imported: embed one of the two anew first"
                )

    def link(self, value: Mapping[str, Any]) -> None:
        ends = self.ids[value["a"]], self.ids[value["b"]]
        self.con.execute(
            "INSERT OR IGNORE INTO link VALUES (?, ?, ?, ?)", (*ends, value["kind"], value["weight"])
        )

    def change(self, value: Mapping[str, Any]) -> None:
        if not self.empty:
            return
        space = None if value["space"] is None else space_code(self.con, value["space"])
        detail = json.dumps(value["detail"], ensure_ascii=False)
        self.con.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)",
            (value["seq"], value["at"], value["op"], space, detail, value["undone_by"]),
        )
        self.con.executemany(
            "INSERT INTO touched VALUES (?, ?, ?)", [(value["seq"], *one) for one in value["touched"]]
        )

    def finish(self, now: float) -> int:
        """The last touches once all lines are in and found whole."""
        if self.empty:
            self.con.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", self.meta.items())
            self.con.execute(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = 'record'", (self.header["last_id"],)
            )
            return len(self.ids)
        fresh = {id for touched in self.new.values() for id, _ in touched}
        newer = {old: id for old, id in self.ids.items() if id in fresh}
        for id in fresh:
            before, after = self.con.execute(
                "SELECT supersedes, superseded_by FROM record WHERE id = ?", (id,)
            ).fetchone()
            self.con.execute(
                "UPDATE record SET supersedes = ?, superseded_by = ? WHERE id = ?",
                (newer.get(before), newer.get(after), id),
            )
        for space, touched in self.new.items():
            log.note(self.con, now, "import", space, touched)
        return len(fresh)


def backup(con: sqlite3.Connection, path: Path) -> None:
    """Copy a memory, compacted, while others go on using it; `path` must be free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = file.draft_of(path)
    try:
        con.execute("VACUUM INTO ?", (str(draft),))
        if not file.publish(draft, path):
            raise MnemicError(f"{path} exists already; name a new file for the backup")
    finally:
        draft.unlink(missing_ok=True)
