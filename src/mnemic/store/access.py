"""An open memory file: one connection that threads share, and the transactions that everything goes through."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from mnemic.store import file, purge
from mnemic.store.file import Durability
from mnemic.types import MnemicError


class MemoryFile:
    """The file of a `Store`: opening, closing, and turns."""

    def __init__(self, path: Path, con: sqlite3.Connection) -> None:
        self.path = path
        self._con: sqlite3.Connection | None = con
        self._lock = threading.RLock()
        self._uses: dict[int, tuple[int, float]] = {}

    @classmethod
    def open(cls, path: str | Path, *, durability: Durability = "full") -> Self:
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
            self._flush()
            with file.explained(self.path):
                self._con.close()
            self._con = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    @contextlib.contextmanager
    def _apart(self) -> Iterator[sqlite3.Connection]:
        """A second connection, for what takes long and must not hold up other threads."""
        self._flush()
        con = file.connect(self.path, "normal")
        try:
            yield con
        finally:
            con.close()

    def _flush(self) -> None:
        """Write the use counts that are still in memory, unless the file cannot be written now."""
        with self._lock:
            self._connection()
            if self._uses:
                with contextlib.suppress(MnemicError), self._writing():
                    pass

    def _write_uses(self, con: sqlite3.Connection) -> None:
        con.executemany(
            "INSERT INTO use SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM record WHERE id = ?1) "
            "ON CONFLICT (record) DO UPDATE SET uses = uses + excluded.uses, used = max(used, excluded.used)",
            [(id, uses, used) for id, (uses, used) in self._uses.items()],
        )
