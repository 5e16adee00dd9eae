"""Answers reused by category of question, against one threshold and one policy for all (paper 180)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.serve.cache.category import CATEGORIES, Categories
from mnemic.serve.cache.fit import Policy
from mnemic.serve.cache.meaning import meaning
from mnemic.serve.category_cache import AUDIT, POLICIES, TARGET, CategoryCache, Scope
from mnemic.store import Store
from mnemic.types import Embedder, Floats, Mask, Part, Record
from mnemic.worlds.traffic import DAY, HOUR, SHARES, Asked, Told, Traffic

NAME = "answer_cache"
FOLDER = None
PROTOCOL = """Generated traffic of one person each (seeds 0 to 209, split by seed; three weeks, 200 questions:
code 30%, facts 25%, how things stand now 15%, own affairs 20%, small talk 10%), in many wordings, with
neighbours that mean something else (another direction, number, language, tense, a denial), with readings that
change every half hour to four hours, and own affairs that the memory is told anew. A cache of 60 entries is
looked in before every question; a hit is right if its answer is the right one at that moment. right_hits,
wrong_hits: per question; right_KIND, wrong_KIND: per question of that kind. mnemic: as it ships, its policies
fitted while it runs, audits counted as misses. Every other system gets, from a grid, the setting that serves
most rightly on these very cases with at most 1% of the questions served wrongly (what mnemic's policies aim
at), or as many as mnemic if those are more. one policy: the same rule of equal meaning, one threshold and
lifetime for all. one threshold: likeness alone, as usual. likeness by category: the paper as written, likeness
alone with a threshold and a lifetime for each category. categories by lot: mnemic's policies, scaled, given to
categories drawn by lot. All drop what rests on a changed record. Wordings and synonyms are by one hand: expect
fewer hits on anybody's own traffic."""

SEEDS, LENGTH, ROOM = range(210), 200, 60
LIFETIMES = (600.0, 1800.0, HOUR, 2 * HOUR, 4 * HOUR, DAY, 7 * DAY)
THRESHOLDS = (0.85, 0.9, 0.95, 0.99)
SCALES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LIKENESS = "one threshold"  # the grid from which "likeness by category" takes a setting for each


@dataclass(frozen=True)
class System:
    """A cache to be tried: its policies and what it goes by."""

    policies: Mapping[str, Policy]
    categorise: Callable[[str], str]
    means: Callable[[str, float], Hashable]
    fits: bool = False


def by_lot(question: str) -> str:
    """A category that the question has no part in, the same for the same words."""
    return CATEGORIES[zlib.crc32(question.encode()) % len(CATEGORIES)]


def anything(question: str, now: float) -> Hashable:
    """Every question may mean the same as any other: likeness alone decides."""
    return None


def systems(
    categories: Callable[[str], str], means: Callable[[str, float], Hashable]
) -> dict[str, list[System]]:
    """The settings of each system among which the best is taken."""

    def one(threshold: float, lifetime: float) -> dict[str, Policy]:
        return {"all": Policy(threshold, lifetime, quota=1.0)}

    def same(question: str) -> str:
        return "all"

    def scaled(by: float) -> dict[str, Policy]:
        return {name: replace(it, lifetime=it.lifetime * by) for name, it in POLICIES.items()}

    return {
        "mnemic": [System(POLICIES, categories, means, fits=True)],
        "one policy": [System(one(0.75, lifetime), same, means) for lifetime in LIFETIMES],
        LIKENESS: [System(one(*pair), same, anything) for pair in product(THRESHOLDS, LIFETIMES)],
        "categories by lot": [System(scaled(by), by_lot, means) for by in SCALES],
    }


def replay(traffic: Traffic, tried: Sequence[System], embedder: Embedder, folder: Path) -> tuple[Mask, Mask]:
    """What each system serves rightly and wrongly [systems, questions] while one person asks and tells."""
    now = traffic.start
    scope = Scope("default")
    right: list[list[bool]] = [[] for _ in tried]
    wrong: list[list[bool]] = [[] for _ in tried]
    with Store.open(folder / f"{traffic.seed}.mnemic", durability="normal") as store:
        caches = [
            CategoryCache[str](
                store, embedder, room=ROOM, policies=it.policies, categorise=it.categorise, means=it.means,
                audit=AUDIT if it.fits else 0, target=TARGET if it.fits else None, clock=lambda: now,
            )
            for it in tried
        ]  # fmt: skip
        records: dict[int, int] = {}
        for event in traffic:
            now = event.at
            if isinstance(event, Told):
                _tell(store, event, records, embedder)
                continue
            cites = [records[event.about]] if event.about is not None else []
            for n, cache in enumerate(caches):
                found = cache.look(event.text, scope)
                if found.value is None:
                    cache.keep(found, event.answer, said=event.answer, cites=cites)
                right[n].append(found.value == event.answer)
                wrong[n].append(found.value not in (None, event.answer))
    return np.array(right), np.array(wrong)


def _tell(store: Store, told: Told, records: dict[int, int], embedder: Embedder) -> None:
    parts = embedder.parts([told.text])
    if told.about in records:
        records[told.about] = store.supersede(records[told.about], told.text, parts=parts[0]).id
    else:
        record = Record(text=told.text, kind="turn", author="user", session=str(told.about))
        records[told.about] = store.put([record], parts)[0].id


def run(data: Path | None, options: Options) -> Outcome:
    embedder = _Remembered(options.plain_embedder)
    categories, means = cache(Categories(embedder)), _Untimed()
    known = systems(categories, means)
    names = [name for name, some in known.items() for _ in some]
    tried = [system for some in known.values() for system in some]
    cases = [Traffic(seed, LENGTH) for seed in SEEDS if options.wants(str(seed))][: options.limit]
    with TemporaryDirectory(prefix="mnemic-bench-") as folder:

        def replayed(some: Sequence[System], label: str) -> tuple[Mask, Mask]:
            path = Path(folder) / label
            path.mkdir()
            each = [replay(case, some, embedder, path) for case in options.progress(cases, label)]
            return np.stack([right for right, _ in each], 1), np.stack([wrong for _, wrong in each], 1)

        right, wrong = replayed(tried, NAME)  # [systems, cases, questions]
        allowed = max(TARGET, float(wrong[names.index("mnemic")].mean()))
        chosen = {
            name: _best([n for n, it in enumerate(names) if it == name], right, wrong, allowed)
            for name in known
        }
        asked = [[it for it in case if isinstance(it, Asked)] for case in cases]
        category = np.array([[categories(it.text) for it in some] for some in asked])
        likeness = [n for n, name in enumerate(names) if name == LIKENESS]
        by_category: dict[str, System] = {
            name: tried[_best(likeness, right[:, category == name], wrong[:, category == name], allowed)]
            for name in CATEGORIES
        }
        policies = {
            name: replace(it, threshold=by_category[name].policies["all"].threshold,
                          lifetime=by_category[name].policies["all"].lifetime)
            for name, it in POLICIES.items()
        }  # fmt: skip
        last_right, last_wrong = replayed([System(policies, categories, anything)], "likeness by category")
    served = {name: (right[n], wrong[n]) for name, n in chosen.items()}
    served["likeness by category"] = last_right[0], last_wrong[0]
    kinds = np.array([[it.kind for it in some] for some in asked])
    settings = {name: {key: [it.threshold, it.lifetime] for key, it in tried[n].policies.items()}
                for name, n in chosen.items()}  # fmt: skip
    settings["likeness by category"] = {key: [it.threshold, it.lifetime] for key, it in policies.items()}
    rows = {
        name: [_row(case, *both, kinds, n) for n, case in enumerate(cases)] for name, both in served.items()
    }
    return Outcome(rows, extra={"settings": settings})


def _best(among: Sequence[int], right: Mask, wrong: Mask, allowed: float) -> int:
    """The setting with most right hits of those with no more wrong ones than allowed; if none, the least
    wrong."""
    rates = [(float(right[n].mean()), float(wrong[n].mean()), n) for n in among]
    good = [it for it in rates if it[1] <= allowed]
    return max(good)[2] if good else min(rates, key=lambda it: it[1])[2]


def _row(case: Traffic, right: Mask, wrong: Mask, kinds: NDArray[np.str_], n: int) -> Row:
    row: Row = {
        "id": str(case.seed),
        "right_hits": float(right[n].mean()),
        "wrong_hits": float(wrong[n].mean()),
    }
    for kind in SHARES:
        among = kinds[n] == kind
        row[f"right_{kind}"] = float(right[n][among].mean()) if among.any() else None
        row[f"wrong_{kind}"] = float(wrong[n][among].mean()) if among.any() else None
    return row


class _Remembered:
    """An embedder that computes the vector of a text once in a run."""

    def __init__(self, inner: Embedder) -> None:
        self.name, self.dim, self.fingerprint, self._inner = inner.name, inner.dim, inner.fingerprint, inner
        self._known: dict[str, Floats] = {}

    def encode(self, texts: Sequence[str]) -> Floats:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._inner.encode(new), strict=True))
        return np.array([self._known[text] for text in texts])

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        return [[Part(0, len(text), row)] for text, row in zip(texts, self.encode(texts), strict=True)]


class _Untimed:
    """`meaning`, computed once a text: the questions of this traffic name no time that moves with the day."""

    def __init__(self) -> None:
        self._known: dict[str, Hashable] = {}

    def __call__(self, question: str, now: float) -> Hashable:
        if question not in self._known:
            self._known[question] = meaning(question, now)
        return self._known[question]
