"""Answers are reused when a question means the same, by a policy for each category of question.

    serve e for q  iff  meaning(e) = meaning(q)  and  scope(e) = scope(q)  and  t_now - t_e <= l_c  and
                        (normalised(e) = normalised(q)  or  cos(e, q) >= tau_c)

    under load u in [0, 1]:   tau_c - delta_c u,   l_c (1 + beta_c u)

q: a question; e: one answered before; c: its category (`cache/category.py`); tau_c, l_c: threshold and lifetime
of the category, fitted to what is seen (`cache/fit.py`); delta_c, beta_c: what a full load concedes; the scope
is the space, the model and whatever else decides an answer. A category may fill a share of the room, its quota:
past it its own least recently used entry goes.

An entry goes when a record it rests on changes or is forgotten, by whichever process (the log of the store says
so); when something new is remembered that lies nearer to its question than what it rests on; when the profile
of its space changes. It lives in memory only and holds nothing of what was purged after the next look or
`refresh`.

Where it departs from the paper: likeness alone serves nothing (`cache/meaning.py`: a question and its reversal
are more alike than paraphrases), so the search for the nearest vector becomes a look-up by meaning, and a miss
costs no search; thresholds and lifetimes are fitted online from answers that were given twice, some of them on
purpose (every `AUDIT`th hit is answered anew and compared, which is how wrong hits are counted).

Paper 180: Category-Aware Semantic Caching for Heterogeneous LLM Workloads.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from mnemic.serve.cache.category import Categories
from mnemic.serve.cache.fit import Policy, Sample, fitted
from mnemic.serve.cache.meaning import figures, meaning, normalised, topics
from mnemic.store import Store, UnknownRecord
from mnemic.types import Claim, Embedder, Filter, Floats, Record

PAPER = 180

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
POLICIES: Mapping[str, Policy] = {
    "code": Policy(0.80, 30 * DAY, quota=0.5, give=0.05, stretch=1.0),
    "state": Policy(0.80, 10 * MINUTE, quota=0.2, give=0.0, stretch=0.5),
    "personal": Policy(0.75, 7 * DAY, quota=0.4, give=0.05, stretch=0.0),
    "knowledge": Policy(0.75, 7 * DAY, quota=0.5, give=0.05, stretch=1.0),
    "chat": Policy(0.75, 7 * DAY, quota=0.15, give=0.10, stretch=1.0),
}
ROOM = 2000  # entries
AUDIT = 25  # one of so many hits is answered anew
TARGET = 0.01  # share of wrong hits that a fitted policy may have
SAMPLES = 1000  # the latest of a category that are kept
REFIT = 20  # samples between fits
MANY = 1000  # changed records at which everything is dropped instead of compared
NEAR = 0.5  # likeness from which something new bears on an answer that rests on no record
SAME_ANSWER = 0.9  # likeness of two answers, with equal numbers and denials, that say the same
OUTCOMES = ("exact", "near", "misses", "expired", "dropped", "evicted", "audited", "wrong")
KEPT = "answer cache"  # the key in the memory's file under which fitted policies (numbers only) are kept

CLAIM = Claim(
    says="policies by category serve clearly more questions rightly than one threshold and lifetime for all, "
    "at no more wrong hits",
    task="answer_cache",
    method="mnemic",
    baseline="one policy",
    sabotage="categories by lot",
    metric="right_hits",
    budget="the same 60 entries and at most 1% of the questions served wrongly",
    margin=0.05,
)

V = TypeVar("V")
_Key = tuple["Scope", str, Hashable]  # scope, the normalised words, the meaning (with its times)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an answer depends on besides its question.

    Attributes:
        space: the tenant; no answer ever crosses it.
        model: what wrote it, "" for quotations.
        rest: anything else that decides it: filters, k, the version of a prompt, the turns before.
    """

    space: str
    model: str = ""
    rest: Hashable = ()


@dataclass(slots=True)
class _Entry(Generic[V]):
    question: str
    scope: Scope
    meaning: Hashable
    category: str
    value: V
    said: str
    cites: frozenset[int]
    at: float
    seconds: float
    vector: Floats | None
    reach: float  # something new that is this like the question may change the answer


@dataclass(slots=True)
class Look(Generic[V]):
    """What a look found. `value` is the answer, or None: then answer, and hand this to `keep` with the result.

    Attributes:
        category: of the question; exact: whether the very words were asked before; likeness: 1 if so.
    """

    question: str
    scope: Scope
    category: str
    value: V | None = None
    exact: bool = False
    likeness: float = 0.0
    seq: int = 0
    at: float = 0.0
    _meaning: Hashable = None
    _vector: Floats | None = None
    _twin: _Entry[V] | None = None  # an entry of equal meaning that was not served


@dataclass(slots=True)
class Counts:
    """What became of the questions of one category."""

    exact: int = 0
    near: int = 0
    misses: int = 0
    audited: int = 0
    wrong: int = 0
    expired: int = 0
    dropped: int = 0
    evicted: int = 0
    seconds_saved: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    fresh: int = 0  # samples since the last fit


class CategoryCache(Generic[V]):
    """Answers of one memory; may be shared between threads.

    found = cache.look(question, scope)
    if found.value is None:
        value = answer(...)
        cache.keep(found, value, said=value.text, cites=[...], seconds=...)
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        room: int = ROOM,
        policies: Mapping[str, Policy] = POLICIES,
        categorise: Callable[[str], str] | None = None,
        means: Callable[[str, float], Hashable] = meaning,
        audit: int = AUDIT,
        target: float | None = TARGET,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without an embedder only the same words are served.

        Args:
            policies: one per category that `categorise` gives; policies fitted before to this memory take their
                place.
            means: what must be equal for one answer to serve two questions asked at a time.
            audit: one of so many hits is answered anew; 0 for none.
            target: share of wrong hits that fitted policies may have; None leaves the policies as they are.
        """
        self._store, self._embedder, self._room = store, embedder, room
        self._categorise = categorise or Categories(embedder)
        self._means, self._audit, self._target, self._clock = means, audit, target, clock
        self.policies = dict(policies)
        for name, (threshold, lifetime) in json.loads(store.get_meta(KEPT) or "{}").items():
            if name in self.policies:
                was = self.policies[name]
                self.policies[name] = Policy(threshold, lifetime, was.quota, was.give, was.stretch)
        self._entries: OrderedDict[_Key, _Entry[V]] = OrderedDict()  # least recently used first
        self._by_meaning: dict[tuple[Scope, Hashable], dict[_Key, None]] = defaultdict(dict)
        self._held: defaultdict[str, int] = defaultdict(int)  # entries of each category
        self._counts: defaultdict[str, Counts] = defaultdict(Counts)
        self._seq, _, _ = store.changes(2**62)
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    # ----------------------------------------------------------------- looking

    def look(self, question: str, scope: Scope, *, load: float = 0.0) -> Look[V]:
        """An answer that was given to this question or one that means the same; none while it is audited."""
        now = self._clock()
        what = self._means(question, now)
        category = self._categorise(question)
        with self._lock:
            self.refresh()
            found = Look[V](question, scope, category, seq=self._seq, at=now, _meaning=what)
            counts = self._counts[category]
            twin = self._twin(found)
            if twin is None:
                counts.misses += 1
                return found
            found._twin = twin
            policy = self.policies[category].under(load)
            fresh = now - twin.at <= policy.lifetime
            if not fresh or not (found.exact or found.likeness >= policy.threshold):
                counts.expired += not fresh
                counts.misses += 1
                return found
            if self._audit and (counts.exact + counts.near + counts.audited + 1) % self._audit == 0:
                counts.audited += 1
                return found
            counts.exact += found.exact
            counts.near += not found.exact
            counts.seconds_saved += twin.seconds
            self._entries.move_to_end(_key(twin))
            found.value = twin.value
            return found

    def _twin(self, found: Look[V]) -> _Entry[V] | None:
        """The entry of equal meaning that is most like the question; sets how like it is."""
        exact = self._entries.get((found.scope, normalised(found.question), found._meaning))
        if exact is not None:
            found.exact, found.likeness, found._vector = True, 1.0, exact.vector
            return exact
        near = self._by_meaning.get((found.scope, found._meaning))
        if not near or self._embedder is None:
            return None
        found._vector = self._embedder.encode([found.question])[0]
        some = [self._entries[key] for key in near]
        alike = [float(it.vector @ found._vector) if it.vector is not None else -1.0 for it in some]
        best = int(np.argmax(alike))
        found.likeness = alike[best]
        return some[best]

    # ----------------------------------------------------------------- keeping

    def keep(self, found: Look[V], value: V, *, said: str, cites: Sequence[int], seconds: float = 0.0) -> bool:
        """Keep the answer to a question that was not served; whether it was kept.

        It is not if a record it rests on changed while it was being given. Never keep an answer that says
        that something is not in memory.

        Args:
            said: the words of the answer, to compare it with another; cites: ids of the records it rests on.
            seconds: what it took to give it.
        """
        with self._lock:
            if found._twin is not None:
                self._learn(found, found._twin, said)
            try:
                records = self._store.get(list(cites))
            except UnknownRecord:
                return False
            if any(it.state != "live" or it.space != found.scope.space for it in records):
                return False
            if found._vector is None and self._embedder is not None:
                found._vector = self._embedder.encode([found.question])[0]
            where = Filter(space=found.scope.space, kind="profile")
            profile = [it.id for it in self._store.scan(where)]  # what every answer there rests on
            entry = _Entry(
                found.question, found.scope, found._meaning, found.category, value, said,
                frozenset((*cites, *profile)),
                found.at, seconds, found._vector,
                self._reach([it.id for it in records if it.kind != "profile"], found._vector),
            )  # fmt: skip
            _, live, gone = self._store.changes(found.seq)
            if len(live) + len(gone) > MANY or len(self._still(gone.tolist())) < len(gone):
                return False  # of what was purged meanwhile it cannot be told what it was
            if self._touched([entry], live.tolist(), gone.tolist()):
                return False
            self._remove(_key(entry))
            if found._twin is not None and found._twin.said != said:
                self._remove(_key(found._twin))
            self._make_room(found.category)
            self._entries[_key(entry)] = entry
            self._held[entry.category] += 1
            self._by_meaning[entry.scope, entry.meaning][_key(entry)] = None
            return True

    def _reach(self, ids: Sequence[int], vector: Floats | None) -> float:
        """How like the question something new must be to matter: as much as the farthest record cited."""
        if vector is None or not ids:
            return NEAR
        of, _, _, vectors = self._store.parts_of(ids)
        if vectors.shape[1:] != vector.shape:
            return NEAR
        alike = vectors @ vector
        return min([NEAR, *(float(alike[of == id].max()) for id in np.unique(of))])

    def _learn(self, found: Look[V], twin: _Entry[V], said: str) -> None:
        """Two answers to the same question: do they agree?"""
        counts = self._counts[found.category]
        agree = self._agree(twin.said, said)
        policy = self.policies[found.category]
        age = found.at - twin.at
        if age <= policy.lifetime and (found.exact or found.likeness >= policy.threshold):
            counts.wrong += not agree  # it would have been served: an audit
        counts.samples.append(Sample(found.likeness, age, agree))
        del counts.samples[:-SAMPLES]
        counts.fresh += 1
        if self._target is not None and counts.fresh >= REFIT:
            counts.fresh = 0
            self.policies[found.category] = fitted(policy, counts.samples, self._target)
            kept = {name: [it.threshold, it.lifetime] for name, it in self.policies.items()}
            self._store.set_meta(KEPT, json.dumps(kept))

    def _agree(self, one: str, other: str) -> bool:
        if normalised(one) == normalised(other):
            return True
        if self._embedder is None or figures(one) != figures(other):
            return False
        first, second = self._embedder.encode([one, other])
        return float(first @ second) >= SAME_ANSWER

    def _make_room(self, category: str) -> None:
        """Past its quota a category gives up its own, past the room the category that fills most of its
        quota."""
        quota = {name: max(1.0, policy.quota * self._room) for name, policy in self.policies.items()}
        counted = self._held
        if counted[category] >= quota[category]:
            loser = category
        elif len(self._entries) >= self._room:
            loser = max(counted, key=lambda name: counted[name] / quota[name])
        else:
            return
        self._remove(next(key for key, it in self._entries.items() if it.category == loser))
        self._counts[loser].evicted += 1

    # ----------------------------------------------------------------- in step with the memory

    def refresh(self) -> int:
        """Drop what the memory's changes made doubtful, whoever made them; returns how many entries went."""
        with self._lock:
            seq, live, gone = self._store.changes(self._seq)
            if seq == self._seq:
                return 0
            self._seq = seq
            if not self._entries:
                return 0
            if len(live) + len(gone) > MANY:
                doomed = list(self._entries.values())
            else:
                doomed = self._touched(list(self._entries.values()), live.tolist(), gone.tolist())
            for entry in doomed:
                self._remove(_key(entry))
                self._counts[entry.category].dropped += 1
            return len(doomed)

    def _touched(self, entries: Sequence[_Entry[V]], live: list[int], gone: list[int]) -> list[_Entry[V]]:
        """The entries on which some changed records bear."""
        changed = {*live, *gone}
        doomed = [it for it in entries if it.cites & changed]
        new = set(live)
        for record in self._still([*live, *gone]):
            if record.kind != "profile" and record.id not in new:
                continue
            vectors = self._store.parts_of([record.id])[3]
            for it in entries:
                if it.scope.space != record.space or it in doomed:
                    continue
                if record.kind == "profile" or self._bears(it, record.text, vectors):
                    doomed.append(it)
        return doomed

    def _still(self, ids: list[int]) -> list[Record]:
        found: list[Record] = []
        for id in ids:
            try:
                found += self._store.get([id])
            except UnknownRecord:  # purged this moment: its own entry of the log follows
                continue
        return found

    def _bears(self, entry: _Entry[V], text: str, vectors: Floats) -> bool:
        """Whether something new may change an answer: by its vectors, without any by a shared content word."""
        if entry.vector is None or vectors.shape[1:] != entry.vector.shape or not len(vectors):
            return not topics(entry.question).isdisjoint(topics(text))
        return float((vectors @ entry.vector).max()) >= entry.reach

    def _remove(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held[entry.category] -= 1
            same = self._by_meaning[entry.scope, entry.meaning]
            same.pop(key, None)
            if not same:
                del self._by_meaning[entry.scope, entry.meaning]

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._entries.clear()
            self._held.clear()
            self._by_meaning.clear()

    # ----------------------------------------------------------------- what it did

    def stats(self) -> dict[str, Any]:
        """Per category: the entries held, what became of questions (`OUTCOMES`), seconds saved, and the policy.

        `wrong` counts the audited hits whose answer had changed; times `audit` it estimates all.
        """
        with self._lock:
            self.refresh()
            return {
                name: {
                    "entries": self._held[name],
                    **{outcome: getattr(self._counts[name], outcome) for outcome in OUTCOMES},
                    "seconds_saved": round(self._counts[name].seconds_saved, 3),
                    "threshold": policy.threshold,
                    "lifetime": policy.lifetime,
                    "quota": policy.quota,
                }
                for name, policy in self.policies.items()
            }


def _key(entry: _Entry[Any]) -> _Key:
    return entry.scope, normalised(entry.question), entry.meaning
