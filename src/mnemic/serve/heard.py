"""What a server says, as the values of a memory again: the way back from `mnemic.plain`.

Instants come back to the second they were written in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnemic.memory import Forgotten
from mnemic.store import Change
from mnemic.types import Answer, Citation, Hit, Order, Place, Recall, Record, When


def _instant(said: str | None) -> float | None:
    return None if said is None else When.parse(said).start


def record(it: Mapping[str, Any]) -> Record:
    known = {name: value for name, value in it.items() if name in Record.__dataclass_fields__}
    return Record(
        **known
        | {
            "place": tuple(it["place"]),
            "when": None if it["when"] is None else When.parse(it["when"]),
            "written": _instant(it["written"]),
            "valid_to": _instant(it["valid_to"]),
        }
    )


def records(it: Mapping[str, Any]) -> list[Record]:
    return [record(one) for one in it["records"]]


def recall(it: Mapping[str, Any]) -> Recall:
    hits = [
        Hit(record(hit["record"]), hit["score"], hit["channels"], hit["start"], hit["end"], hit["why"])
        for hit in it["hits"]
    ]
    during = None if it["during"] is None else When.parse(it["during"])
    return Recall(tuple(hits), tuple(record(one) for one in it["profile"]), it["query"], during)


def answer(it: Mapping[str, Any]) -> Answer:
    cited = [Citation(record(one["record"]), one["quote"], one["start"], one["end"]) for one in it["citations"]]
    return Answer(it["text"], tuple(cited), it["abstained"], it["confidence"], recall(it["evidence"]))


def order(it: Mapping[str, Any]) -> Order:
    return Order(it["first"], _place(it["a"]), _place(it["b"]))


def _place(it: Mapping[str, Any] | None) -> Place | None:
    return None if it is None else Place(record(it["record"]), it["start"], it["agreement"])


def changes(it: Mapping[str, Any]) -> list[Change]:
    return [
        Change(
            one["seq"], _instant(one["at"]) or 0.0, one["op"], tuple(one["ids"]), one["detail"], one["undone"]
        )
        for one in it["changes"]
    ]


def forgotten(it: Mapping[str, Any]) -> Forgotten:
    return Forgotten(tuple(it["ids"]), it["purged"], it["detail"])
