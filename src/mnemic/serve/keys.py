"""Who may enter which spaces: keys, kept as hashes in a file beside the memory.

A key reads `mnemic_ID_SECRET`. The file holds the SHA-256 of the secret (256 random bits: a plain hash of so
many cannot be searched), the spaces it opens, and whether it may write. It is looked up at every request: a key
that was revoked opens nothing from then on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mnemic.serve.beside import reading, transaction
from mnemic.types import DEFAULT_SPACE, MnemicError

PREFIX = "mnemic"
TABLE = "key (id TEXT PRIMARY KEY, name TEXT, hash BLOB, spaces TEXT, writes INTEGER, made REAL, revoked REAL)"


class Refused(MnemicError):
    """A key does not open what was asked for."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    Attributes:
        name: of the key; "" for the owner, who came without one.
        spaces: those that may be entered; None is every space.
        writes: whether something may be changed.
    """

    name: str = ""
    spaces: frozenset[str] | None = None
    writes: bool = True

    def enter(self, space: str | None = None, *, writing: bool = False) -> str:
        """The space meant by `space`; None is the only one this access opens, else the default space.

        Raises:
            Refused: it is not open, or may only be read.
        """
        if space is None:
            only = self.spaces if self.spaces is not None and len(self.spaces) == 1 else {DEFAULT_SPACE}
            (space,) = only
        if self.spaces is not None and space not in self.spaces:
            raise Refused(f"this key does not open the space {space!r}; ask for one with --space {space!r}")
        if writing and not self.writes:
            raise Refused("this key may only read; ask for one with --write")
        return space

    def everywhere(self) -> None:
        """Raises `Refused` unless every space is open."""
        if self.spaces is not None:
            raise Refused("this key does not open every space; say which space is meant")


OWNER = Access()


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept."""

    id: str
    name: str
    access: Access
    made: float
    revoked: float | None


class Keys:
    """The keys to one memory, in the file `life.mnemic.keys` beside `life.mnemic`."""

    def __init__(self, memory: Path) -> None:
        self.path = memory.with_name(memory.name + ".keys")

    def add(self, spaces: Sequence[str] | None, *, writes: bool, name: str = "") -> str:
        """Make a key that opens these spaces (None: every one); it is returned once and never shown again."""
        id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        opened = None if spaces is None else json.dumps(sorted(set(spaces)), ensure_ascii=False)
        with self._open() as con:
            con.execute(
                "INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (id, name, _hashed(secret), opened, writes, time.time()),
            )
        return f"{PREFIX}_{id}_{secret}"

    def list(self) -> list[Key]:
        """All keys, oldest first, revoked ones included."""
        if not self.path.exists():
            return []
        with reading(self.path) as con:
            rows = con.execute(
                "SELECT id, name, spaces, writes, made, revoked FROM key ORDER BY made"
            ).fetchall()
        return [
            Key(id, name, _access(id, spaces, writes), made, revoked)
            for id, name, spaces, writes, made, revoked in rows
        ]

    def revoke(self, id: str) -> None:
        """From now on the key opens nothing.

        Raises:
            MnemicError: there is no such key.
        """
        with self._open() as con:
            changed = con.execute(
                "UPDATE key SET revoked = coalesce(revoked, ?) WHERE id = ?", (time.time(), id)
            ).rowcount
        if not changed:
            raise MnemicError(f"there is no key {id!r}; `mnemic key list` shows those there are")

    def any(self) -> bool:
        """Whether a key is in force."""
        return any(key.revoked is None for key in self.list())

    def access(self, token: str) -> Access | None:
        """What a key opens; None if it is none, or no longer one."""
        prefix, _, rest = token.partition("_")
        id, _, secret = rest.partition("_")
        if prefix != PREFIX or not secret or not self.path.exists():
            return None
        with reading(self.path) as con:
            row = con.execute(
                "SELECT hash, spaces, writes FROM key WHERE id = ? AND revoked IS NULL", (id,)
            ).fetchone()
        if row is None or not hmac.compare_digest(row[0], _hashed(secret)):
            return None
        return _access(id, row[1], row[2])

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, TABLE)


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _access(id: str, spaces: str | None, writes: int) -> Access:
    return Access(id, None if spaces is None else frozenset(json.loads(spaces)), bool(writes))
