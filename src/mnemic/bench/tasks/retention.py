"""What is still answered when half the bytes are gone, by the rule that chose what goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.recipes import load, names
from mnemic.types import Floats, TraceStats
from mnemic.worlds.diary import Diary

NAME = "retention"
FOLDER = None
PROTOCOL = """Generated diaries of a year (seeds 0 to 99). Every evening two entries written so far are
recalled, drawn by an interest that falls as one over its rank; after half a year the ranks are drawn anew. Then
every rule keeps half the bytes, and 200 more entries are drawn by the interest of that time. kept: share of
these that are still there. "uses shuffled": decay that takes the numbers of recalls of other records."""

SEEDS = range(100)
DAYS, RECALLS, ASKED = 365, 2, 200


def run(data: Path | None, options: Options) -> Outcome:
    systems: dict[str, list[Row]] = {}
    cases = [seed for seed in SEEDS if options.wants(str(seed))][: options.limit]
    for seed in options.progress(cases, NAME):
        traces, now, wanted = life(seed)
        rng = np.random.default_rng((seed, 1))
        scores = {rule: load("retain", rule).keep(traces, now) for rule in names("retain")}
        other = replace(traces, uses=rng.permutation(traces.uses))
        scores["decay, uses shuffled"] = load("retain", "decay").keep(other, now)
        for system, score in scores.items():
            left = kept(score, traces, int(traces.nbytes.sum()) // 2)
            systems.setdefault(system, []).append({"id": str(seed), "kept": float(left[wanted].mean())})
    return Outcome(systems, "decay")


def life(seed: int) -> tuple[TraceStats, float, np.ndarray]:
    """The traces after a year, the moment, and the entries asked for then."""
    diary = Diary(seed, DAYS)
    written = np.array([entry.when.start for entry in diary.entries if entry.when], np.float64)
    n = len(written)
    rng = np.random.default_rng(seed)
    interest = [1 / (1 + rng.permutation(n)) for _ in range(2)]
    used, uses = written.copy(), np.zeros(n)
    for day in range(DAYS):
        evening = written[0] // 86400 * 86400 + 86400 * (day + 1)
        there = written < evening
        weight = interest[2 * day // DAYS] * there
        for one in rng.choice(n, RECALLS, p=weight / weight.sum()):
            uses[one] += 1
            used[one] = evening
    nbytes = np.array([len(entry.text.encode()) for entry in diary.entries], np.int64)
    traces = TraceStats(written, used, uses, np.full(n, 0.5), nbytes)
    return traces, diary.now, rng.choice(n, ASKED, p=interest[1] / interest[1].sum())


def kept(score: Floats, traces: TraceStats, budget: int) -> np.ndarray:
    """[n] whether a record is among the best that fit the budget, the lowest score going first."""
    order = np.argsort(-score, kind="stable")
    fits = np.cumsum(traces.nbytes[order]) <= budget
    left = np.zeros(len(score), np.bool_)
    left[order[fits]] = True
    return left
