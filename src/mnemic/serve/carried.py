"""An export on its way in, looked over before any of it is kept.

What `mnemic import` reads on its owner's machine is trusted; what comes through a door is not. Every line
must be one that an export has, each record must be one that can be read back, none may lie in a space that
the sender may not write to, and the vectors must be of the embedder in use: a memory would load whatever
model an export names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from mnemic.serve.keys import Access
from mnemic.serve.wire import parse
from mnemic.types import Kind, MnemicError, Precision, State, When

SETTINGS = ("dim", "embedder", "fingerprint")  # of what embedded the vectors


def spaces(lines: Iterable[bytes], who: Access, made_with: dict[str, str | None]) -> set[str]:
    """The spaces an export would write to.

    Args:
        made_with: the name and the fingerprint of the embedder in use, under "embedder" and "fingerprint".

    Raises:
        Refused: one of them is not open to `who`; MnemicError: it is no export, or of another embedder.
    """
    found: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            ((kind, value),) = parse(line).items()
            if kind == "mnemic":
                _settings(value, who, made_with)
            elif kind == "record":
                _record(value)
                found.add(value["space"])
            elif kind == "change":
                _change(value, who)
            elif kind not in ("link", "manifest"):
                raise ValueError(f"{kind!r} is no kind of line")
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MnemicError(
                f"line {number} is not of an export of mnemic ({error}); nothing was imported"
            ) from None
    for space in found:
        who.enter(space, writing=True)
    return found


def _settings(header: dict[str, Any], who: Access, made_with: dict[str, str | None]) -> None:
    meta = header["meta"]
    for name, held in made_with.items():
        if meta.get(name) not in (None, held):
            raise MnemicError(
                f"the vectors of the export ({name} {meta[name]!r}) are not of the embedder in use ({held!r}); "
                "nothing was imported"
            )
    if who.spaces is not None and not meta.keys() <= set(SETTINGS):
        raise MnemicError("the export holds settings of a whole memory; with this key, export one space")


def _record(value: dict[str, Any]) -> None:
    """Raises unless the columns make a record that can be read back."""
    for name, kinds, needed in _COLUMNS:
        cell = value.get(name)
        if cell is None and not needed:
            continue
        if not isinstance(cell, kinds) or isinstance(cell, bool):
            raise ValueError(f"{name} is {type(cell).__name__}")
    if value["kind"] not in get_args(Kind) or value["state"] not in get_args(State):
        raise ValueError("an unknown kind or state")
    if not value["space"] or not value["text"].strip():
        raise ValueError("an empty space or text")
    if value.get("when_start") is not None:
        if value["when_precision"] not in get_args(Precision):
            raise ValueError("an unknown precision")
        _ = When(float(value["when_start"]), float(value["when_end"]), value["when_precision"], None).iso
    if not all(isinstance(heading, str) for heading in value["place"]):
        raise ValueError("a place that is not words")


_TEXT, _NUMBER = (str,), (int, float)
_COLUMNS: tuple[tuple[str, tuple[type, ...], bool], ...] = (
    ("id", (int,), True), ("space", _TEXT, True), ("state", _TEXT, True), ("kind", _TEXT, True),
    ("text", _TEXT, True), ("digest", _TEXT, True), ("place", (list,), True), ("meta", (dict,), True),
    ("rank", (int,), True), ("char_start", (int,), True), ("char_end", (int,), True),
    ("written", _NUMBER, True),
    ("source", _TEXT, False), ("author", _TEXT, False), ("session", _TEXT, False), ("title", _TEXT, False),
    ("valid_to", _NUMBER, False), ("supersedes", (int,), False), ("superseded_by", (int,), False),
    ("when_offset", (int,), False), ("when_start", _NUMBER, False), ("when_end", _NUMBER, False),
    ("spans", _TEXT, False), ("vectors", _TEXT, False), ("uses", (int,), False), ("used", _NUMBER, False),
)  # fmt: skip


def _change(value: dict[str, Any], who: Access) -> None:
    if who.spaces is not None:
        who.enter(value["space"] or "", writing=True)
