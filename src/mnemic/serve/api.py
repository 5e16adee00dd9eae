"""The verbs of a memory over HTTP, under /v1. One table makes the routes and the description."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import IO, Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import mnemic
from mnemic import plain
from mnemic.memory.asked import instant
from mnemic.serve import schemas as it
from mnemic.serve.desk import Desk
from mnemic.serve.door import JSON, NDJSON, SSE, Door, Said
from mnemic.serve.guard import access
from mnemic.serve.once import Once
from mnemic.serve.wire import Unreadable, asked, told
from mnemic.store import UnknownRecord
from mnemic.types import Filter

CHUNK = 1 << 16
KEY = {"Idempotency-Key": ("The same change under the same key is made once.", "[!-~]{1,255}")}


def given(asked: BaseModel, *but: str) -> dict[str, Any]:
    """The fields of a request that say something."""
    return asked.model_dump(exclude_none=True, exclude=set(but))


# --------------------------------------------------------------------------- finding


async def recall(desk: Desk, request: Request, body: it.Recall) -> Said:
    return plain.recall(await desk.recall(access(request.state), **given(body)))


async def ask(desk: Desk, request: Request, body: it.Ask) -> Said:
    who, how = access(request.state), given(body, "stream")
    if not body.stream:
        return plain.answer(await desk.ask(who, **how))
    question = how.pop("question")
    how["now"] = instant(how.get("now"))
    found = await desk.recall(who, question, **how)

    async def events() -> AsyncIterator[str]:
        yield event("evidence", plain.recall(found))
        try:
            answer = plain.answer(await desk.answer(question, found, **how))
        except Exception as error:
            yield event("error", {"message": "the answer failed", "type": type(error).__name__})
            raise
        del answer["evidence"]
        yield event("answer", answer)

    return StreamingResponse(events(), media_type=SSE)


def event(name: str, value: Any) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"


async def order(desk: Desk, request: Request, body: it.Order) -> Said:
    return plain.order(await desk.order(access(request.state), body.a, body.b, **given(body, "a", "b")))


async def timeline(desk: Desk, request: Request, body: it.Timeline) -> Said:
    return _records(await desk.timeline(access(request.state), **given(body)))


async def records(desk: Desk, request: Request, query: it.Listing) -> Said:
    who = access(request.state)
    where = Filter(space=who.enter(query.space), **given(query, "space", "state", "limit", "after"))
    found = await desk.records(who, where, states=(query.state,), after=query.after, limit=query.limit)
    return _records(found) | {"next": found[-1].id if len(found) == query.limit else None}


async def show(desk: Desk, request: Request, query: it.InSpace) -> Said:
    return plain.record(await desk.show(access(request.state), _id(request), **given(query)))


async def history(desk: Desk, request: Request, query: it.InSpace) -> Said:
    changes = await desk.history(access(request.state), _id(request), **given(query))
    return {"changes": [plain.change(change) for change in changes]}


async def profile(desk: Desk, request: Request, query: it.InSpace) -> Said:
    found = await desk.profile(access(request.state), **given(query))
    return {"profile": [plain.record(record) for record in found]}


async def stats(desk: Desk, request: Request, query: it.InSpace) -> Said:
    return await desk.stats(access(request.state), query.space)


async def health(desk: Desk, request: Request, query: it.Nothing) -> Said:
    return {"status": "ok", "version": mnemic.__version__}


# --------------------------------------------------------------------------- changing


async def remember(desk: Desk, request: Request, body: it.Remember) -> Said:
    how = given(body, "text", "messages")
    what: str | list[dict[str, Any]] = body.text or ""
    if body.messages is not None:
        what = [turn.model_dump(exclude_none=True) for turn in body.messages]
        how.pop("kind")
    return _records(await desk.remember(access(request.state), what, **how))


async def supersede(desk: Desk, request: Request, body: it.Supersede) -> Said:
    return plain.record(await desk.supersede(access(request.state), _id(request), **given(body)))


async def forget(desk: Desk, request: Request, body: it.Forget) -> Said:
    gone = await desk.forget(access(request.state), **given(body))
    return {"ids": list(gone.ids), "purged": gone.purged, "detail": gone.detail}


async def undo(desk: Desk, request: Request, body: it.Undo) -> Said:
    return {"undone": await desk.undo(access(request.state), space=body.space)}


# --------------------------------------------------------------------------- carrying


async def export(desk: Desk, request: Request, query: it.InSpace) -> Said:
    file = await desk.export(access(request.state), query.space)
    return StreamingResponse(_read(file), media_type=NDJSON)


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


async def import_(desk: Desk, request: Request, body: it.Nothing) -> Said:
    with tempfile.TemporaryFile() as file:
        async for chunk in request.stream():
            await asyncio.to_thread(file.write, chunk)
        return {"records": await desk.import_(access(request.state), file)}


# --------------------------------------------------------------------------- the table


def _records(found: Any) -> dict[str, Any]:
    return {"records": [plain.record(record) for record in found]}


def _id(request: Request) -> int:
    said = request.path_params["id"]
    if not (said.isascii() and said.isdigit() and len(said) < 19):
        raise UnknownRecord("a record is known by a whole number")
    return int(said)


DOORS = (
    Door("POST", "/v1/remember", "remember", "Remember a text, or messages of a conversation.",
         it.Remember, it.Records, remember, "harmless", headers=KEY),
    Door("POST", "/v1/recall", "recall", "What is in memory about a query, best first, and the profile.",
         it.Recall, it.Recalled, recall),
    Door("POST", "/v1/ask", "ask", "Answer a question from memory, cited, or say that it is not there.",
         it.Ask, it.Answered, ask, brings=(JSON, SSE)),
    Door("POST", "/v1/order", "order", "Which of two passages came first, and where each is.",
         it.Order, it.Ordered, order),
    Door("POST", "/v1/timeline", "timeline", "Dated records in the order of their events.",
         it.Timeline, it.Records, timeline),
    Door("GET", "/v1/records", "records", "The records of a space by id, a page at a time.",
         it.Listing, it.Page, records),
    Door("GET", "/v1/records/{id}", "show", "One record, whatever its state.", it.InSpace, it.Record, show),
    Door("GET", "/v1/records/{id}/history", "history", "What happened to a record, oldest first.",
         it.InSpace, it.History, history),
    Door("POST", "/v1/records/{id}/supersede", "supersede", "Let a text stand for what a record says.",
         it.Supersede, it.Record, supersede, "once", headers=KEY),
    Door("POST", "/v1/forget", "forget", "Forget by ids, source, words, time, or a whole space.",
         it.Forget, it.Forgotten, forget, "harmless", headers=KEY),
    Door("POST", "/v1/undo", "undo", "Reverse the last change of a space.", it.Undo, it.Undone, undo, "once",
         headers=KEY),
    Door("GET", "/v1/profile", "profile", "Standing instructions and preferences, newest first.",
         it.InSpace, it.Profile, profile),
    Door("GET", "/v1/stats", "stats", "Counts and bytes of a space, or of everything that is open.",
         it.InSpace, it.Stats, stats),
    Door("GET", "/v1/export", "export", "Everything, or a space, as JSON lines.",
         it.InSpace, it.Exported, export, brings=(NDJSON,)),
    Door("POST", "/v1/import", "import", "Read what an export wrote, all of it or nothing.",
         it.Nothing, it.Imported, import_, sends=NDJSON),
    Door("GET", "/v1/health", "health", "Whether the server is there; needs no key.",
         it.Nothing, it.Health, health, public=True),
)  # fmt: skip


def routes(desk: Desk, once: Once, doors: Sequence[Door] = DOORS) -> list[Route]:
    """The routes of doors."""
    return [Route(door.path, told(_opened(desk, door, once)), methods=[door.method]) for door in doors]


def _opened(desk: Desk, door: Door, once: Once) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        for name, (_, pattern) in door.headers.items():
            if not re.fullmatch(pattern, request.headers.get(name, "on")):
                raise Unreadable(f"the header {name} is not {pattern}")
        body: BaseModel
        if door.method == "GET":
            body = door.asks.model_validate(dict(request.query_params), strict=False)
        elif door.sends == JSON:
            body = await asked(request, door.asks)
        else:
            body = it.Nothing()
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != door.sends:
                raise Unreadable(f"send the body as {door.sends}")
        key = request.headers.get("idempotency-key") if door.changes else None
        if key is None:
            return _reply(await door.run(desk, request, body))
        return await _once(desk, door, once, request, body, key)

    return endpoint


def _reply(said: Said) -> Response:
    return said if isinstance(said, Response) else JSONResponse(said)


async def _once(desk: Desk, door: Door, once: Once, request: Request, body: BaseModel, key: str) -> Response:
    """Carry a change out unless it was, under this key; what is kept of it is ids."""
    who = access(request.state)
    named = (who.name, request.url.path, key)
    begin = functools.partial(once.begin, *named, await request.body(), harmless=door.changes == "harmless")
    outcome = await asyncio.to_thread(begin)
    if outcome is not None:
        reply = _reply(await _again(desk, request, body, outcome))
        reply.headers["Idempotency-Replayed"] = "true"
        return reply
    kept: dict[str, Any] | None = None
    try:
        said = await door.run(desk, request, body)
        assert isinstance(said, dict)
        kept = said
        if "records" in said:
            kept = {"ids": [record["id"] for record in said["records"]], "kind": "records"}
        elif "text" in said:
            kept = {"ids": [said["id"]], "kind": "record"}
        return _reply(said)
    finally:
        await asyncio.shield(asyncio.to_thread(once.done, *named, kept))


async def _again(desk: Desk, request: Request, body: Any, outcome: dict[str, Any]) -> dict[str, Any]:
    """What was answered the first time, as far as it is still in memory."""
    if (kind := outcome.get("kind")) is None:
        return outcome
    who, found = access(request.state), []
    for id in outcome["ids"]:
        try:
            found.append(await desk.show(who, id, **given(body, *(type(body).model_fields.keys() - {"space"}))))
        except UnknownRecord:
            if kind == "record":
                raise
    return _records(found) if kind == "records" else plain.record(found[0])
