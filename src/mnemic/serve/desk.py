"""The desk that every door leads to: the verbs of `Memory`, awaited, for somebody who may do this and not that.

    found = await desk.recall(who, "who went to sea?", k=5, space="ann")

Nothing here runs on the event loop: what a mirror answers waits in one queue (a mirror serves one question at a
time, and a queue is fair where a lock is not), what is written in another, and the rest is spread over threads.
"""

from __future__ import annotations

import asyncio
import functools
import io
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import IO, Any, Concatenate, Literal, ParamSpec, TypeVar

from mnemic.memory import Memory
from mnemic.memory.asked import Time, instant
from mnemic.serve import carried
from mnemic.serve.category_cache import CategoryCache, Scope
from mnemic.serve.gather import Gathered
from mnemic.serve.keys import Access
from mnemic.types import Answer, Filter, LanguageModel, Recall, Record, State

P = ParamSpec("P")
R = TypeVar("R")
Queue = Literal["asking", "writing", "wide"]

WIDE = 8  # threads for what neither a mirror answers nor is written


def _through(
    verb: Callable[Concatenate[Memory, P], R], queue: Queue
) -> Callable[Concatenate[Desk, Access, P], Awaitable[R]]:
    async def twin(self: Desk, who: Access, /, *args: P.args, **given: P.kwargs) -> R:
        given["space"] = who.enter(_name(given.get("space")), writing=queue == "writing")
        return await self.run(queue, functools.partial(verb, self.memory, *args, **given))

    functools.update_wrapper(twin, verb)
    return twin


def _name(space: object) -> str | None:
    return None if space is None else str(space)


class Desk:
    """One memory, served. `who` is what its key opens: a space it does not open raises `Refused`."""

    def __init__(
        self,
        memory: Memory,
        *,
        model: LanguageModel | None = None,
        seen: Callable[[int], None] = lambda size: None,
        reuse: bool = False,
    ) -> None:
        """Over an open memory, which is closed with the desk.

        Args:
            model: what writes answers; None quotes.
            seen: is told how many questions were embedded together.
            reuse: whether an answer serves later questions that mean the same (see `category_cache`).

        Raises:
            MnemicError: the memory's embedder cannot be loaded.
        """
        embedder = memory.embedder
        self.gathered = None if embedder is None else Gathered(embedder, seen)
        self.memory = Memory(memory.store, self.gathered)
        self.model = model
        self.cache = CategoryCache[Answer](memory.store, embedder) if reuse else None
        self._answering = 0
        self.changed: list[Callable[[str], None]] = []
        """Called with the name of a space when something there was superseded, forgotten, undone, imported."""
        self._queues: dict[Queue, ThreadPoolExecutor] = {
            "asking": ThreadPoolExecutor(1, thread_name_prefix="mnemic-ask"),
            "writing": ThreadPoolExecutor(1, thread_name_prefix="mnemic-write"),
            "wide": ThreadPoolExecutor(WIDE, thread_name_prefix="mnemic"),
        }

    async def run(self, queue: Queue, call: Callable[[], R]) -> R:
        """Carry out `call` on a thread of this queue."""
        return await asyncio.get_running_loop().run_in_executor(self._queues[queue], call)

    async def close(self) -> None:
        """Finish what was begun and let go of the file."""
        for queue in self._queues.values():
            await asyncio.to_thread(queue.shutdown)
        if self.gathered is not None:
            self.gathered.close()
        await asyncio.to_thread(self.memory.close)

    # ----------------------------------------------------------------- finding

    async def recall(self, who: Access, query: str, k: int = 10, **given: Any) -> Recall:
        """As `Memory.recall`; questions that wait together are embedded together."""
        given["space"] = who.enter(given.get("space"))
        holding = self.gathered is not None and given.get("vectors", True)
        async with self.gathered.holding(query) if self.gathered and holding else nullcontext():
            return await self.run("asking", functools.partial(self.memory.recall, query, k, **given))

    async def ask(self, who: Access, question: str, k: int = 10, **given: Any) -> Answer:
        """As `Memory.ask`, written by the model of this desk; one given before where that means the same.

        Of the evidence, a reused answer brings what it cites. Seen from another `now` nothing is reused.
        """
        given["space"] = space = who.enter(given.get("space"))
        if self.cache is None or given.get("now") is not None:
            return await self._answered(who, question, k, **given)
        rest = (k, *sorted((name, str(value)) for name, value in given.items()))
        scope = Scope(space, "" if self.model is None else self.model.name, rest)
        look = functools.partial(self.cache.look, question, scope, load=self._answering / WIDE)
        found = await self.run("wide", look)
        if found.value is not None:
            return found.value
        begun = time.monotonic()
        answer = await self._answered(who, question, k, **given)
        cited = {it.record.id for it in answer.citations}
        if not answer.abstained and cited:
            hits = tuple(hit for hit in answer.evidence if hit.record.id in cited)
            kept = replace(answer, evidence=replace(answer.evidence, hits=hits, profile=()))
            keep = functools.partial(self.cache.keep, found, kept, said=answer.text, cites=sorted(cited))
            await self.run("wide", functools.partial(keep, seconds=time.monotonic() - begun))
        return answer

    async def _answered(self, who: Access, question: str, k: int, **given: Any) -> Answer:
        given["now"] = instant(given.get("now"))
        self._answering += 1
        try:
            return await self.answer(question, await self.recall(who, question, k, **given), **given)
        finally:
            self._answering -= 1

    async def answer(
        self, question: str, found: Recall, *, now: Time | None = None, vectors: bool = True, **_: Any
    ) -> Answer:
        """Answer from what was recalled."""
        answer = functools.partial(self.memory.answer, model=self.model, now=now, vectors=vectors)
        return await self.run("wide", functools.partial(answer, question, found))

    order = _through(Memory.order, "asking")
    timeline = _through(Memory.timeline, "asking")
    show = _through(Memory.show, "wide")
    history = _through(Memory.history, "wide")
    profile = _through(Memory.profile, "wide")

    async def records(
        self,
        who: Access,
        where: Filter,
        *,
        states: tuple[State, ...] = ("live",),
        after: int = 0,
        limit: int = 100,
    ) -> list[Record]:
        """Records by id, those after id `after`."""
        who.enter(where.space)
        scan = self.memory.store.scan
        return await self.run("wide", lambda: list(scan(where, states=states, after=after, limit=limit)))

    async def spaces(self, who: Access) -> dict[str, int]:
        """The spaces that are open, and how many live records each holds."""
        found = await self.run("wide", self.memory.store.spaces)
        return {name: n for name, n in found.items() if who.spaces is None or name in who.spaces}

    async def stats(self, who: Access, space: str | None = None) -> dict[str, Any]:
        """As `Memory.stats`, without where the file lies; the whole memory only to whom every space is open."""
        if space is None and who.spaces is None:
            whole = await self.run("wide", self.memory.stats)
            return {name: value for name, value in whole.items() if name != "path"}
        return await self.run("wide", functools.partial(self.memory.stats, who.enter(space)))

    # ----------------------------------------------------------------- changing

    remember = _through(Memory.remember, "writing")

    async def supersede(self, who: Access, id: int, text: str, **given: Any) -> Record:
        """As `Memory.supersede`."""
        return await self._change(who, Memory.supersede, id, text, **given)

    async def forget(self, who: Access, ids: Iterable[int] | None = None, **given: Any) -> Any:
        """As `Memory.forget`; everything in a space only where the space is named."""
        choices = (ids, *(given.get(name) for name in ("source", "query", "before")))
        if given.get("space") is None and all(one is None for one in choices):
            raise TypeError("forget takes exactly one of ids, source, query and before, or a space alone")
        return await self._change(who, Memory.forget, ids, **given)

    async def undo(self, who: Access, *, space: str | None = None) -> str:
        """As `Memory.undo`."""
        return await self._change(who, Memory.undo, space=space)

    async def export(self, who: Access, space: str | None = None) -> IO[bytes]:
        """A nameless file of what `Memory.export` writes; everything only to whom every space is open."""
        if space is not None or who.spaces is not None:
            space = who.enter(space)
        return await self.run("wide", functools.partial(_exported, self.memory, space))

    async def import_(self, who: Access, file: IO[bytes]) -> int:
        """As `Memory.import_`, after what comes has been looked over."""
        spaces = await self.run("wide", functools.partial(self._looked_over, who, file))
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        try:
            done = await self.run("writing", functools.partial(self.memory.import_, lines))
        finally:
            lines.detach()
        for space in spaces:
            await self._told(space)
        return done

    def _looked_over(self, who: Access, file: IO[bytes]) -> set[str]:
        made_with = {name: self.memory.store.get_meta(name) for name in ("embedder", "fingerprint")}
        if self.gathered is not None and made_with["fingerprint"] is None:
            made_with = {"embedder": self.gathered.name, "fingerprint": self.gathered.fingerprint}
        file.seek(0)
        spaces = carried.spaces(file, who, made_with)
        file.seek(0)
        return spaces

    async def _change(self, who: Access, verb: Callable[..., R], *args: Any, **given: Any) -> R:
        given["space"] = space = who.enter(given.get("space"), writing=True)
        done = await self.run("writing", functools.partial(verb, self.memory, *args, **given))
        await self._told(space)
        return done

    async def _told(self, space: str) -> None:
        if self.cache is not None:
            await self.run("wide", self.cache.refresh)  # what was purged is in no answer from here on
        for told in self.changed:
            told(space)


def _exported(memory: Memory, space: str | None) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who reads it
    try:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        memory.export(lines, space)
        lines.detach()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
