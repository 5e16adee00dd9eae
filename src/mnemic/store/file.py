"""The file itself: made whole or not at all, looked at before it is opened, and errors that say what to do.

A new memory is built under another name and linked to its own, so a file that carries the name is complete.
A file that is no memory, or no longer one, is found out by reading it and never written to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mnemic.store.schema import APPLICATION_ID, MIGRATIONS, migrate
from mnemic.types import MnemicError

Durability = Literal["full", "normal"]

PATIENCE = 60.0  # seconds to wait for another process that writes
CHECKED_WHOLE = 64 << 20  # bytes up to which opening reads every page (about 1 ms per MiB); larger: `doctor`


def create(path: Path) -> None:
    """Put a new, empty memory at `path`; if another process was faster, its file stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    con = sqlite3.connect(":memory:", isolation_level=None)
    try:
        con.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(con)
        content = bytearray(con.serialize())
    finally:
        con.close()
    content[18:20] = b"\2\2"  # the header's two marks of a database in WAL mode
    draft = draft_of(path)
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def draft_of(path: Path) -> Path:
    """The name under which a file is made before it gets its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")


def publish(draft: Path, path: Path) -> bool:
    """Give a finished file its name unless the name is taken; whether it was free."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        draft.rename(path)
    return True


def look(path: Path) -> None:
    """Read a file's header, and every page of a small one; nothing is written.

    Raises:
        MnemicError: it is not a memory, was cut short or overwritten, or is of a newer version.
    """
    if not path.is_file():
        raise MnemicError(f"{path} is not a file; give the path of a memory file")
    with path.open("rb") as file:
        head = file.read(100)
    size = path.stat().st_size
    spoilt = f"{path} is damaged (%s); it was left as it is: restore it from a backup or an export"
    if size == 0:
        raise MnemicError(f"{path} is empty, not a memory; remove it to start a new memory there")
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise MnemicError(
            f"{path} is not a memory file, or its beginning was overwritten; it was left as it is"
        )
    version, mark = struct.unpack_from(">I4xI", head, 60)
    if mark != APPLICATION_ID:
        raise MnemicError(
            f"{path} is an SQLite database of another program, not a memory; it was left as it is"
        )
    if version > len(MIGRATIONS):
        raise MnemicError(
            f"{path} has format {version}, this mnemic knows up to {len(MIGRATIONS)}; install a newer mnemic"
        )
    if (missing := _missing(path)) and _missing(path):  # twice: once may be another process at work
        raise MnemicError(spoilt % f"cut short: {missing} bytes are missing")
    if size > CHECKED_WHOLE:
        return
    # Immutable leaves no files beside a damaged one; it may err only where another process has begun to write.
    fault = _fault(path, "immutable=1") if _settled(path) else "unsettled"
    if fault is not None and not _settled(path):
        fault = _fault(path, "mode=ro")
    if fault is not None:
        raise MnemicError(spoilt % fault)


def _settled(path: Path) -> bool:
    """Whether all there is lies in the file itself, nothing in a write-ahead log."""
    wal = path.with_name(path.name + "-wal")
    return not wal.exists() or wal.stat().st_size == 0


def _missing(path: Path) -> int:
    """Bytes by which a settled file is shorter than its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        page, counter, pages, valid_for = struct.unpack(">16xH6xII60xI4x", file.read(100))
    if counter != valid_for or not _settled(path):
        return 0
    return max(0, int(65536 if page == 1 else page) * int(pages) - size)


def _fault(path: Path, how: str) -> str | None:
    """The first thing wrong with the pages of a file; None if nothing is."""
    con = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=PATIENCE)
    try:
        found = str(con.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        found = str(error)
    finally:
        con.close()
    return None if found == "ok" else found.splitlines()[0]


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """A connection to a memory that `look` found sound, brought to this version."""
    con = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        patiently(con, "PRAGMA journal_mode = WAL")
        con.execute(f"PRAGMA synchronous = {durability.upper()}")
        con.execute("PRAGMA secure_delete = ON")
        if con.execute("PRAGMA user_version").fetchone()[0] < len(MIGRATIONS):
            with transaction(con):
                migrate(con)
    except BaseException:
        con.close()
        raise
    return con


def patiently(con: sqlite3.Connection, statement: str) -> None:
    """Execute where SQLite's own waiting does not reach: changing the journal, beginning to write."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            con.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def transaction(con: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; waits for its turn among processes."""
    patiently(con, "BEGIN IMMEDIATE")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(con: sqlite3.Connection) -> Iterator[None]:
    """What is read inside belongs to one moment, whatever others write meanwhile."""
    con.execute("BEGIN")
    try:
        yield
    finally:
        if con.in_transaction:
            con.execute("ROLLBACK")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite reports into a sentence a user can act on."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        for code, sentence in _SENTENCES.items():
            if name.startswith(code):
                raise MnemicError(sentence.format(path=path)) from error
        raise MnemicError(f"{path}: SQLite reports {error} ({name or 'no code'}); run doctor on it") from error


_SENTENCES = {
    "SQLITE_FULL": "the disk of {path} is full; nothing of this change was written: free space and repeat it",
    "SQLITE_IOERR": "{path} could not be read or written (disk error); nothing of this change was written: "
    "check the disk and repeat it",
    "SQLITE_CORRUPT": "{path} is damaged; nothing more was written: restore it from a backup or an export",
    "SQLITE_NOTADB": "{path} is no memory file, or was overwritten; restore it from a backup or an export",
    "SQLITE_READONLY": "{path} may not be written to; change its permissions, or open a copy",
    "SQLITE_PERM": "{path} may not be written to; change its permissions, or open a copy",
    "SQLITE_CANTOPEN": "{path} or its -wal file cannot be opened; check the folder and its permissions",
    "SQLITE_BUSY": f"another process has been writing to {{path}} for {PATIENCE:.0f} seconds; repeat it later",
    "SQLITE_TOOBIG": "a text is larger than the gigabyte {path} can hold in one record; cut it into passages",
}
