"""From a question to ranked evidence: every record is scored by every channel, then the best are read.

    question -> words [n], vectors [n] -> fused -> sessions -> names followed -> time -> the best k -> hits

All channels score all records that the filter lets through, as arrays; nothing is dropped before the ranking.
What a question says about time multiplies scores that were brought into (0, 1] first: what is known to lie
outside the time asked for counts `OUTSIDE`; when the first, last or latest of several is asked for, a share
`RECENCY` of the score says how early or late a record is among those that speak about as much. Passages without
an event time are weighed by the times their words say (`timely`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mnemic.index.flat import highest
from mnemic.index.words import query_terms, terms
from mnemic.read import fuse, hops
from mnemic.read.arrange import within
from mnemic.read.time import Plan, plan
from mnemic.read.timely import timely
from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Embedder, Filter, Floats, Hit, Ints, Mask, Recall, Record, When

OUTSIDE = 0.75
RECENCY = 0.1
COMPARABLE = 0.7  # of the best score: from here on records compete for being the first or the latest
NEAR_NAME = 8  # records looked at for a name that is followed


def recall(
    store: Store,
    mirror: Mirror,
    embedder: Embedder | None,
    query: str,
    *,
    where: Filter = Filter(),
    k: int = 10,
    tokens: int | None = None,
    now: float | None = None,
    beside: int = 0,
) -> Recall:
    """The `k` records that speak most to `query`, best first, with the profile of the space.

    Scores fall strictly; equal evidence is ranked by id. Standing instructions and preferences (kind "profile")
    come along as `.profile` and are searched only if `where` asks for them.

    Args:
        embedder: the one the memory was written with; None searches by words alone.
        where: which records may be found, applied before anything is scored.
        tokens: an estimated budget: hits that do not fit are left out whole, the best are kept first.
        now: when the question is asked (seconds since 1970), for "last spring"; None is this moment.
        beside: so many neighbours in time on each side of every hit are added after all hits.

    Raises:
        ValueError: an empty question, `k` below 1, `beside` below 0, or a budget below one token.
    """
    if not query.strip():
        raise ValueError("an empty question finds nothing; say what to look for")
    if k < 1 or beside < 0:
        raise ValueError(f"k={k} and beside={beside}: ask for at least 1 hit, and at least 0 neighbours")
    mirror.refresh()
    profile = mirror.mask(Filter(space=where.space, kind="profile"))
    among = mirror.mask(where)
    if where.kind != "profile":
        among &= ~profile
    now = time.time() if now is None else now
    asked = plan(query, now)
    dated = _anchored(store, mirror, embedder, asked, where.space, among)
    evidence = _evidence(store, mirror, embedder, query, where.space, among)
    scores = _in_time(mirror, evidence.scores, dated, now)
    scores = timely(scores, np.isnan(mirror.when_start), evidence.text, dated, now)
    rows = highest(scores, k)
    falling = strictly_falling(scores[rows])
    hits = _hits(store, mirror, evidence, query, rows, falling)
    hits += _beside(store, mirror, among, rows, hits, beside)
    return Recall(
        hits=within(hits, tokens) if tokens is not None else tuple(hits),
        profile=tuple(store.get(mirror.ids[profile].tolist())),
        query=query,
        during=dated.during,
    )


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What each channel says about each record, [n]; `scores` is all of it together."""

    words: Floats
    vectors: Floats | None
    parts: Ints | None
    sessions: Floats
    named: Floats
    scores: Floats
    names: Mapping[int, str]
    text: Callable[[int], str]


def _evidence(
    store: Store, mirror: Mirror, embedder: Embedder | None, text: str, space: str, among: Mask
) -> _Evidence:
    @cache
    def record(row: int) -> Record:
        return store.get([int(mirror.ids[row])])[0]

    wanted = query_terms(text)
    words = np.where(among, mirror.words(wanted, space), np.float32(0))
    vectors, parts = mirror.vectors(embedder.encode([text])[0]) if embedder else (None, None)
    fused = fuse.fuse(
        words, vectors, among, covered(wanted, record(int(words.argmax()))) if words.any() else 0.0
    )
    spoken = fuse.with_sessions(fused, mirror.conversation, among)

    def passage(row: int) -> str | None:
        return record(row).text if record(row).kind == "text" else None

    def openings(name: Sequence[str]) -> list[int]:
        near = highest(np.where(among, mirror.words(name, space), 0), NEAR_NAME)
        return [row for row in near.tolist() if record(row).start == 0]

    led, names = hops.follow(text, spoken, passage, openings)
    return _Evidence(
        words, vectors, parts, spoken - fused, led - spoken, led, names, lambda row: record(row).text
    )


def covered(wanted: Sequence[str], record: Record) -> float:
    """The share of the distinct terms `wanted` that stand in a record or its author's name."""
    said = set(terms(f"{record.author}: {record.text}"))
    return len(said.intersection(wanted)) / len(set(wanted))


# --------------------------------------------------------------------------- time


def _anchored(
    store: Store, mirror: Mirror, embedder: Embedder | None, asked: Plan, space: str, among: Mask
) -> Plan:
    """The plan with the time of the event it leans on ("before the move"): said, or that of the best record."""
    if asked.anchor is None:
        return asked
    relation, when = asked.anchor.relation, asked.anchor.when
    if when is None:
        event = _evidence(store, mirror, embedder, asked.anchor.event, space, among)
        known = np.where(np.isnan(mirror.when_start) | (event.words <= 0), 0, event.scores)
        if not known.any():
            return asked
        row = int(known.argmax())
        when = When(float(mirror.when_start[row]), float(mirror.when_end[row]))
    if relation in ("before", "until"):
        return replace(asked, before=when.start if relation == "before" else when.end)
    if relation in ("after", "since"):
        return replace(asked, after=when.end if relation == "after" else when.start)
    return replace(asked, during=when)


def _in_time(mirror: Mirror, scores: Floats, asked: Plan, now: float) -> NDArray[np.float64]:
    """Scores in (0, 1] with what the question says about time; 0 where nothing speaks for a record.

    An approximate time ("two weeks ago") reaches half as far to each side as it lies from `now`.
    """
    best = float(scores.max(initial=0))
    shares = np.maximum(scores.astype(np.float64), 0) / (best or 1)
    outside = np.zeros(len(shares), np.bool_)
    if asked.during is not None:
        blur = abs(now - asked.during.middle) / 2 if asked.during.about else 0.0
        outside |= mirror.when_start >= asked.during.end + blur
        outside |= mirror.when_end <= asked.during.start - blur
    if asked.before is not None:
        outside |= mirror.when_end > asked.before
    if asked.after is not None:
        outside |= mirror.when_start < asked.after
    shares[outside] *= OUTSIDE
    if asked.order in ("first", "last", "latest"):
        rivals = np.flatnonzero((shares >= COMPARABLE * shares.max(initial=0)) & ~np.isnan(mirror.when_start))
        if len(rivals) > 1:
            at = np.unique(mirror.when_start[rivals], return_inverse=True)[1].astype(np.float64)
            late = at / max(at.max(), 1)
            shares[rivals] *= 1 - RECENCY * (late if asked.order == "first" else 1 - late)
    return shares


def strictly_falling(scores: NDArray[np.float64]) -> list[float]:
    """The scores, given in falling order, each at least a hair below the one before."""
    falling: list[float] = []
    for score in scores.tolist():
        falling.append(min(score, float(np.nextafter(falling[-1], -1))) if falling else score)
    return falling


# --------------------------------------------------------------------------- hits


def _hits(
    store: Store, mirror: Mirror, evidence: _Evidence, query: str, rows: Ints, scores: Sequence[float]
) -> list[Hit]:
    records = store.get(mirror.ids[rows].tolist())
    if evidence.parts is not None:
        spans = mirror.spans(rows, evidence.parts[rows])
    else:
        spans = [(0, 0)] * len(rows)
    wanted = set(query_terms(query))
    hits = []
    for row, record, score, (start, end) in zip(rows.tolist(), records, scores, spans, strict=True):
        channels = {"words": float(evidence.words[row])}
        if evidence.vectors is not None and evidence.vectors[row] > -1:
            channels["vectors"] = float(evidence.vectors[row])
        if evidence.sessions[row]:
            channels["session"] = float(evidence.sessions[row])
        if evidence.named[row]:
            channels["hop"] = float(evidence.named[row])
        why = _why(record, wanted, channels, evidence.names.get(row))
        hits.append(Hit(record, score, channels, start, end or len(record.text), why))
    return hits


def _why(record: Record, wanted: set[str], channels: Mapping[str, float], name: str | None) -> str:
    """The words that matched, how near the meaning is, and the name that led here."""
    matched = []
    for word in record.text.split():
        if (stems := terms(word)) and wanted.intersection(stems):
            matched.append(word.strip(".,;:!?\"'()[]“”‘’").lower())
    reasons = []
    if matched:
        reasons.append("words: " + ", ".join(dict.fromkeys(matched)))
    if "vectors" in channels:
        reasons.append(f"meaning: {channels['vectors']:.2f}")
    if name:
        reasons.append(f"names {name}")
    return "; ".join(reasons)


def _beside(
    store: Store, mirror: Mirror, among: Mask, rows: Ints, hits: Sequence[Hit], reach: int
) -> list[Hit]:
    """The neighbours of the hits that are no hits, each once, beside the best hit first; scored below all."""
    lent: dict[int, Hit] = {}
    known = set(rows.tolist())
    for row, hit in zip(rows.tolist(), hits, strict=True):
        for step in (mirror.previous, mirror.next):
            at = row
            for _ in range(reach):
                at = int(step[at])
                if at < 0:
                    break
                if among[at] and at not in known:
                    known.add(at)
                    lent[at] = hit
    records = store.get(mirror.ids[list(lent)].tolist())
    least = hits[-1].score if hits else 0.0
    scores = strictly_falling(np.full(len(lent) + 1, least))[1:]
    return [
        Hit(record, score, {"neighbours": hit.score}, 0, len(record.text), f"next to record {hit.record.id}")
        for record, hit, score in zip(records, lent.values(), scores, strict=True)
    ]
