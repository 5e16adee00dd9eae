"""What a door is: one operation over HTTP, said once and made into a route and its description."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from mnemic.serve.desk import Desk

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

Said = dict[str, Any] | Response


@dataclass(frozen=True, slots=True)
class Door:
    """One operation.

    Attributes:
        name: of the operation; asks: the body (POST) or the query (GET); answers: what comes back.
        run: carries it out.
        changes: whether it changes something, and whether doing so twice is as good as once.
        sends, brings: media types of the body and of the answer.
        headers: that it reads, each with a sentence and the pattern of its value.
        fails: statuses of its own, each with a sentence.
        public: whether it needs no key.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    asks: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[Desk, Request, Any], Awaitable[Said]]
    changes: Literal["harmless", "once"] | None = None
    sends: str = JSON
    brings: tuple[str, ...] = (JSON,)
    headers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    fails: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
