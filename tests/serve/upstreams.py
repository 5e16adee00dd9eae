"""Language model servers that behave, and ones that do not: real HTTP on the loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Speaking:
    """Answers every chat with `reply`, word by word if streamed, and keeps what it was sent.

    `manner` makes it misbehave: "slow" answers after a minute, "malformed" says what is not JSON, "cut" ends a
    stream after the first words, "broken" sends an event that is not JSON, "error" refuses, "long" never ends.
    """

    def __init__(self, reply: str = "He went to sea.", manner: str = "") -> None:
        self.reply, self.manner = reply, manner
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.gone = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            ]
        )

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        if self.manner == "slow":
            await asyncio.sleep(60)
        if self.manner == "malformed":
            return Response("<html>", media_type="application/json")
        if self.manner == "error":
            return JSONResponse({"error": {"message": "no such model"}}, 404)
        if body.get("stream"):
            return StreamingResponse(self.words(), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": self.reply}, "finish_reason": "stop"}
        return JSONResponse(
            {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        )

    async def words(self) -> AsyncIterator[str]:
        try:
            for number, word in enumerate(self.reply.split(" ")):
                yield event({"content": ("" if number == 0 else " ") + word})
                self.sent += 1
                if self.manner == "cut" and number == 1:
                    return
                if self.manner == "broken":
                    yield "data: {\n\n"
            while self.manner == "long":
                await asyncio.sleep(0.01)
                yield event({"content": " and on"})
                self.sent += 1
            yield event({}, "stop")
            yield "data: [DONE]\n\n"
        finally:
            self.gone.set()

    async def models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "us"}]}
        )

    async def embeddings(self, request: Request) -> Response:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
        return JSONResponse(
            {"object": "list", "data": data, "model": "tiny", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )


def event(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"
