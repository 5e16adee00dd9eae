"""The asynchronous twin of `Memory`: the same verbs, awaited, carried out one after the other by one thread.

async with await AsyncMemory.open("life.mnemic") as memory:
    await memory.remember("Ishmael went to sea.")
    found = await memory.recall("who went to sea?")
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, Self, TypeVar

from mnemic.memory import Memory
from mnemic.types import Embedder

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(
    verb: Callable[Concatenate[Memory, P], R],
) -> Callable[Concatenate[AsyncMemory, P], Awaitable[R]]:
    async def twin(self: AsyncMemory, /, *args: P.args, **given: P.kwargs) -> R:
        call = functools.partial(verb, self.memory, *args, **given)
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    functools.update_wrapper(twin, verb)
    return twin


class AsyncMemory:
    """A `Memory` whose verbs are awaited; see there for what each takes, returns and raises."""

    def __init__(self, memory: Memory, worker: ThreadPoolExecutor | None = None) -> None:
        """Over a memory that is already open; `AsyncMemory.open` is the usual way in."""
        self.memory = memory
        self._worker = worker or ThreadPoolExecutor(1, thread_name_prefix="mnemic")

    @classmethod
    async def open(
        cls,
        path: str | Path | None = None,
        embedder: str | Path | Embedder | None = "default",
        durability: Literal["full", "normal"] = "full",
    ) -> Self:
        worker = ThreadPoolExecutor(1, thread_name_prefix="mnemic")
        call = functools.partial(Memory.open, path, embedder, durability)
        try:
            return cls(await asyncio.get_running_loop().run_in_executor(worker, call), worker)
        except BaseException:
            worker.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Finish what was begun and let go of the file."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self.memory.close)
        self._worker.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    remember = _awaited(Memory.remember)
    remember_path = _awaited(Memory.remember_path)
    recall = _awaited(Memory.recall)
    ask = _awaited(Memory.ask)
    answer = _awaited(Memory.answer)
    order = _awaited(Memory.order)
    timeline = _awaited(Memory.timeline)
    show = _awaited(Memory.show)
    history = _awaited(Memory.history)
    profile = _awaited(Memory.profile)
    supersede = _awaited(Memory.supersede)
    forget = _awaited(Memory.forget)
    undo = _awaited(Memory.undo)
    budget = _awaited(Memory.budget)
    stats = _awaited(Memory.stats)
    export = _awaited(Memory.export)
    import_ = _awaited(Memory.import_)
    backup = _awaited(Memory.backup)
    doctor = _awaited(Memory.doctor)
    reembed = _awaited(Memory.reembed)
