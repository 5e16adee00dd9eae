"""Which records are meant when something is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnemic.index.words import terms
from mnemic.store import Store
from mnemic.types import Filter, Record, State


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


def with_words(records: Iterable[Record], query: str) -> list[Record]:
    """Those that contain every word of the query, in any inflection.

    Raises:
        ValueError: the query holds no word.
    """
    wanted = set(terms(query))
    if not wanted:
        raise ValueError(f"{query!r} holds no word; say which words the records to forget contain")
    return [it for it in records if wanted <= set(terms(f"{it.author}: {it.text}"))]


def every_version(store: Store, records: Iterable[Record]) -> list[Record]:
    """The records with all their older and newer versions."""
    found: dict[int, Record] = {}
    ahead = list(records)
    while ahead:
        it = ahead.pop()
        if it.id not in found:
            found[it.id] = it
            ahead += store.get([id for id in (it.supersedes, it.superseded_by) if id is not None])
    return list(found.values())


def read_from(store: Store, records: Sequence[Record], space: str, states: Sequence[State]) -> list[Record]:
    """The entries of the profile that were read from these records."""
    texts: dict[tuple[str | None, str | None], list[str]] = {}
    for it in records:
        texts.setdefault((it.source, it.session), []).append(it.text)
    profile = store.scan(Filter(space=space, kind="profile"), states=states)
    return [it for it in profile if any(it.text in text for text in texts.get((it.source, it.session), ()))]
