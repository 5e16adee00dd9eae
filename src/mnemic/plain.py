"""The values of a memory as plain JSON: what `--json` prints. Documented in docs/json.md; names are stable.

Dates are ISO 8601 strings, exactly as precise as they were said; a missing value is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnemic.types import Answer, Hit, Order, Place, Recall, Record, moment

if TYPE_CHECKING:
    from mnemic.store import Change


def instant(at: float | None) -> str | None:
    """Seconds since 1970 as an ISO time in UTC."""
    return None if at is None else moment(at).isoformat(timespec="seconds").replace("+00:00", "Z")


def record(it: Record) -> dict[str, Any]:
    return {
        "id": it.id,
        "text": it.text,
        "space": it.space,
        "kind": it.kind,
        "source": it.source,
        "author": it.author,
        "session": it.session,
        "title": it.title,
        "place": list(it.place),
        "order": it.order,
        "start": it.start,
        "end": it.end,
        "when": it.when.iso if it.when else None,
        "written": instant(it.written),
        "valid_to": instant(it.valid_to),
        "supersedes": it.supersedes,
        "superseded_by": it.superseded_by,
        "state": it.state,
        "meta": dict(it.meta),
    }


def hit(it: Hit) -> dict[str, Any]:
    return {
        "score": it.score,
        "channels": dict(it.channels),
        "why": it.why,
        "start": it.start,
        "end": it.end,
        "record": record(it.record),
    }


def recall(it: Recall) -> dict[str, Any]:
    return {
        "query": it.query,
        "during": it.during.iso if it.during else None,
        "hits": [hit(one) for one in it.hits],
        "profile": [record(one) for one in it.profile],
    }


def answer(it: Answer) -> dict[str, Any]:
    return {
        "text": it.text,
        "abstained": it.abstained,
        "confidence": it.confidence,
        "citations": [
            {"quote": one.quote, "start": one.start, "end": one.end, "record": record(one.record)}
            for one in it.citations
        ],
        "evidence": recall(it.evidence),
    }


def order(it: Order) -> dict[str, Any]:
    return {"first": it.first, "a": _place(it.a), "b": _place(it.b)}


def _place(it: Place | None) -> dict[str, Any] | None:
    return None if it is None else {"start": it.start, "agreement": it.agreement, "record": record(it.record)}


def change(it: Change) -> dict[str, Any]:
    return {
        "seq": it.seq,
        "at": instant(it.at),
        "op": it.op,
        "ids": list(it.ids),
        "detail": dict(it.detail),
        "undone": it.undone,
    }
