"""The front door: one durable file that remembers, recalls with sources and dates, and really forgets.

    with Memory.open("life.mnemic") as memory:
        memory.remember("Ishmael went to sea.", when="1851-10-18", source="diary")

A memory is divided into spaces (tenants); every verb acts in one, and the records of another are, to it,
not there. What a verb returned is already durable. Everything but a purge can be undone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from mnemic.memory.asked import Time, restriction, span
from mnemic.memory.forget import Forgotten, every_version, read_from, with_words
from mnemic.store import Change, Store, UnknownRecord
from mnemic.types import (
    DEFAULT_SPACE,
    Embedder,
    Filter,
    Kind,
    MnemicError,
    Record,
    State,
)

EVERY_STATE: tuple[State, ...] = ("live", "superseded", "forgotten")
BATCH = 256  # records made durable together when a file is remembered


def default_path() -> Path:
    """Where a memory lives when no path is given: under MNEMIC_DATA_DIR, else where the platform keeps data."""
    if named := os.environ.get("MNEMIC_DATA_DIR"):
        folder = Path(named)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "mnemic"
    elif sys.platform == "darwin":
        folder = Path("~/Library/Application Support/mnemic").expanduser()
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "mnemic"
    return folder / "memory.mnemic"


class Memory:
    """A memory in one file; may be shared between threads and processes; a context manager.

    Times given to its verbs are ISO dates ("1851", "2023-04-25T04:07:00+02:00"), words ("last spring"),
    seconds since 1970, or datetimes.
    """

    def __init__(self, store: Store, embedder: str | Path | Embedder | None = "default") -> None:
        """Over a store that is already open; `Memory.open` is the usual way in."""
        self.store = store
        self._embedder: Embedder | None = None
        self._wanted: str | Path | None = None
        if embedder is None or isinstance(embedder, str | Path):
            self._wanted = embedder
        else:
            self._embedder = self._accepted(embedder)

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
        if self._embedder is None and self._wanted is not None:
            from mnemic.models import open_embedder

            made_with = self.store.get_meta("embedder") if self._wanted == "default" else None
            opened = open_embedder(made_with or self._wanted)
            self._embedder = opened and self._accepted(opened)
        return self._embedder

    def _accepted(self, embedder: Embedder) -> Embedder:
        held = self.store.get_meta("fingerprint")
        if held is not None and held != embedder.fingerprint:
            path, made_with = self.store.path, self.store.get_meta("embedder")
            raise MnemicError(
                f"{path} holds vectors of {made_with!r}, which cannot be compared with those of "
                f"{embedder.name!r}: change with `mnemic reembed --model {embedder.name} --memory {path}`, "
                "or open it with embedder=None (--no-vectors) to recall by words alone"
            )
        return embedder

    # ----------------------------------------------------------------- remembering

    def remember(
        self,
        what: str | Sequence[Mapping[str, Any]],
        *,
        when: Time | None = None,
        source: str | None = None,
        author: str | None = None,
        session: str | None = None,
        title: str | None = None,
        space: str = DEFAULT_SPACE,
        kind: Kind = "text",
        vectors: bool = True,
    ) -> list[Record]:
        """Remember a text, or messages of a conversation; durable when this returns.

        A message is a mapping with `content`, `role` and, where known, `created_at` and `name`. Nothing is
        stored twice: of a conversation that is told again from the start only the new messages are added.

        Args:
            when: when it happened; of messages, those that do not say it themselves.
            kind: of a text: "text" is cut into passages, "turn", "summary" and "profile" stay whole.
            vectors: whether to embed it now; without, it is found by its words.

        Returns:
            The records in order, those that were already there included.

        Raises:
            MnemicError: it is empty, a message lacks a field, or the file cannot be written; nothing is stored.
        """
        from mnemic import sources

        at = None if when is None else span(when, time.time())
        if isinstance(what, str):
            drafts = sources.text(
                what, when=at, source=source, author=author, session=session, title=title, kind=kind
            )
        else:
            drafts = sources.messages(what, when=at, source=source, session=session, title=title)
            drafts = [replace(it, author=it.author or author, order=0) for it in drafts]
        return self._keep(drafts, space, vectors)

    def remember_path(
        self,
        path: str | Path,
        *,
        when: Time | None = None,
        source: str | None = None,
        space: str = DEFAULT_SPACE,
        kind: str | None = None,
        vectors: bool = True,
    ) -> list[Record]:
        """Remember a file or folder at once; see `remember_batches`."""
        batches = self.remember_batches(path, when=when, source=source, space=space, kind=kind, vectors=vectors)
        return [record for batch in batches for record in batch]

    def remember_batches(
        self,
        path: str | Path,
        *,
        when: Time | None = None,
        source: str | None = None,
        space: str = DEFAULT_SPACE,
        kind: str | None = None,
        vectors: bool = True,
    ) -> Iterator[list[Record]]:
        """Remember a file or folder while this is iterated: each batch is durable when it comes out.

        Stopped half-way and run again, it continues, and stores nothing twice.

        Args:
            path: text, Markdown, HTML, PDF, e-pub, chats (JSON, JSONL), a folder, or "-" (standard input).
            when: of records whose file does not say when they happened.
            source: instead of the path.
            kind: how to read it ("text", "markdown", "html", "pdf", "epub", "chat"), instead of by its name.

        Raises:
            MnemicError: a file cannot be read; nothing of it was stored.
        """
        from mnemic import sources

        at = None if when is None else span(when, time.time())
        drafts = iter(sources.read(path, kind=kind))
        while batch := list(islice(drafts, BATCH)):
            told = [replace(it, when=it.when or at, source=source or it.source) for it in batch]
            yield self._keep(told, space, vectors)

    def _keep(self, drafts: Sequence[Record], space: str, vectors: bool) -> list[Record]:
        """Store what is new of some drafts, then give each its vectors."""
        embedder = self.embedder if vectors else None
        stored = self.store.put([replace(it, space=space) for it in drafts])
        if embedder is not None:
            self._embed(embedder, stored)
        return stored

    def _embed(self, embedder: Embedder, records: Sequence[Record]) -> None:
        have = set(self.store.parts_of([it.id for it in records])[0].tolist())
        bare = [it for it in records if it.id not in have and it.kind != "profile"]
        if bare:
            if self.store.get_meta("fingerprint") is None:
                self.store.set_meta("fingerprint", embedder.fingerprint)
                self.store.set_meta("embedder", embedder.name)
            self.store.put_parts([it.id for it in bare], embedder.parts([it.text for it in bare]))

    # ----------------------------------------------------------------- looking

    def show(self, id: int, *, space: str = DEFAULT_SPACE) -> Record:
        """One record, whatever its state.

        Raises:
            UnknownRecord: this space has no record of that id.
        """
        try:
            (record,) = self.store.get([id])
        except UnknownRecord:
            record = None
        if record is None or record.space != space:
            raise UnknownRecord(
                f"space {space!r} has no record {id}; recall and timeline show the ids there are"
            )
        return record

    def history(self, id: int, *, space: str = DEFAULT_SPACE) -> list[Change]:
        """What happened to a record, oldest first: stored, superseded, forgotten, brought back."""
        self.show(id, space=space)
        return self.store.history(id)

    def profile(self, space: str = DEFAULT_SPACE) -> tuple[Record, ...]:
        """Standing instructions and preferences, newest first, each once (paper 53).

        Add one with `remember(text, kind="profile")`, change it with `supersede`, remove it with `forget`.
        """
        newest: dict[str, Record] = {}
        for record in self.store.scan(Filter(space=space, kind="profile")):
            newest.pop(record.text.casefold(), None)
            newest[record.text.casefold()] = record
        return tuple(reversed(newest.values()))

    # ----------------------------------------------------------------- changing

    def supersede(
        self,
        id: int,
        text: str,
        *,
        when: Time | None = None,
        space: str = DEFAULT_SPACE,
        vectors: bool = True,
    ) -> Record:
        """Let `text` stand for what a record says, from `when` on; the old words stay in its history."""
        old = self.show(id, space=space)
        at = None if when is None else span(when, time.time())
        embedder = self.embedder if vectors and old.kind != "profile" else None
        new = self.store.supersede(id, text, when=at)
        if embedder is not None:
            self._embed(embedder, [new])
        return new

    def forget(
        self,
        ids: Iterable[int] | None = None,
        *,
        source: str | None = None,
        query: str | None = None,
        before: Time | None = None,
        space: str | None = None,
        purge: bool = False,
    ) -> Forgotten:
        """Forget these ids, a source, what holds all words of a query, or what ended before a time.

        With `space` alone, everything in it; otherwise it says where (the default space). Instructions of the
        profile that were read from a forgotten record go with it.

        Args:
            purge: remove it from every byte of the memory, with its history and other versions; beyond undoing.

        Raises:
            TypeError: not exactly one of ids, source, query, before, or a space alone.
            UnknownRecord: the space has no record of one of the ids; nothing was forgotten.
        """
        choices = sum(one is not None for one in (ids, source, query, before))
        if choices > 1 or (choices == 0 and space is None):
            raise TypeError("forget takes exactly one of ids, source, query and before, or a space alone")
        space = DEFAULT_SPACE if space is None else space
        states = EVERY_STATE if purge else ("live",)
        if ids is not None:
            chosen = [self.show(id, space=space) for id in ids]
        else:
            where = restriction({"space": space, "source": source, "before": before}, time.time())
            found = self.store.scan(where, states=states)
            chosen = list(found) if query is None else with_words(found, query)
        if purge:
            chosen = every_version(self.store, chosen)
        chosen += read_from(self.store, chosen, space, states)
        forgotten = tuple(sorted({it.id for it in chosen}))
        number = f"{len(forgotten)} {'record' if len(forgotten) == 1 else 'records'}"
        if not purge:
            self.store.forget(forgotten)
            return Forgotten(forgotten, False, f"{number} forgotten, until `undo`")
        purged = self.store.purge(forgotten)
        return Forgotten(forgotten, purged.done, purged.detail)

    def undo(self, *, space: str = DEFAULT_SPACE) -> str:
        """Reverse the last change of a space that is neither undone nor purged; says which it was."""
        return self.store.undo(space)
