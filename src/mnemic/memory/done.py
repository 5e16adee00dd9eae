"""Files that were remembered whole, by the hash of their content, so that a folder given again is only read.

The note on a file goes when something of it is forgotten or undone: given again, it is remembered again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from mnemic.store import Store
from mnemic.types import Record


class Done:
    """The notes of one memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __contains__(self, file: tuple[str, Path, str]) -> bool:
        """Whether (space, path, digest) was noted."""
        space, path, digest = file
        return self._store.get_meta(_key(space, str(path))) == digest

    def note(self, space: str, path: Path, digest: str) -> None:
        self._store.set_meta(_key(space, str(path)), digest)

    def drop(self, records: Iterable[Record]) -> None:
        """These records changed: their files are no longer remembered whole."""
        for key in {_key(it.space, it.source) for it in records if it.source is not None}:
            if self._store.get_meta(key) is not None:
                self._store.set_meta(key, None)


def digest(path: Path, *asked: object) -> str:
    """A hash of a file's content and of how it was asked to be remembered."""
    with path.open("rb") as stream:
        hashed = hashlib.file_digest(stream, "sha256")
    hashed.update(repr(asked).encode())
    return hashed.hexdigest()


def _key(space: str, source: str) -> str:
    return f"done {json.dumps([space, source], ensure_ascii=False)}"
