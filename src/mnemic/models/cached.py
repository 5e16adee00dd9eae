"""An embedder that remembers what it has encoded: vectors by hash of text, in one SQLite file.

For measurements that are repeated. Any number of processes may share the file; a batch is kept as soon as it is
computed, so an interrupted run continues where it was.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from mnemic.types import Embedder, Floats, Part

BATCH = 1000  # texts computed and kept at a time


class CachedEmbedder:
    """`inner`, asked only for texts that nobody has yet asked of it with this folder."""

    def __init__(self, inner: Embedder, folder: str | Path) -> None:
        self.name, self.dim, self.fingerprint = inner.name, inner.dim, inner.fingerprint
        self._inner = inner
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', inner.fingerprint)}.sqlite"
        self._con = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        self._con.execute("CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, parts BLOB) WITHOUT ROWID")

    def encode(self, texts: Sequence[str]) -> Floats:
        """As `inner.encode`."""

        def whole(new: Sequence[str]) -> list[list[Part]]:
            vectors = self._inner.encode(new)
            return [[Part(0, len(text), vector)] for text, vector in zip(new, vectors, strict=True)]

        kept = self._kept("encode", texts, whole)
        return np.array([parts[0].vector for parts in kept], np.float32).reshape(len(texts), self.dim)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """As `inner.parts`."""
        return self._kept("parts", texts, self._inner.parts)

    def _kept(
        self, what: str, texts: Sequence[str], compute: Callable[[Sequence[str]], list[list[Part]]]
    ) -> list[list[Part]]:
        keys = [blake2b(f"{what}:{text}".encode(), digest_size=16).digest() for text in texts]
        row = np.dtype([("start", "<i8"), ("end", "<i8"), ("vector", "<f4", (self.dim,))])
        known: dict[bytes, list[Part]] = {}
        new: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            found = self._con.execute("SELECT parts FROM kept WHERE key = ?", (key,)).fetchone()
            if found is None:
                new[key] = text
            else:
                rows = np.frombuffer(found[0], row)
                known[key] = [Part(int(r["start"]), int(r["end"]), r["vector"]) for r in rows]
        missing = list(new)
        for at in range(0, len(missing), BATCH):
            batch = missing[at : at + BATCH]
            computed = compute([new[key] for key in batch])
            known.update(zip(batch, computed, strict=True))
            blobs = [np.array([(p.start, p.end, p.vector) for p in parts], row).tobytes() for parts in computed]
            self._con.execute("BEGIN IMMEDIATE")
            self._con.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?)", zip(batch, blobs, strict=True))
            self._con.execute("COMMIT")
        return [known[key] for key in keys]
