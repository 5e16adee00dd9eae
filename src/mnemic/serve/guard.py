"""What stands before every door: where a request comes from, how large it is, who sends it and how often.

A server on the loopback address can be reached by every web page its user opens. So the Host must be one this
server goes by (a page that rebinds its own name to 127.0.0.1 says that name), an Origin must be the server's
own, and what a browser marks as sent across sites is refused unless somebody follows a link.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnemic.serve.keys import OWNER, Access, Keys

MIB = 1 << 20
COOKIE = "mnemic_key"  # where a browser keeps its key
CLIENTS = 10_000  # of which the rate is remembered

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # under "no-referrer" the page's own forms come with Origin: null
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request, and one client, may ask for.

    Attributes:
        body: bytes of a request; larger: of those to certain paths.
        rate: requests a second that a key (without keys: an address) may send in the long run; None: any.
        burst: how many of them at once.
    """

    body: int = 8 * MIB
    larger: Mapping[str, int] = field(default_factory=lambda: {"/v1/import": 1024 * MIB})
    rate: float | None = None
    burst: int = 100

    def of(self, path: str) -> int:
        return self.larger.get(path, self.body)


def failure(status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> JSONResponse:
    """An error as every door tells it, in the shape OpenAI's clients read."""
    body = {"error": {"message": message, "type": kind, "code": status}}
    return JSONResponse(body, status, headers=headers)


class Guard:
    """Lets in what comes from this machine or from those it was opened to.

    Args:
        hosts: names this server goes by besides localhost.
        network: whether it was opened to a network: then it goes by any address that is written as numbers (a
            name can be rebound, a number cannot), else only by those of the loopback.
        keys: None where everybody who gets here is the owner; public: beginnings of paths that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] = frozenset(),
        network: bool = False,
        limits: Limits = Limits(),
        keys: Keys | None = None,
        public: tuple[str, ...] = (),
    ) -> None:
        self._app = app
        self._hosts = hosts | {"localhost"}
        self._network = network
        self._limits = limits
        self._keys = keys
        self._public = public
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reply: Response | None = self._foreign(scope, headers) or self._large(scope, headers)
        if reply is None:
            who = await self._who(headers)
            if who is None and not scope["path"].startswith(self._public):
                reply = _to_the_form(scope, headers) or failure(
                    401, "this server needs a key: send `Authorization: Bearer mnemic_...`",
                    "authentication_error", **{"WWW-Authenticate": "Bearer"},
                )  # fmt: skip
            else:
                scope.setdefault("state", {})["access"] = who
                reply = self._often(scope, who)
        answer = _Protected(send)
        if reply is not None:
            await reply(scope, receive, answer)
            return
        limit = self._limits.of(scope["path"])
        try:
            await self._app(scope, _Counted(receive, limit), answer)
        except TooLarge:
            if answer.begun:
                raise
            await self._too_large(limit)(scope, receive, answer)

    def _foreign(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """A refusal of what comes from elsewhere."""
        said = headers.getlist("host")
        if len(said) != 1 or not self._own(said[0]):
            return failure(
                421, "this server does not go by the Host of the request; see `mnemic serve --allow-host`"
            )
        for origin in headers.getlist("origin"):
            if urlsplit(origin).netloc.lower() != said[0].lower() or not origin.startswith(
                ("http://", "https://")
            ):
                return failure(403, "the request was sent by a page of another site", "permission_error")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            followed = scope["method"] == "GET" and headers.get("sec-fetch-dest") == "document"
            if not followed:
                return failure(403, "the request was sent by a page of another site", "permission_error")
        return None

    def _own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            _ = urlsplit(f"//{host}").port
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._network or address.is_loopback

    def _large(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        length = headers.get("content-length", "0")
        limit = self._limits.of(scope["path"])
        if not length.isdigit():
            return failure(400, "Content-Length is not a number")
        return self._too_large(limit) if int(length) > limit else None

    @staticmethod
    def _too_large(limit: int) -> JSONResponse:
        return failure(413, f"the body is larger than the {limit} bytes this address takes", Connection="close")

    async def _who(self, headers: Headers) -> Access | None:
        """What the sender may do; None for a stranger."""
        if self._keys is None:
            return OWNER
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return await asyncio.to_thread(self._keys.access, token.strip())

    def _often(self, scope: Scope, who: Access | None) -> JSONResponse | None:
        """A refusal of who has sent too much: a bucket of `burst` requests that fills at `rate` a second."""
        if self._limits.rate is None:
            return None
        name = f"key {who.name}" if who and who.name else f"address {(scope.get('client') or ('',))[0]}"
        now = time.monotonic()
        left, at = self._buckets.pop(name, (float(self._limits.burst), now))
        left = min(self._limits.burst, left + (now - at) * self._limits.rate)
        self._buckets[name] = (max(left - 1, 0) if left >= 1 else left, now)
        while len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        if left >= 1:
            return None
        wait = str(max(1, math.ceil((1 - left) / self._limits.rate)))
        return failure(429, f"too many requests; wait {wait} s", "rate_limit_error", **{"Retry-After": wait})


def _to_the_form(scope: Scope, headers: Headers) -> Response | None:
    """Where a person who opens the page is asked for a key; nothing for a program."""
    opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return RedirectResponse("/login", 303) if opened else None


class TooLarge(Exception):
    """A body turned out larger than it may be."""


class _Counted:
    """`receive`, which stops at a number of bytes."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge
        return message


class _Protected:
    """`send`, with what browsers are told about everything this server says."""

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
        await self._send(message)


def access(state: Any) -> Access:
    """What the sender of a request may do, from `request.state`."""
    who = state.access
    assert isinstance(who, Access)
    return who
