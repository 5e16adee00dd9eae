"""The asynchronous twin has every verb of the memory and keeps its promises."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from mnemic import AsyncMemory, Memory, MnemicError
from mnemic.types import Embedder


def test_every_verb_has_its_twin() -> None:
    verbs = {
        name
        for name, it in inspect.getmembers(Memory, inspect.isfunction)
        if not name.startswith("_") and not inspect.isgeneratorfunction(it)
    }
    for name in verbs:
        assert inspect.iscoroutinefunction(getattr(AsyncMemory, name)), name


def test_what_is_awaited_together_is_all_remembered_in_turn(tmp_path: Path, embedder: Embedder) -> None:
    async def tell() -> list[int]:
        async with await AsyncMemory.open(tmp_path / "life.mnemic", embedder, "normal") as memory:
            told = (memory.remember(f"Number {n} is on the door.", source="doors") for n in range(20))
            records = await asyncio.gather(*told)
            return sorted(record.order for (record,) in records)

    assert asyncio.run(tell()) == list(range(20))


def test_a_failure_reaches_the_one_who_awaits(tmp_path: Path) -> None:
    async def show() -> None:
        async with await AsyncMemory.open(tmp_path / "life.mnemic", None) as memory:
            await memory.show(9)

    with pytest.raises(MnemicError, match="has no record 9"):
        asyncio.run(show())
