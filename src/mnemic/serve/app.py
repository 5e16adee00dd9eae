"""The server: every door over one memory, behind one guard."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mnemic.memory import Memory
from mnemic.serve import api
from mnemic.serve.desk import Desk
from mnemic.serve.guard import Guard, Limits, failure
from mnemic.serve.keys import Keys
from mnemic.serve.mcp import Agents
from mnemic.serve.once import Once
from mnemic.serve.openapi import describe
from mnemic.serve.proxy import Manner, Proxy
from mnemic.serve.upstream import Upstream
from mnemic.serve.watch import Metrics, Reused, Watch
from mnemic.types import LanguageModel

PUBLIC = ("/v1/health", "/openapi.json", "/login", "/static/")  # need no key


@dataclass(frozen=True, slots=True)
class State:
    """What the routes of a room are made over.

    Attributes:
        desk: the verbs, for somebody who may; `guard.access(request.state)` is who sent a request.
        keys: None where no key is needed.
        metrics: the numbers that /metrics shows.
    """

    desk: Desk
    keys: Keys | None
    metrics: Metrics


def create_app(
    memory: Memory,
    *,
    keys: Keys | None = None,
    limits: Limits = Limits(),
    hosts: frozenset[str] = frozenset(),
    network: bool = False,
    model: LanguageModel | None = None,
    reuse: bool = False,
    upstream: Upstream | None = None,
    manner: Manner = Manner(),
) -> Starlette:
    """The server over an open memory, which it closes at the end.

    Args:
        keys: who may enter; None lets everybody in who reaches the address, with the rights of the owner.
        limits: how much a request and a client may ask for.
        hosts: names the server goes by besides localhost; network: whether it is opened to a network.
        model: what writes the answers of `ask`; None quotes.
        reuse: whether an answer serves later questions that mean the same (see `category_cache`).
        upstream: the language model behind the proxy; manner: how the proxy remembers.

    Raises:
        MnemicError: the memory's embedder cannot be loaded.
    """
    metrics = Metrics()
    desk = Desk(memory, model=model, seen=metrics.batch.observe, reuse=reuse)
    if desk.cache is not None:
        metrics.registry.register(Reused(desk.cache.stats))
    state = State(desk, keys, metrics)
    proxy = Proxy(desk, upstream, metrics, manner)
    doors = (*api.DOORS, *proxy.doors())
    routes: list[BaseRoute] = [*api.routes(desk, Once(memory.store.path), doors)]
    agents = Agents(desk)
    routes += [Route("/mcp", agents), Route("/metrics", metrics.page)]
    if importlib.util.find_spec("mnemic.serve.page") is not None:
        page = importlib.import_module("mnemic.serve.page")
        routes += page.routes(state)
    description = describe(doors, keyed=keys is not None)
    routes.append(Route("/openapi.json", lambda request: JSONResponse(description)))
    for route in routes:
        if isinstance(route, Route):
            route.app = _Named(route.app, route.path)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with agents.manager.run():
                yield
        finally:
            await proxy.close()
            await desk.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused},
        middleware=[
            Middleware(Watch, metrics=metrics),
            Middleware(Guard, hosts=hosts, network=network, limits=limits, keys=keys, public=PUBLIC),
        ],
    )
    app.state.mnemic = state
    return app


class _Named:
    """A route that says its pattern to the log."""

    def __init__(self, app: ASGIApp, pattern: str) -> None:
        self._app, self._pattern = app, pattern

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["route"] = self._pattern
        await self._app(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(error.status_code, error.detail, **dict(error.headers or {}))
