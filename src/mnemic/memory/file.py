"""The file of a memory: opened, looked after, carried elsewhere, held within its budgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from mnemic.memory import transfer
from mnemic.memory.budget import RULE, Budgets
from mnemic.memory.done import Done
from mnemic.memory.echo import Echoes
from mnemic.memory.place import default_path
from mnemic.memory.vectors import Vectors
from mnemic.store import Report, Store
from mnemic.store.mirror import Mirror
from mnemic.types import Budget, Embedder, Record


class MemoryFile:
    """One file with its organs; what is said to it and asked of it is `Memory`'s."""

    def __init__(self, store: Store, embedder: str | Path | Embedder | None = "default") -> None:
        """Over a store that is already open; `Memory.open` is the usual way in."""
        self.store = store
        self.mirror = Mirror(store)
        self._asking = threading.Lock()  # a mirror serves one question at a time
        self._budgets = Budgets(store)
        self._done = Done(store)
        self._echoes = Echoes(store)
        self._vectors = Vectors(store, embedder)

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        embedder: str | Path | Embedder | None = "default",
        durability: Literal["full", "normal"] = "full",
    ) -> Self:
        """Open the memory at `path`, or begin one there.

        Args:
            path: the file; None is the user's own memory (see `default_path`).
            embedder: what turns text into vectors. "default" is the one this memory was made with,
                all-MiniLM-L6-v2 for a new one; or a sentence-transformers name or folder, or an object with
                `encode` and `parts`; None recalls by words alone. A model is loaded when first needed.
            durability: "full" survives a power cut, "normal" the end of the process, in less time.

        Raises:
            MnemicError: the file is damaged, or not a memory (it is left untouched), or holds the vectors
                of another embedder.
        """
        path = default_path() if path is None else Path(path)
        return cls(Store.open(path, durability=durability), embedder)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def embedder(self) -> Embedder | None:
        """What turns text into vectors, loaded on first use; None where words alone are wanted.

        Raises:
            MnemicError: its vectors cannot be compared with those the memory holds.
        """
        return self._vectors.embedder

    def budget(self, space: str, budget: Budget | None, *, rule: str = RULE) -> list[Record]:
        """Let a space keep so much, now and whenever something is remembered; None lifts the limit.

        Args:
            rule: what goes first: a method of the room `retain` ("decay", "importance", "recency", "use").

        Returns:
            What had to be forgotten for it, least valued first; `undo` brings it back. What later goes is
            logged (logger "mnemic").
        """
        self._budgets.set(space, budget, rule)
        return self._budgets.enforce(space)

    def stats(self, space: str | None = None) -> dict[str, Any]:
        """Counts and bytes of one space, or of the whole memory with its embedder and spaces."""
        if space is not None:
            limit = self._budgets.of(space)
            return self.store.stats(space) | {"budget": limit and asdict(limit[0]) | {"rule": limit[1]}}
        made_with = self.store.get_meta("embedder")
        whole = {"path": str(self.store.path), "embedder": made_with, "spaces": self.store.spaces()}
        return whole | self.store.stats()

    def export(self, to: str | Path | TextIO, space: str | None = None) -> dict[str, int]:
        """Write everything, or one space, as JSON lines without loss; counts records, links and changes."""
        with transfer.writing(to) as stream:
            return self.store.export(stream, space)

    def import_(self, source: str | Path | Iterable[str]) -> int:
        """Read what `export` wrote, all of it or nothing; returns how many records are new here."""
        with transfer.reading(source) as lines:
            return self.store.import_(lines)

    def backup(self, path: str | Path) -> None:
        """Copy the memory to a new file while others go on using it."""
        self.store.backup(path)

    def doctor(self) -> Report:
        """Look everything over and mend what is derived; `found` names what could not be mended."""
        return self.store.doctor()

    def reembed(
        self,
        model: str | Path | Embedder = "default",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Give every record a vector of another model, and those without one theirs; returns how many got one.

        Until it is through, records without a vector are found by their words. Interrupted and run again it
        goes on where it was.
        """
        return self._vectors.renew(model, progress)
