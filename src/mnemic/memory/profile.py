"""What a person wants kept in mind always (paper 53): entries of kind "profile" beside what they come from.

An entry shares source and session with the record in which it was said, and its words stand in that record's:
so the two are known to belong together without a link, and are forgotten together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mnemic.store import Store
from mnemic.types import Filter, Record, State

SPOKEN_BY = ("user", "me")  # whose words are read for standing instructions; nobody else's are


def standing(record: Record) -> Iterator[Record]:
    """The standing instructions and preferences that the user states in a record."""
    if record.kind in ("text", "turn") and record.meta.get("role", record.author) in SPOKEN_BY:
        from mnemic.read.profile import find

        for start, end, kind in find(record.text, record.author):
            yield replace(
                record, text=record.text[start:end], kind="profile", start=start, end=end, meta={"kind": kind}
            )


def each_once(entries: Iterable[Record]) -> tuple[Record, ...]:
    """Entries of a profile, newest first, what was said several times only as it was said last."""
    newest: dict[str, Record] = {}
    for entry in sorted(entries, key=lambda it: it.id):
        newest.pop(entry.text.casefold(), None)
        newest[entry.text.casefold()] = entry
    return tuple(reversed(newest.values()))


def read_from(store: Store, records: Sequence[Record], space: str, states: Sequence[State]) -> list[Record]:
    """The entries that were read from these records."""
    texts: dict[tuple[str | None, str | None], list[str]] = {}
    for it in records:
        texts.setdefault((it.source, it.session), []).append(it.text)
    profile = store.scan(Filter(space=space, kind="profile"), states=states)
    return [it for it in profile if any(it.text in text for text in texts.get((it.source, it.session), ()))]
