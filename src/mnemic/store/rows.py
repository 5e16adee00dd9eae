"""Between values and rows: records, the parts a vector stands for, filters, and what makes a repeat.

Two records are repeats of one another when they tell of the same event: same space, kind, source, session,
author, order, time and text. `digest` is a hash of exactly these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Filter, Floats, Part, Record, When

COLUMNS = (
    "id, (SELECT name FROM space WHERE space.id = record.space), state, kind, source, author, session, title, "
    "place, rank, char_start, char_end, when_start, when_end, when_precision, when_offset, when_about, "
    "written, valid_to, supersedes, superseded_by, meta, text"
)
INSERT = (
    "INSERT INTO record (id, space, state, kind, source, author, session, title, place, rank, char_start, "
    "char_end, when_start, when_end, when_precision, when_offset, when_about, written, valid_to, supersedes, "
    f"superseded_by, terms, digest, meta, text) VALUES ({', '.join('?' * 25)})"
)


def digest(record: Record) -> bytes:
    """16 bytes that two tellings of the same event share."""
    when = record.when
    told = [
        record.space, record.kind, record.source, record.session, record.author, record.order,
        None if when is None else [when.start, when.end], record.text,
    ]  # fmt: skip
    try:
        return blake2b(json.dumps(told, ensure_ascii=False).encode(), digest_size=16).digest()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a record holds {error.object[error.start]!r}, half a character that no file can hold "
            "(the text was decoded wrongly); decode it again with errors='replace'"
        ) from None


def to_row(record: Record, space: int, terms: int, mark: bytes) -> tuple[Any, ...]:
    """The values of `INSERT`; `terms`: how many the word index holds for it; `mark`: its digest."""
    when = record.when
    stretch: tuple[Any, ...] = (None,) * 5
    if when is not None:
        stretch = (when.start, when.end, when.precision, when.offset, when.about)
    return (
        record.id, space, record.state, record.kind, record.source, record.author, record.session, record.title,
        json.dumps(record.place, ensure_ascii=False), record.order, record.start, record.end, *stretch,
        record.written, record.valid_to, record.supersedes, record.superseded_by,
        terms, mark, json.dumps(dict(record.meta), ensure_ascii=False), record.text,
    )  # fmt: skip


def from_row(row: Sequence[Any]) -> Record:
    """The record of one row of `COLUMNS`."""
    when = None if row[12] is None else When(row[12], row[13], row[14], row[15], bool(row[16]))
    return Record(
        id=row[0], space=row[1], state=row[2], kind=row[3], source=row[4], author=row[5], session=row[6],
        title=row[7], place=tuple(json.loads(row[8])), order=row[9], start=row[10], end=row[11], when=when,
        written=row[17], valid_to=row[18], supersedes=row[19], superseded_by=row[20],
        meta=json.loads(row[21]), text=row[22],
    )  # fmt: skip


def pack(parts: Sequence[Part]) -> tuple[bytes, bytes]:
    """Parts as (spans [m, 2] int32, vectors [m, dim] float16)."""
    spans = np.array([(part.start, part.end) for part in parts], "<i4")
    return spans.tobytes(), np.stack([part.vector for part in parts]).astype("<f2").tobytes()


def unpack(spans: bytes, vectors: bytes) -> tuple[NDArray[np.int32], Floats]:
    """(spans [m, 2], vectors [m, dim] float32) of one or of several records put one after the other."""
    where = np.frombuffer(spans, "<i4").reshape(-1, 2)
    return where, np.frombuffer(vectors, "<f2").astype(np.float32).reshape(len(where), -1)


def condition(where: Filter, space: int | None) -> tuple[str, list[Any]]:
    """A filter as SQL over `record` and its values; `space` is the code of its space, None if unknown."""
    said: list[tuple[str, Any]] = [("space = ?", -1 if space is None else space)]
    for name in ("source", "author", "session", "kind"):
        value = getattr(where, name)
        if value is not None:
            said.append((f"{name} = ?", value))
    if where.before is not None:
        said.append(("when_end <= ?", where.before))
    if where.after is not None:
        said.append(("when_start >= ?", where.after))
    if where.during is not None:
        said += [("when_start < ?", where.during.end), ("when_end > ?", where.during.start)]
    return " AND ".join(sql for sql, _ in said), [value for _, value in said]
