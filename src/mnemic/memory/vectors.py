"""The vectors of a memory: of one embedder only, because those of two cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mnemic.store import Store
from mnemic.types import Embedder, MnemicError, Record

BATCH = 256  # records embedded and made durable together


class Vectors:
    """Gives records their vectors, and refuses an embedder other than the one the memory was made with."""

    def __init__(self, store: Store, wanted: str | Path | Embedder | None) -> None:
        self._store = store
        self._wanted: str | Path | None = None
        self._embedder: Embedder | None = None
        if wanted is None or isinstance(wanted, str | Path):
            self._wanted = wanted
        else:
            self._embedder = self._accepted(wanted)

    @property
    def embedder(self) -> Embedder | None:
        """What turns text into vectors, loaded on first use; None where words alone are wanted.

        Raises:
            MnemicError: it cannot be loaded, or its vectors cannot be compared with those there are.
        """
        if self._embedder is None and self._wanted is not None:
            wanted = self._wanted
            made_with = self._store.get_meta("embedder") if wanted == "default" else None
            try:
                opened = _opened(made_with or wanted)
            except (MnemicError, ValueError) as error:
                if made_with is None:
                    raise
                raise MnemicError(
                    f"{self._store.path} was made with the embedder {made_with!r}, and {error}; change it with "
                    f"`mnemic reembed --memory {self._store.path}`, or recall by words alone (--no-vectors)"
                ) from error
            self._embedder = self._accepted(opened)
        return self._embedder

    @property
    def any(self) -> bool:
        """Whether the memory holds vectors at all."""
        return self._store.get_meta("fingerprint") is not None

    def give(self, records: Sequence[Record]) -> None:
        """Embed those that have no vector yet."""
        have = set(self._store.parts_of([it.id for it in records])[0].tolist())
        bare = [it for it in records if it.id not in have]
        if bare and (embedder := self.embedder):
            if not self.any:
                self._belong_to(embedder)
            self._store.put_parts([it.id for it in bare], embedder.parts([it.text for it in bare]))

    def renew(self, wanted: str | Path | Embedder, progress: Callable[[int, int], None]) -> int:
        """Change over to another embedder, or go on with such a change; returns how many got a vector."""
        embedder = _opened(wanted) if isinstance(wanted, str | Path) else wanted
        if self._store.get_meta("fingerprint") != embedder.fingerprint:
            self._store.drop_parts()
            self._belong_to(embedder)
        self._embedder = embedder
        bare = self._store.without_parts(limit=2**62)
        for start in range(0, len(bare), BATCH):
            progress(start, len(bare))
            self.give(self._store.get(bare[start : start + BATCH]))
        progress(len(bare), len(bare))
        return len(bare)

    def _belong_to(self, embedder: Embedder) -> None:
        self._store.set_meta("embedder", embedder.name)
        self._store.set_meta("fingerprint", embedder.fingerprint)

    def _accepted(self, embedder: Embedder) -> Embedder:
        held = self._store.get_meta("fingerprint")
        if held is not None and held != embedder.fingerprint:
            path, made_with = self._store.path, self._store.get_meta("embedder")
            raise MnemicError(
                f"{path} holds vectors of {made_with!r}, which cannot be compared with those of "
                f"{embedder.name!r}: change with `mnemic reembed --model {embedder.name} --memory {path}`, "
                "or open it with embedder=None (--no-vectors) to recall by words alone"
            )
        return embedder


def _opened(name: str | Path) -> Embedder:
    from mnemic.models import open_embedder
    from mnemic.read.keys import SecondKey

    embedder = open_embedder(name)
    assert embedder is not None  # only None opens None
    return SecondKey(embedder)
