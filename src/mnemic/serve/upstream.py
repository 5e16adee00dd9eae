"""The language model behind the proxy: any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from mnemic.types import MnemicError

HOP = "X-Mnemic-Hop"  # what a server that is its own upstream sees
CONNECT = 10.0  # seconds to reach it


class Unreachable(Exception):
    """The upstream is down, too slow, or stopped in the middle. `late` if it was too slow."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream says: a status, a media type, and bytes as they come."""

    status: int
    media: str
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class Upstream(Protocol):
    """Something that speaks the OpenAI protocol."""

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None, authorization: str | None
    ) -> Reply:
        """Pass on a request for `path` ("chat/completions"); raises `Unreachable`, then or while it is read."""
        ...

    async def close(self) -> None: ...


class Remote:
    """The server at `url` (".../v1").

    Args:
        key: sent with every request; None passes on what the client sent, where that was not for this server.
        patience: seconds without a byte after which it counts as too slow.
    """

    def __init__(self, url: str, key: str | None = None, *, patience: float = 120.0) -> None:
        try:
            import httpx
        except ImportError:
            raise MnemicError("an upstream server needs httpx: pip install 'mnemic[serve]'") from None
        self._url = url.rstrip("/")
        self._key = key
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(patience, connect=min(CONNECT, patience)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None, authorization: str | None
    ) -> Reply:
        headers = {HOP: "1"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        elif authorization:
            headers["Authorization"] = authorization
        with _explained():
            request = self._client.build_request(method, f"{self._url}/{path}", json=body, headers=headers)
            response = await self._client.send(request, stream=True)

        async def chunks() -> AsyncIterator[bytes]:
            with _explained():
                async for chunk in response.aiter_bytes():
                    yield chunk

        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Reply(response.status_code, media, chunks(), response.aclose)

    async def close(self) -> None:
        await self._client.aclose()


@contextmanager
def _explained() -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TimeoutException:
        raise Unreachable("the language model's server did not answer in time", late=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        kind = type(error).__name__
        raise Unreachable(f"the language model's server cannot be reached, or stopped ({kind})") from None
