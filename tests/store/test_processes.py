"""Killed at any moment, nothing acknowledged is lost; any number of processes may read and write at once."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemic.store import Store
from mnemic.types import Filter, MnemicError, Part, Record

FORK = multiprocessing.get_context("fork")
SECONDS = float(os.environ.get("MNEMIC_STORE_SECONDS", "8"))


def put_until_killed(path: Path, seed: int, told: Connection) -> None:
    """Say each id once `put` has returned it."""
    rng = random.Random(seed)
    with Store.open(path) as store:
        for batch in range(10_000):
            records = [
                Record(text=f"whale {rng.random()} " * rng.randint(1, 40), session=f"{seed}-{batch}", order=i)
                for i in range(rng.randint(1, 30))
            ]
            stored = store.put(records, [[Part(0, 5, np.ones(8, np.float32))]] * len(records))
            told.send([(r.id, r.text) for r in stored])
            if rng.random() < 0.2:
                store.supersede(stored[0].id, "ship")


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "life.mnemic"
    acknowledged: dict[int, str] = {}
    for seed in range(50):
        ours, theirs = FORK.Pipe(duplex=False)
        child = FORK.Process(target=put_until_killed, args=(path, seed, theirs))
        child.start()
        theirs.close()
        for _ in range(rng.randint(0, 4)):
            acknowledged |= dict(ours.recv())
        time.sleep(rng.uniform(0, 0.03))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        with contextlib.suppress(EOFError, OSError):  # killed while it spoke
            while ours.poll():
                acknowledged |= dict(ours.recv())
        with Store.open(path) as store:
            assert {r.id: r.text for r in store.get(list(acknowledged))} == acknowledged
    with Store.open(path) as store:
        report = store.doctor()
        assert (report.found, report.mended) == ((), ())
        everything = list(store.scan(states=("live", "superseded")))
        assert len(store.parts_of([r.id for r in everything])[0]) >= len(acknowledged)
        sessions: dict[str | None, list[int]] = {}
        for record in everything:
            if record.text != "ship":
                sessions.setdefault(record.session, []).append(record.order)
        assert all(orders == list(range(len(orders))) for orders in sessions.values())
    assert len(acknowledged) > 300
    assert [file.name for file in tmp_path.glob("life*")] == ["life.mnemic"]


def write(path: Path, name: str, until: float, told: Connection) -> None:
    ids: list[int] = []
    trouble = ""
    try:
        with Store.open(path, durability="normal") as store:
            while time.monotonic() < until:
                stored = store.put(
                    [Record(text=f"whale of {name}", session=name, order=len(ids) + i) for i in range(5)]
                )
                ids += [r.id for r in stored]
                store.touch(ids[-3:], 1.0)
                store.forget(ids[-2:])
                if len(ids) % 200 == 0:
                    store.purge([ids[-1]])
                    ids.pop()
    except BaseException as error:
        trouble = repr(error)
    told.send((ids, trouble))


def read(path: Path, until: float, told: Connection) -> None:
    count, trouble, seen, seq = 0, "", 0, 0
    try:
        while time.monotonic() < until:
            with Store.open(path) as store:
                for _ in range(20):
                    newest, live, gone = store.changes(seq)
                    assert newest >= seq
                    assert not set(live.tolist()) & set(gone.tolist())
                    seq = newest
                    last = sum(1 for _ in store.scan(limit=50))
                    ids, _ = store.words(["whale"], Filter(), 20)
                    for id in ids.tolist():
                        with contextlib.suppress(LookupError):  # purged in between
                            assert "whale" in store.get([id])[0].text
                    seen = max(seen, last)
                    count += 1
    except BaseException as error:
        trouble = repr(error)
    told.send((count, trouble))


def test_two_writers_and_four_readers_lose_nothing_and_never_hear_of_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "life.mnemic"
    until = time.monotonic() + SECONDS
    started: list[tuple[Any, Connection]] = []
    for target, args in [(write, (path, name, until)) for name in "ab"] + [(read, (path, until))] * 4:
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=target, args=(*args, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    told = []
    for process, ours in started:
        told.append(ours.recv())
        process.join()
    assert [trouble for _, trouble in told] == [""] * 6
    with Store.open(path) as store:
        for name, (ids, _) in zip("ab", told[:2], strict=True):
            assert {r.session for r in store.get(ids)} == {name}
            assert len(ids) > 20
        assert all(count > 0 for count, _ in told[2:])
        assert store.pending() == ()
        report = store.doctor()
        assert (report.found, report.mended) == ((), ())


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A memory whose write lock another connection holds."""
    path = tmp_path / "m"
    with Store.open(path) as store:
        store._connection().execute("BEGIN IMMEDIATE")
        yield path, store._connection()


def test_a_writer_that_never_ends_is_one_sentence(
    held: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnemic.store.file.PATIENCE", 0.05)
    with Store.open(held[0]) as store, pytest.raises(MnemicError, match="another process has been writing"):
        store.put([Record(text="x")])
    held[1].execute("ROLLBACK")


def test_threads_share_one_store(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Store.open(tmp_path / "m", durability="normal") as store, ThreadPoolExecutor(6) as pool:

        def work(name: int) -> list[int]:
            ids = []
            for order in range(20):
                (record,) = store.put([Record(text=f"whale {name}", session=str(name), order=order)])
                assert store.get([record.id]) == [record]
                assert len(store.words(["whale"], Filter(), 5)[0]) > 0
                ids.append(record.id)
            return ids

        found = list(pool.map(work, range(6)))
        assert len({id for ids in found for id in ids}) == 120
        assert [len(list(store.scan(Filter(session=str(i))))) for i in range(6)] == [20] * 6
