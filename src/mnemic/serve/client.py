"""The client of a served memory: the verbs of `Memory`, called over HTTP.

    with Client("http://127.0.0.1:8377", key="mnemic_...") as memory:
        memory.remember("Ishmael went to sea.", when="1851")
        memory.recall("who went to sea?")[0].record.text

    async with AsyncClient() as memory:
        await memory.recall("who went to sea?")

A verb is written down once, as the call it makes; both clients carry calls out. A change that fails on its way
is sent again under the same Idempotency-Key, so it is made once. Times of a record come back to the second.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TextIO, TypeVar, Unpack
from urllib.parse import quote

from mnemic.memory import Forgotten
from mnemic.memory.asked import Time, Where, only_known
from mnemic.memory.transfer import reading, writing
from mnemic.serve import heard
from mnemic.serve.keys import Refused
from mnemic.store import Change, UnknownRecord
from mnemic.types import Answer, Kind, MnemicError, Order, Recall, Record, When

P = ParamSpec("P")
R = TypeVar("R")

ADDRESS = "http://127.0.0.1:8377"
TRIES = 3


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One request, and how its answer is read.

    Attributes:
        changes: whether it carries an Idempotency-Key, and may be sent again.
    """

    method: str
    path: str
    read: Callable[[Any], R]
    body: Mapping[str, Any] = field(default_factory=dict)
    changes: bool = False

    def request(self) -> dict[str, Any]:
        """The arguments of a request of httpx."""
        said = {name: _plain(value) for name, value in self.body.items() if value is not None}
        headers = {"Idempotency-Key": uuid.uuid4().hex} if self.changes else {}
        way = {"params": said} if self.method == "GET" else {"json": said}
        return {"method": self.method, "url": self.path, "headers": headers, **way}


def _plain(value: Any) -> Any:
    if isinstance(value, When):
        return value.iso
    return value.isoformat() if isinstance(value, datetime) else value


# --------------------------------------------------------------------------- the verbs, once


def remember(
    what: str | Sequence[Mapping[str, Any]],
    *,
    when: Time | None = None,
    source: str | None = None,
    author: str | None = None,
    session: str | None = None,
    title: str | None = None,
    space: str | None = None,
    kind: Kind = "text",
    vectors: bool = True,
) -> Call[list[Record]]:
    """As `Memory.remember`."""
    said: dict[str, Any] = (
        {"text": what} if isinstance(what, str) else {"messages": [dict(one) for one in what]}
    )
    how = {"when": when, "source": source, "author": author, "session": session, "title": title}
    more = {"space": space, "kind": kind, "vectors": vectors}
    return Call("POST", "/v1/remember", heard.records, said | how | more, changes=True)


def recall(
    query: str, k: int = 10, *, tokens: int | None = None, beside: int = 0, **where: Unpack[Where]
) -> Call[Recall]:
    """As `Memory.recall`."""
    only_known(where, Where)
    body = {"query": query, "k": k, "tokens": tokens, "beside": beside, **where}
    return Call("POST", "/v1/recall", heard.recall, body)


def ask(question: str, k: int = 10, **where: Unpack[Where]) -> Call[Answer]:
    """As `Memory.ask`; which model writes is the server's choice."""
    only_known(where, Where)
    return Call("POST", "/v1/ask", heard.answer, {"question": question, "k": k, **where})


def order(a: str, b: str, *, space: str | None = None) -> Call[Order]:
    """As `Memory.order`."""
    return Call("POST", "/v1/order", heard.order, {"a": a, "b": b, "space": space})


def timeline(about: str | None = None, k: int = 50, **where: Unpack[Where]) -> Call[list[Record]]:
    """As `Memory.timeline`."""
    only_known(where, Where)
    return Call("POST", "/v1/timeline", heard.records, {"about": about, "k": k, **where})


def show(id: int, *, space: str | None = None) -> Call[Record]:
    """As `Memory.show`."""
    return Call("GET", f"/v1/records/{id:d}", heard.record, {"space": space})


def history(id: int, *, space: str | None = None) -> Call[list[Change]]:
    """As `Memory.history`."""
    return Call("GET", f"/v1/records/{id:d}/history", heard.changes, {"space": space})


def profile(*, space: str | None = None) -> Call[tuple[Record, ...]]:
    """As `Memory.profile`."""

    def read(it: Any) -> tuple[Record, ...]:
        return tuple(heard.record(one) for one in it["profile"])

    return Call("GET", "/v1/profile", read, {"space": space})


def supersede(
    id: int, text: str, *, when: Time | None = None, space: str | None = None, vectors: bool = True
) -> Call[Record]:
    """As `Memory.supersede`."""
    body = {"text": text, "when": when, "space": space, "vectors": vectors}
    return Call("POST", f"/v1/records/{id:d}/supersede", heard.record, body, changes=True)


def forget(
    ids: Iterable[int] | None = None,
    *,
    source: str | None = None,
    query: str | None = None,
    before: Time | None = None,
    space: str | None = None,
    purge: bool = False,
) -> Call[Forgotten]:
    """As `Memory.forget`."""
    chosen = None if ids is None else [int(id) for id in ids]
    body = {"ids": chosen, "source": source, "query": query, "before": before, "space": space, "purge": purge}
    return Call("POST", "/v1/forget", heard.forgotten, body, changes=True)


def undo(*, space: str | None = None) -> Call[str]:
    """As `Memory.undo`."""
    return Call("POST", "/v1/undo", lambda it: str(it["undone"]), {"space": space}, changes=True)


def stats(space: str | None = None) -> Call[dict[str, Any]]:
    """As `Memory.stats`, without where the file lies."""
    return Call("GET", "/v1/stats", dict, {"space": space})


def health() -> Call[dict[str, Any]]:
    """Whether the server is there, and its version."""
    return Call("GET", "/v1/health", dict)


# --------------------------------------------------------------------------- who carries them out


def _sync(verb: Callable[P, Call[R]]) -> Callable[Concatenate[Client, P], R]:
    def twin(self: Client, /, *args: P.args, **given: P.kwargs) -> R:
        return self._carry_out(verb(*args, **given))

    functools.update_wrapper(twin, verb)
    return twin


def _awaited(verb: Callable[P, Call[R]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[R]]:
    async def twin(self: AsyncClient, /, *args: P.args, **given: P.kwargs) -> R:
        return await self._carry_out(verb(*args, **given))

    functools.update_wrapper(twin, verb)
    return twin


class _Settings:
    """Where the server is, and what opens it."""

    def __init__(self, address: str | None, key: str | None, timeout: float) -> None:
        try:
            import httpx
        except ImportError:
            raise MnemicError("the client needs httpx: pip install 'mnemic[api]'") from None
        key = key or os.environ.get("MNEMIC_KEY")
        self.address = (address or os.environ.get("MNEMIC_URL") or ADDRESS).rstrip("/")
        self.given: dict[str, Any] = {
            "base_url": self.address,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "timeout": httpx.Timeout(timeout, connect=10.0),
        }

    def unreachable(self, error: Exception) -> MnemicError:
        return MnemicError(
            f"{self.address} cannot be reached ({type(error).__name__}); is `mnemic serve` running there?"
        )


class Client:
    """A memory behind `address` (else MNEMIC_URL, else this machine), opened by `key` (else MNEMIC_KEY).

    Its verbs are those of `Memory`, and raise what those raise; `space` left out is the key's own.

    Raises:
        MnemicError: httpx is not installed; later: the server cannot be reached, or refuses.
    """

    def __init__(self, address: str | None = None, key: str | None = None, *, timeout: float = 60.0) -> None:
        self._settings = _Settings(address, key, timeout)
        import httpx

        self._http = httpx.Client(**self._settings.given)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    remember = _sync(remember)
    recall = _sync(recall)
    ask = _sync(ask)
    order = _sync(order)
    timeline = _sync(timeline)
    show = _sync(show)
    history = _sync(history)
    profile = _sync(profile)
    supersede = _sync(supersede)
    forget = _sync(forget)
    undo = _sync(undo)
    stats = _sync(stats)
    health = _sync(health)

    def export(self, to: str | Path | TextIO, space: str | None = None) -> dict[str, int]:
        """As `Memory.export`, to a file of this machine."""
        with writing(to) as stream, self._http.stream("GET", _export(space)) as reply:
            if reply.is_error:
                raise _failed(reply.status_code, reply.read())
            written = _Written(stream)
            for text in reply.iter_text():
                written.add(text)
        return written.counts()

    def import_(self, source: str | Path | Iterable[str]) -> int:
        """As `Memory.import_`, from a file of this machine."""
        with reading(source) as lines:
            content = (line.encode() for line in lines)
            reply = self._http.post("/v1/import", content=content, headers=NDJSON)
        return int(_value(reply)["records"])

    def _carry_out(self, call: Call[R]) -> R:
        import httpx

        request = call.request()
        for trial in range(TRIES):
            try:
                return call.read(_value(self._http.request(**request)))
            except httpx.TransportError as error:
                if trial + 1 == TRIES or isinstance(error, httpx.TimeoutException):
                    raise self._settings.unreachable(error) from error
        raise AssertionError


class AsyncClient:
    """As `Client`, its verbs awaited."""

    def __init__(self, address: str | None = None, key: str | None = None, *, timeout: float = 60.0) -> None:
        self._settings = _Settings(address, key, timeout)
        import httpx

        self._http = httpx.AsyncClient(**self._settings.given)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    remember = _awaited(remember)
    recall = _awaited(recall)
    ask = _awaited(ask)
    order = _awaited(order)
    timeline = _awaited(timeline)
    show = _awaited(show)
    history = _awaited(history)
    profile = _awaited(profile)
    supersede = _awaited(supersede)
    forget = _awaited(forget)
    undo = _awaited(undo)
    stats = _awaited(stats)
    health = _awaited(health)

    async def export(self, to: str | Path | TextIO, space: str | None = None) -> dict[str, int]:
        """As `Memory.export`, to a file of this machine."""
        with writing(to) as stream:
            async with self._http.stream("GET", _export(space)) as reply:
                if reply.is_error:
                    raise _failed(reply.status_code, await reply.aread())
                written = _Written(stream)
                async for text in reply.aiter_text():
                    written.add(text)
        return written.counts()

    async def import_(self, source: str | Path | Iterable[str]) -> int:
        """As `Memory.import_`, from a file of this machine."""

        async def content(lines: Iterator[str]) -> AsyncIterator[bytes]:
            while (line := await asyncio.to_thread(next, lines, None)) is not None:
                yield line.encode()

        with reading(source) as lines:
            reply = await self._http.post("/v1/import", content=content(iter(lines)), headers=NDJSON)
        return int(_value(reply)["records"])

    async def _carry_out(self, call: Call[R]) -> R:
        import httpx

        request = call.request()
        for trial in range(TRIES):
            try:
                return call.read(_value(await self._http.request(**request)))
            except httpx.TransportError as error:
                if trial + 1 == TRIES or isinstance(error, httpx.TimeoutException):
                    raise self._settings.unreachable(error) from error
        raise AssertionError


NDJSON = {"Content-Type": "application/x-ndjson"}


def _export(space: str | None) -> str:
    return "/v1/export" + (f"?space={quote(space, safe='')}" if space is not None else "")


class _Written:
    """Writes what comes down as it is, and counts its lines by kind."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rest, self._kinds = stream, "", Counter[str]()

    def add(self, text: str) -> None:
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")  # no other character ends a line here
        self._kinds.update(kind for line in lines for kind in json.loads(line))

    def counts(self) -> dict[str, int]:
        del self._kinds["mnemic"], self._kinds["manifest"]
        return dict(self._kinds)


def _value(reply: Any) -> Any:
    if reply.is_error:
        raise _failed(reply.status_code, reply.content)
    return reply.json()


def _failed(status: int, content: bytes) -> Exception:
    """What `Memory` would have raised."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the server answered with status {status}"
    kinds: dict[int, type[Exception]] = {403: Refused, 404: UnknownRecord, 422: ValueError}
    return kinds.get(status, MnemicError)(message)
