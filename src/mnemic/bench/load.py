"""Load on a server over the loopback, made with as little work of its own as may be.

A closed loop sends the next request when the last is answered: how much can be carried. An open loop sends at
times drawn beforehand, whether or not the server keeps up, and a request's time counts from when it was due:
what somebody waits who does not know of the others.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Request = tuple[str, str, dict[str, Any]]  # what it is ("recall"), its path, its body


@dataclass(frozen=True, slots=True)
class Done:
    """One request: what it was, when it was due and answered (seconds since the start), with which status."""

    kind: str
    due: float
    end: float
    status: int

    @property
    def ms(self) -> float:
        return 1000 * (self.end - self.due)


class Line:
    """One connection that is kept open; where the server has closed it, being idle, another takes its place."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port, self._reader, self._writer = port, reader, writer

    @classmethod
    async def open(cls, port: int) -> Line:
        return cls(port, *await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """The status of the answer, once it is here whole."""
        status, head = await self._ask(path, body)
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await self._reader.readexactly(int(length.split(b":")[1]))
        return status

    async def first(self, path: str, body: dict[str, Any], mark: bytes) -> float:
        """Seconds until `mark` has come in a streamed answer, which is then read to its end."""
        begun = time.perf_counter()
        status, _ = await self._ask(path, body)
        if status != 200:
            raise RuntimeError(f"{path} answered with status {status}")
        await self._reader.readuntil(mark)
        spent = time.perf_counter() - begun
        await self._reader.readuntil(b"0\r\n\r\n")
        return spent

    async def _ask(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        return int(answer[9:12]), answer

    def close(self) -> None:
        self._writer.close()


async def closed(port: int, lines: int, seconds: float, request: Callable[[], Request]) -> list[Done]:
    """So many connections, each with one request under way, for so long."""
    begun, done = time.perf_counter(), list[Done]()

    async def work() -> None:
        line = await Line.open(port)
        while (due := time.perf_counter() - begun) < seconds:
            kind, path, body = request()
            status = await line.post(path, body)
            done.append(Done(kind, due, time.perf_counter() - begun, status))
        line.close()

    await asyncio.gather(*(work() for _ in range(lines)))
    return done


async def opened(
    port: int, lines: int, seconds: float, rate: float, request: Callable[[], Request], seed: int
) -> list[Done]:
    """Requests at random moments, `rate` a second on average, over so many connections, for so long."""
    drawn, at = random.Random(seed), 0.0
    due: asyncio.Queue[float | None] = asyncio.Queue()
    done = list[Done]()
    begun = time.perf_counter()

    async def arrive() -> None:
        nonlocal at
        while (at := at + drawn.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, begun + at - time.perf_counter()))
            due.put_nowait(at)
        for _ in range(lines):
            due.put_nowait(None)

    async def work() -> None:
        line = await Line.open(port)
        while (moment := await due.get()) is not None:
            kind, path, body = request()
            status = await line.post(path, body)
            done.append(Done(kind, moment, time.perf_counter() - begun, status))
        line.close()

    await asyncio.gather(arrive(), *(work() for _ in range(lines)))
    return done


def each_second(done: Sequence[Done]) -> list[int]:
    """How many requests were answered in each whole second."""
    whole = int(max(one.end for one in done))
    counts = [0] * whole
    for one in done:
        if one.end < whole:
            counts[int(one.end)] += 1
    return counts


class Words:
    """A language model's server that answers at once: a stream of a few words, over raw HTTP."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Words:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *ended: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken = [_event({"content": word}) for word in ("It", " is", " so.")]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                for event in (*spoken, b"data: [DONE]\n\n"):
                    writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # the last: closing
            writer.close()


def _event(delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {"object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
