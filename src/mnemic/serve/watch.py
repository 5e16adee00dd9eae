"""What is said about requests: one JSON line each, and numbers for Prometheus. Never what was in them.

A line holds the route's pattern and not the address, the id of the key and not the key, the kind of an error
and where it arose and not its message: texts, questions, names of spaces and headers stay out, so what is
forgotten was never in a log.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnemic import plain
from mnemic.serve.category_cache import OUTCOMES
from mnemic.serve.guard import failure

log = logging.getLogger("mnemic.serve")

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The numbers of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mnemic_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mnemic_request_seconds", "Until the last byte was sent.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.open = Gauge("mnemic_requests_open", "Requests being answered.", registry=self.registry)
        self.batch = Histogram(
            "mnemic_embedded_together", "Questions in one pass of the embedder.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry,
        )  # fmt: skip
        self.proxied = Counter(
            "mnemic_proxied", "Chats passed on, by what became of their memory.", ["memory"],
            registry=self.registry,
        )  # fmt: skip
        self.dropped = Counter(
            "mnemic_turns_not_remembered", "Turns that could not be written.", registry=self.registry
        )

    async def page(self, request: Request) -> Response:
        """`GET /metrics`."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class Reused(Collector):
    """The numbers of a cache of answers, read when they are asked for; `stats` is its method of that name."""

    def __init__(self, stats: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Questions by what became of them, seconds saved, and answers held, by category."""
        asked = CounterMetricFamily(
            "mnemic_answers", "Questions by what the cache of answers did.", labels=["category", "outcome"]
        )
        saved = CounterMetricFamily(
            "mnemic_answer_seconds_saved", "Seconds that reused answers had taken.", labels=["category"]
        )
        held = GaugeMetricFamily("mnemic_answers_held", "Answers in the cache.", labels=["category"])
        for category, numbers in self._stats().items():
            for outcome in OUTCOMES:
                asked.add_metric([category, outcome], numbers[outcome])
            saved.add_metric([category], numbers["seconds_saved"])
            held.add_metric([category], numbers["entries"])
        yield from (asked, saved, held)


class Watch:
    """Times, counts and logs every request, and answers for what broke."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id, begun, status, size = uuid.uuid4().hex[:12], time.perf_counter(), 0, 0
        broke: dict[str, Any] = {}

        async def told(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", id.encode()))
            size += len(message.get("body", b""))
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, told)
        except Exception as error:
            broke = {"error": type(error).__name__, "at": _place(error)}
            if not status:
                reply = failure(500, f"the server failed; its log says more under {id}", "server_error")
                await reply(scope, receive, told)
        finally:
            spent = time.perf_counter() - begun
            self._metrics.open.dec()
            route = _pattern(scope)
            self._metrics.requests.labels(_method(scope), route, str(status or 499)).inc()
            self._metrics.seconds.labels(route).observe(spent)
            who = scope.get("state", {}).get("access")
            line = {
                "at": plain.instant(time.time()), "request": id, "method": _method(scope), "route": route,
                "status": status or 499, "ms": round(1000 * spent, 1), "bytes": size,
                "key": getattr(who, "name", "") or None,
            }  # fmt: skip
            log.log(logging.ERROR if broke else logging.INFO, json.dumps(line | broke))


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
    return scope["method"] if scope["method"] in known else "OTHER"


def _pattern(scope: Scope) -> str:
    """The route that answered, as it is written in the description; never the address itself."""
    return str(scope.get("state", {}).get("route") or "other")


def _place(error: BaseException) -> list[str]:
    """Where an error arose, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
