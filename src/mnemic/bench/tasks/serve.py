"""How much load a served memory carries, how long one waits at half of it, how it grows, what a proxy adds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic import Memory
from mnemic.bench import load
from mnemic.bench.load import Done, Line, Request, Words
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.bench.tasks.speed import Turns, question, told
from mnemic.types import MnemicError

NAME = "serve"
FOLDER = None
PROTOCOL = """A memory of `records` generated turns of 75 words with random unit vectors; of 10 operations 9 are
recalls (k 10) of 8 words of a random turn, embedded by the default model, and 1 remembers a turn of a generated
tale with its embedding, durable on return. Saturation: operations answered in each second, in process (the
best of 1, 2 and 4 threads on one Memory) and through `mnemic serve` in a process of its own over `connections`
connections, the load made by this process on the same machine; share is the second over the first. Open loop:
requests at random moments, on average half as many a second as saturation through HTTP, over as many
connections for `seconds`; a request's time counts from when it was due; p50_ms and p99_ms of each second stand
in the rows, of all requests in `extra`. Growth: the same for `minutes`, resident bytes of the server before and
after, per new record, beside resident bytes a record at the start. Proxy: time to the first word of a streamed
chat through the proxy (memory on, conversation new), less that of the same chat straight to the same upstream,
less that of the same recall through HTTP, one after the other; added_ms. Options: records (50000),
connections (50), seconds (60), saturation (20: seconds of each), minutes (10), chats (200)."""

THREADS = (1, 2, 4)
SHARE_REMEMBERED = 0.1


class Mix:
    """Endless operations, 9 of 10 recalls of what is there."""

    def __init__(self, memory: Memory, records: int, seed: int) -> None:
        self._random = random.Random(seed)
        drawn = self._random.sample(range(1, records + 1), min(records, 2000))
        self._questions = [question(record.text) for record in memory.store.get(drawn)]
        self._told = told(seed)
        self._lock = threading.Lock()

    def question(self) -> str:
        return self._random.choice(self._questions)

    def request(self) -> Request:
        with self._lock:
            if self._random.random() < SHARE_REMEMBERED:
                new = {"text": next(self._told), "kind": "turn", "session": "new"}
                return "remember", "/v1/remember", new
            return "recall", "/v1/recall", {"query": self.question()}


def run(data: Path | None, options: Options) -> Outcome:
    def option(name: str, default: float) -> float:
        return float(options.extra.get(name, default))

    records, lines = int(option("records", 50_000)), int(option("connections", 50))
    saturation = option("saturation", 20)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "serve.mnemic"
        with Memory.open(path) as memory:
            embedder = memory.embedder
            assert embedder is not None
            memory.store.set_meta("embedder", embedder.name)  # the vectors there are random, and of its size
            memory.store.set_meta("fingerprint", embedder.fingerprint)
            Turns(options.seed).fill(memory.store, records, options.progress)
            mix = Mix(memory, records, options.seed)
            memory.recall(mix.question())
            by_threads = {n: in_process(memory, mix, n, saturation) for n in THREADS}
        best = max(by_threads, key=lambda n: float(np.mean(by_threads[n])))

        async def measure() -> tuple[list[Row], dict[str, Any]]:
            async with Words() as words:
                with served(path, words.port) as (server, port):
                    return await _measure(server, port, words.port, mix, lines, option)

        rows, extra = asyncio.run(measure())
    extra["growth"]["resident_bytes_per_record_before"] = extra["growth"]["resident_bytes_before"] / records
    inside = [{"id": str(at), "operations_per_second": n} for at, n in enumerate(by_threads[best])]
    carried = [row["operations_per_second"] for row in rows if "operations_per_second" in row]
    extra |= {"records": records, "connections": lines, "threads": best}
    extra["share"] = float(np.mean(carried) / np.mean(by_threads[best]))
    return Outcome({"http": rows, "in process": inside}, default="http", extra=extra)


async def _measure(
    server: subprocess.Popen[bytes],
    port: int,
    words: int,
    mix: Mix,
    lines: int,
    option: Callable[[str, float], float],
) -> tuple[list[Row], dict[str, Any]]:
    """All that is measured over HTTP: rows of seconds and chats, and what is said of all of them."""
    saturation, seconds = option("saturation", 20), option("seconds", 60)
    await load.closed(port, lines, min(2.0, saturation), mix.request)  # warm
    full = load.each_second(await load.closed(port, lines, saturation, mix.request))
    rows: list[Row] = [{"id": f"saturation {at}", "operations_per_second": n} for at, n in enumerate(full)]
    rate = max(float(np.mean(full)), 1.0) / 2  # also where a busy machine answered nothing
    waited = await load.opened(port, lines, seconds, rate, mix.request, seed=1)
    for at in range(int(seconds)):
        rows.append({"id": f"open {at}"} | spread([one for one in waited if int(one.due) == at]))
    extra: dict[str, Any] = {"rate": rate, "open": errors(waited) | spread(waited)}
    for kind in ("recall", "remember"):
        extra["open"][kind] = spread([one for one in waited if one.kind == kind])
    before = resident(server.pid)
    longer = await load.opened(port, lines, 60 * option("minutes", 10), rate, mix.request, seed=2)
    new = sum(one.kind == "remember" for one in longer)
    grown = resident(server.pid) - before
    extra["growth"] = errors(longer) | {
        "new_records": new,
        "resident_bytes_before": before,
        "grown_bytes": grown,
        "grown_bytes_per_new_record": grown / max(new, 1),
    }
    added = await chats(port, words, mix, int(option("chats", 200)))
    rows += [{"id": f"chat {at}", "added_ms": ms} for at, ms in enumerate(added)]
    extra["proxy_added_ms"] = dict(zip(("p50", "p99"), np.percentile(added, (50, 99)).tolist(), strict=True))
    return rows, extra


def in_process(memory: Memory, mix: Mix, threads: int, seconds: float) -> list[int]:
    """Operations done in each second by so many threads on one memory."""
    begun, done = time.perf_counter(), list[Done]()

    def work() -> None:
        while (due := time.perf_counter() - begun) < seconds:
            kind, _, body = mix.request()
            if kind == "recall":
                memory.recall(body["query"])
            else:
                memory.remember(body["text"], kind="turn", session="new")
            done.append(Done(kind, due, time.perf_counter() - begun, 200))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return load.each_second(done)


async def chats(port: int, words: int, mix: Mix, count: int) -> list[float]:
    """What the proxy adds to the first word, beyond the recall, in milliseconds."""
    proxy, straight, recall = [await Line.open(one) for one in (port, words, port)]
    added = []
    for number in range(count + 2):
        asked = mix.question()
        chat = {"model": "words", "messages": [{"role": "user", "content": asked}], "stream": True}
        through = await proxy.first("/v1/chat/completions", chat | {"user": f"u{number % 2}"}, b'"content"')
        direct = await straight.first("/v1/chat/completions", chat, b'"content"')
        begun = time.perf_counter()
        await recall.post("/v1/recall", {"query": asked, "k": 8, "tokens": 1500, "space": f"u{number % 2}"})
        added.append(1000 * (through - direct - (time.perf_counter() - begun)))
    for line in (proxy, straight, recall):
        line.close()
    return added[2:]


def spread(done: list[Done]) -> dict[str, float]:
    if not done:
        return {}
    p50, p99 = np.percentile([one.ms for one in done], (50, 99)).tolist()
    return {"p50_ms": p50, "p99_ms": p99}


def errors(done: list[Done]) -> dict[str, int]:
    return {"requests": len(done), "errors": sum(one.status != 200 for one in done)}


def resident(pid: int) -> int:
    try:
        import psutil
    except ImportError:
        raise MnemicError("measuring memory needs psutil: pip install 'mnemic[bench]'") from None
    return int(psutil.Process(pid).memory_info().rss)


@contextmanager
def served(path: Path, upstream: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`mnemic serve` in a process of its own, and its port."""
    command = [sys.executable, "-m", "mnemic", "serve", "--json", "--port", "0", "--memory", str(path)]
    environment = os.environ | {"OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1"}
    environment.pop("OPENAI_MODEL", None)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    try:
        assert server.stdout is not None
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = server.stdout.readline()
            if not line:
                raise MnemicError("the server ended before it listened; run `mnemic serve` to see why")
            said += line
        yield server, int(json.loads(said)["address"].rpartition(":")[2])
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
