"""The verbs of a memory over HTTP, under /v1. One table says it all: it makes routes and description."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import mnemic
from mnemic import plain
from mnemic.serve import schemas as it
from mnemic.serve.desk import Desk
from mnemic.serve.guard import access
from mnemic.serve.wire import asked, told

Said = dict[str, Any] | Response


@dataclass(frozen=True, slots=True)
class Door:
    """One operation.

    Attributes:
        name: of the operation; asks: the body (POST) or the query and path (GET); answers: what comes back.
        run: carries it out.
        writes: whether something is changed: a key must allow it, and a repeat is told from the first.
    """

    method: str
    path: str
    name: str
    summary: str
    asks: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[Desk, Request, Any], Awaitable[Said]]
    writes: bool = False


def given(asked: BaseModel, *but: str) -> dict[str, Any]:
    """The fields of a request that say something."""
    return asked.model_dump(exclude_none=True, exclude=set(but))


async def remember(desk: Desk, request: Request, body: it.Remember) -> Said:
    how = given(body, "text", "messages")
    what: str | list[dict[str, Any]] = body.text or ""
    if body.messages is not None:
        what = [turn.model_dump(exclude_none=True) for turn in body.messages]
        how.pop("kind")
    stored = await desk.remember(access(request.state), what, **how)
    return {"records": [plain.record(record) for record in stored]}


async def recall(desk: Desk, request: Request, body: it.Recall) -> Said:
    return plain.recall(await desk.recall(access(request.state), **given(body)))


async def ask(desk: Desk, request: Request, body: it.Ask) -> Said:
    return plain.answer(await desk.ask(access(request.state), **given(body, "stream")))


async def health(desk: Desk, request: Request, body: it.Nothing) -> Said:
    return {"status": "ok", "version": mnemic.__version__}


DOORS = (
    Door("POST", "/v1/remember", "remember", "Remember a text, or messages of a conversation.",
         it.Remember, it.Records, remember, writes=True),
    Door("POST", "/v1/recall", "recall", "What is in memory about a query, best first, and the profile.",
         it.Recall, it.Recalled, recall),
    Door("POST", "/v1/ask", "ask", "Answer a question from memory, cited, or say that it is not there.",
         it.Ask, it.Answered, ask),
    Door("GET", "/v1/health", "health", "Whether the server is there; needs no key.",
         it.Nothing, it.Health, health),
)  # fmt: skip


def routes(desk: Desk) -> list[Route]:
    """The routes of every door."""
    return [Route(door.path, told(_opened(desk, door)), methods=[door.method]) for door in DOORS]


def _opened(desk: Desk, door: Door) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if door.method == "GET":
            body = door.asks.model_validate({**request.query_params, **request.path_params}, strict=False)
        else:
            body = await asked(request, door.asks)
        said = await door.run(desk, request, body)
        return said if isinstance(said, Response) else JSONResponse(said)

    return endpoint
