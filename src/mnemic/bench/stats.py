"""Intervals and tests over per-case scores: bootstrap for means, sign-flip permutation for pairs, Holm.

Everything is over cases, resampled with a stated seed, so that a result can be made again to the digit. Where
cases are of several starts of a training, an interval is over these and over the cases of each: cases alone
would say how well these models are known, not the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Starts = Sequence[str]

RESAMPLES = 10_000


def interval(scores: Scores, starts: Starts = (), *, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `scores` [n]; (nan, nan) for n = 0.

    `starts` says which start each score is of; of several, starts are drawn first and then scores of each one
    drawn. With two or three it is still too narrow: their spread is hardly known.
    """
    if len(scores) == 0:
        return float("nan"), float("nan")
    if np.all(scores == scores[0]):
        return float(scores[0]), float(scores[0])
    random = np.random.default_rng(seed)
    names = sorted(set(starts))
    members = [scores[np.array(starts) == name] for name in names] if len(names) > 1 else [scores]
    sums, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for _ in members:
        drawn = random.integers(0, len(members), RESAMPLES) if len(members) > 1 else np.zeros(RESAMPLES)
        for which, each in enumerate(members):
            here = np.flatnonzero(drawn == which)
            sums[here] += _resampled(each, len(here), random)
            counts[here] += len(each)
    means = sums / counts
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(scores: Scores, times: int, random: np.random.Generator) -> Scores:
    """Sums of as many scores as there are, drawn with replacement, [times]."""
    sums, block = np.empty(times), max(1, 2_000_000 // len(scores))
    for first in range(0, times, block):
        size = min(block, times - first)
        sums[first : first + size] = scores[random.integers(0, len(scores), (size, len(scores)))].sum(1)
    return sums


def paired_p(differences: Scores, *, seed: int = 0) -> float:
    """Two-sided sign-flip permutation test of mean(differences) = 0; with n <= 13, all flips are tried."""
    moved = differences[differences != 0]
    if len(moved) == 0:
        return 1.0
    seen = abs(moved.sum()) - 1e-12
    if len(moved) <= 13:
        signs = 1 - 2 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
        return float(np.mean(np.abs(signs @ moved) >= seen))
    random = np.random.default_rng(seed)
    extreme = 0
    for _ in range(10):
        signs = 1 - 2 * random.integers(0, 2, (RESAMPLES // 10, len(moved)))
        extreme += int(np.sum(np.abs(signs @ moved) >= seen))
    return (extreme + 1) / (RESAMPLES + 1)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: adjusted p-values, monotone and at most 1."""
    adjusted: dict[str, float] = {}
    worst = 0.0
    for rank, name in enumerate(sorted(p, key=lambda each: p[each])):
        worst = max(worst, min(1.0, p[name] * (len(p) - rank)))
        adjusted[name] = worst
    return adjusted


def column(rows: Sequence[Mapping[str, object]], metric: str) -> dict[str, float]:
    """Case id -> value of `metric`, where the case has one."""
    return {
        str(row["id"]): float(value)
        for row in rows
        if isinstance(value := row.get(metric), int | float | bool | np.number)
    }


def starts(rows: Sequence[Mapping[str, object]], cases: Iterable[str]) -> Starts:
    """The start that each of these cases is of, as rows say it."""
    of = {str(row["id"]): str(row.get("start", "")) for row in rows}
    return [of[case] for case in cases]


def differences(
    rows: Sequence[Mapping[str, object]], others: Sequence[Mapping[str, object]], metric: str
) -> tuple[Scores, Starts]:
    """Value in `rows` minus value in `others`, over the cases that both have, and the start each is of."""
    mine, theirs = column(rows, metric), column(others, metric)
    both = [case for case in mine if case in theirs]
    return np.array([mine[case] - theirs[case] for case in both], dtype=np.float64), starts(rows, both)
