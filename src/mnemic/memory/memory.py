"""The front door: one durable file that remembers, recalls with sources and dates, and really forgets.

    with Memory.open("life.mnemic") as memory:
        memory.remember("Ishmael went to sea.", when="1851-10-18", source="diary")
        memory.recall("who went to sea?")[0].record.text

A memory is divided into spaces (tenants); every verb acts in one, and the records of another are, to it,
not there. What a verb returned is already durable. Everything but a purge can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from mnemic.memory.asked import How, Time, Where, instant, only_known, restriction, span
from mnemic.memory.done import digest
from mnemic.memory.file import MemoryFile
from mnemic.memory.forget import Forgotten, found_by, with_what_belongs
from mnemic.memory.profile import each_once, standing
from mnemic.memory.vectors import BATCH
from mnemic.store import Change, UnknownRecord
from mnemic.types import (
    DEFAULT_SPACE,
    Answer,
    Embedder,
    Filter,
    Kind,
    LanguageModel,
    Order,
    Recall,
    Record,
)


class Memory(MemoryFile):
    """A memory in one file; may be shared between threads and processes; a context manager.

    Times given to its verbs are ISO dates ("1851", "2023-04-25T04:07:00+02:00"), words ("last spring"),
    seconds since 1970, or datetimes.
    """

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
        stored twice: of a conversation that is told again from the start only the new messages are added. A
        turn that says what `recall` handed out is stored without that, or not at all
        (`meta["recalled"]` names the records said again).

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

        at = None if when is None else span(when)
        if isinstance(what, str):
            drafts = sources.text(
                what, when=at, source=source, author=author, session=session, title=title, kind=kind
            )
        else:
            drafts = sources.messages(what, when=at, source=source, session=session, title=title)
            drafts = [replace(it, author=it.author or author, order=0) for it in drafts]
        return self._keep(drafts, space, vectors)

    def remember_path(self, path: str | Path, **how: Unpack[How]) -> list[Record]:
        """Remember a file or folder at once; see `remember_batches`."""
        return [record for batch in self.remember_batches(path, **how) for record in batch]

    def remember_batches(self, path: str | Path, **how: Unpack[How]) -> Iterator[list[Record]]:
        """Remember a file or folder while this is iterated: each batch is durable when it comes out.

        Stopped half-way and run again, it continues, and stores nothing twice; a file that was remembered whole
        and has not changed is passed over.

        Args:
            path: text, Markdown, HTML, PDF, e-pub, chats (JSON, JSONL), a folder, or "-" (standard input).
            how: `space`, `source`, `when`, `kind`, `vectors`; see `How`.

        Raises:
            MnemicError: a file cannot be read; nothing of it was stored.
        """
        from mnemic import sources

        only_known(how, How)
        space, source, kind = how.get("space", DEFAULT_SPACE), how.get("source"), how.get("kind")
        at = span(when) if (when := how.get("when")) is not None else None
        vectors = how.get("vectors", True)
        for file in ["-"] if str(path) == "-" else sources.files(path):
            told = None
            if isinstance(file, Path) and source is None:
                told = digest(file, at, kind, vectors)
                if (space, file, told) in self._done:
                    continue
            drafts = (
                replace(it, when=it.when or at, source=source or it.source) for it in sources.read(file, kind)
            )
            while batch := list(islice(drafts, BATCH)):
                yield self._keep(batch, space, vectors)
            if told is not None:
                self._done.note(space, Path(file), told)

    def _keep(self, drafts: Sequence[Record], space: str, vectors: bool) -> list[Record]:
        """Store what is new of some drafts with the instructions they contain, then give each its vectors."""
        if vectors:
            _ = self.embedder  # refused, if it must be, before anything is stored
        fresh = []
        for draft in drafts:
            told = replace(draft, space=space)
            new = self._echoes.fresh(told) if told.kind == "turn" else told
            if new is not None:
                fresh.append(new)
        stored = self.store.put([*fresh, *(one for it in fresh for one in standing(it))])
        if vectors:
            self._vectors.give(stored)
        self._budgets.enforce(space)
        return stored[: len(fresh)]

    # ----------------------------------------------------------------- finding

    def recall(
        self,
        query: str,
        k: int = 10,
        *,
        tokens: int | None = None,
        beside: int = 0,
        **where: Unpack[Where],
    ) -> Recall:
        """What is in memory about `query`, best first, with why it was found; the profile comes along.

        Args:
            k: at most so many records; tokens: and at most about so many tokens of text.
            beside: so many neighbours in time of every hit are added after all hits.
            where: which records may be found (`space`, `source`, `before`, ...); see `Where`.

        Raises:
            ValueError: an empty query, k < 1, or a time that is none.
        """
        from mnemic.read.recall import recall

        allowed, now = restriction(where), instant(where.get("now"))
        with self._asking:
            found = recall(
                self.store,
                self.mirror,
                self._meaning(where),
                query,
                where=allowed,
                k=k,
                tokens=tokens,
                now=now,
                beside=beside,
            )
        self._echoes.handed_out(allowed.space, [hit.record.id for hit in found])
        return replace(found, profile=each_once(found.profile))

    def ask(
        self,
        question: str,
        k: int = 10,
        *,
        model: str | Path | LanguageModel | None = None,
        **where: Unpack[Where],
    ) -> Answer:
        """Answer from memory, each statement cited and dated; `answer.abstained` when it is not there.

        Args:
            k: from at most so many records; where: of which, see `Where`.
            model: what writes the answer: a language model, the folder of a local one, or None for the one
                that OPENAI_BASE_URL and OPENAI_MODEL name. Without any, the answer is quoted from the evidence.
        """
        from mnemic.models import open_language_model

        where["now"] = now = instant(where.get("now"))
        writer = open_language_model(model) if model is None or isinstance(model, str | Path) else model
        found = self.recall(question, k, **where)
        return self.answer(question, found, model=writer, now=now, vectors=where.get("vectors", True))

    def answer(
        self,
        question: str,
        found: Recall,
        *,
        model: LanguageModel | None = None,
        now: Time | None = None,
        vectors: bool = True,
    ) -> Answer:
        """The second half of `ask`: answer from what `recall` found; without a model, by quoting."""
        from mnemic.read.answer import answer

        meaning = self._meaning({"vectors": vectors})
        return answer(question, found, now=instant(now), model=model, embedder=meaning)

    def _meaning(self, where: Where) -> Embedder | None:
        """What finds by meaning, if there are vectors and the caller has not declined them."""
        return self.embedder if where.get("vectors", True) and self._vectors.any else None

    def order(self, a: str, b: str, *, space: str = DEFAULT_SPACE) -> Order:
        """Which of two passages came first, and where each is (paper 24)."""
        from mnemic.read.order import order

        with self._asking:
            self.mirror.refresh()
            return order(self.store, self.mirror, a, b, Filter(space=space))

    def timeline(self, about: str | None = None, k: int = 50, **where: Unpack[Where]) -> list[Record]:
        """Dated records in the order of their events: the first k, or those of the k best about a query."""
        if about is not None:
            found = [hit.record for hit in self.recall(about, k, **where)]
            return sorted((it for it in found if it.when), key=lambda it: (it.when and it.when.start, it.id))
        with self._asking:
            self.mirror.refresh()
            starts, ids = self.mirror.when_start, self.mirror.ids
            allowed = restriction(where)
            among = self.mirror.mask(allowed) & ~np.isnan(starts)
            if allowed.kind != "profile":
                among &= ~self.mirror.mask(Filter(space=allowed.space, kind="profile"))
            rows = np.flatnonzero(among)
            first = ids[rows[np.lexsort((ids[rows], starts[rows]))[:k]]]
        return self.store.get(first.tolist())

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

    def profile(self, *, space: str = DEFAULT_SPACE) -> tuple[Record, ...]:
        """Standing instructions and preferences, newest first, each once (paper 53).

        Add one with `remember(text, kind="profile")`, change it with `supersede`, remove it with `forget`.
        """
        return each_once(self.store.scan(Filter(space=space, kind="profile")))

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
        self.show(id, space=space)
        at = None if when is None else span(when)
        if vectors:
            _ = self.embedder
        new = self.store.supersede(id, text, when=at)
        if vectors:
            self._vectors.give([new])
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
        if ids is not None:
            chosen = [self.show(id, space=space) for id in ids]
        else:
            where = restriction({"space": space, "source": source, "before": before})
            chosen = found_by(self.store, where, query, everything=purge)
        chosen = with_what_belongs(self.store, chosen, space, everything=purge)
        self._done.drop(chosen)
        forgotten = tuple(sorted({it.id for it in chosen}))
        number = f"{len(forgotten)} {'record' if len(forgotten) == 1 else 'records'}"
        if not purge:
            self.store.forget(forgotten)
            return Forgotten(forgotten, False, f"{number} forgotten, until `undo`")
        purged = self.store.purge(forgotten)
        return Forgotten(forgotten, purged.done, purged.detail)

    def undo(self, *, space: str = DEFAULT_SPACE) -> str:
        """Reverse the last change of a space that is neither undone nor purged; says which it was."""
        before, *_ = self.store.changes(since=2**62)  # the newest entry of the log
        undone = self.store.undo(space)
        for change in self.store.log(after=before, space=space):
            self._done.drop(self.store.get(change.ids))
        return undone
