"""One memory object serves several threads: each is answered from what was written, and nothing is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hash_embedder import HashEmbedder
from mnemic import Memory


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns much more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def test_threads_that_remember_and_recall_find_what_they_wrote(tmp_path: Path, switching: None) -> None:
    turns, threads = 12, 4
    with Memory.open(tmp_path / "m", HashEmbedder(), "normal") as memory, ThreadPoolExecutor(threads) as pool:

        def talk(name: int) -> list[int]:
            ids = []
            for n in range(turns):
                said = f"quokka{name}x{n} was seen on island {n} by sailor {name} at noon"
                (record,) = memory.remember(said, kind="turn", session=f"s{name}", source="log")
                found = memory.recall(f"quokka{name}x{n}", k=3)
                assert found[0].record == record
                assert [memory.show(hit.record.id) for hit in found] == [hit.record for hit in found]
                ids.append(record.id)
            return ids

        told = [id for ids in pool.map(talk, range(threads)) for id in ids]
        assert len(set(told)) == threads * turns
        assert memory.mirror.ids.tolist() == sorted(told)
