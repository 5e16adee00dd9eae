"""The load that is made is the load that is said, and its times count from when a request was due."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from mnemic.bench import load
from mnemic.bench.load import Done
from mnemic.bench.runner import Options
from mnemic.bench.tasks import serve


async def answering(delay: float) -> tuple[asyncio.Server, int]:
    """A server that answers one request at a time, each after `delay` seconds."""
    turn = asyncio.Lock()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
                async with turn:
                    await asyncio.sleep(delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def test_an_open_loop_counts_the_waiting_that_a_closed_loop_hides() -> None:
    async def go() -> tuple[list[Done], list[Done]]:
        server, port = await answering(0.02)
        request: Any = lambda: ("recall", "/", {})  # noqa: E731
        both = await load.closed(port, 2, 0.6, request), await load.opened(port, 2, 0.6, 200, request, seed=0)
        server.close()
        return both

    closed, opened = asyncio.run(go())
    assert len(closed) <= 0.7 / 0.02
    assert all(one.ms < 400 for one in closed)
    assert len(opened) > 80  # 200 a second were due, 50 a second can be answered
    assert max(one.ms for one in opened) > 1000
    assert {one.status for one in opened} == {200}


def test_a_connection_that_the_server_closed_while_idle_is_opened_anew() -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def go() -> list[int]:
        server = await asyncio.start_server(one, "127.0.0.1", 0)
        line = await load.Line.open(server.sockets[0].getsockname()[1])
        statuses = []
        for _ in range(3):
            statuses.append(await line.post("/", {}))
            await asyncio.sleep(0.02)
        line.close()
        server.close()
        return statuses

    assert asyncio.run(go()) == [200, 200, 200]


def test_seconds_are_counted_whole() -> None:
    done = [Done("recall", 0, end, 200) for end in (0.1, 0.9, 1.5, 2.2, 2.3, 3.1)]
    assert load.each_second(done) == [2, 1, 2]


def test_a_small_run_measures_everything(monkeypatch: Any) -> None:
    monkeypatch.setattr(serve, "THREADS", (1,))
    extra = {
        "records": "60",
        "connections": "3",
        "seconds": "1",
        "saturation": "1.5",
        "minutes": "0.02",
        "chats": "3",
    }
    begun = time.monotonic()
    outcome = serve.run(None, Options(extra=extra, quiet=True))
    assert time.monotonic() - begun < 120
    assert outcome.extra["open"]["errors"] == outcome.extra["growth"]["errors"] == 0
    assert outcome.extra["open"]["p50_ms"] <= outcome.extra["open"]["p99_ms"]
    assert outcome.extra["share"] > 0
    full = [row["operations_per_second"] for row in outcome.systems["http"] if "operations_per_second" in row]
    assert outcome.extra["rate"] == np.mean(full) / 2
    assert len([row for row in outcome.systems["http"] if "added_ms" in row]) == 3
