"""Which records are meant when something is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mnemic.index.words import terms
from mnemic.memory.profile import read_from
from mnemic.store import Store
from mnemic.types import Filter, Record, State

EVERY: tuple[State, ...] = ("live", "superseded", "forgotten")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget` did.

    Attributes:
        ids: records that are no longer found.
        purged: whether they are gone from every byte, beyond undoing.
        detail: one sentence for a reader; says so when a purge still waits for another reader to finish.
    """

    ids: tuple[int, ...]
    purged: bool
    detail: str


def found_by(store: Store, where: Filter, query: str | None, *, everything: bool) -> list[Record]:
    """The live records (`everything`: of any state) that a filter lets through and that hold a query's words.

    Raises:
        ValueError: the query holds no word.
    """
    found = store.scan(where, states=EVERY if everything else ("live",))
    if query is None:
        return list(found)
    wanted = set(terms(query))
    if not wanted:
        raise ValueError(f"{query!r} holds no word; say which words the records to forget contain")
    return [it for it in found if wanted <= set(terms(f"{it.author}: {it.text}"))]


def with_what_belongs(store: Store, records: Iterable[Record], space: str, *, everything: bool) -> list[Record]:
    """The records, the entries of the profile read from them and, for `everything`, all their versions."""
    found: dict[int, Record] = {}
    ahead = list(records)
    while ahead:
        it = ahead.pop()
        if it.id not in found:
            found[it.id] = it
            versions = (it.supersedes, it.superseded_by) if everything else ()
            ahead += store.get([id for id in versions if id is not None])
    chosen = list(found.values())
    for entry in read_from(store, chosen, space, EVERY if everything else ("live",)):
        found[entry.id] = entry
    return list(found.values())
