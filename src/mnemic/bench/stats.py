"""Intervals and tests over per-case scores: bootstrap for means, sign-flip permutation for pairs, Holm.

Everything is over cases, resampled with a stated seed, so that a result can be made again to the digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

RESAMPLES = 10_000


def interval(scores: Scores, *, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `scores` [n]; (nan, nan) for n = 0."""
    if len(scores) == 0:
        return float("nan"), float("nan")
    if np.all(scores == scores[0]):
        return float(scores[0]), float(scores[0])
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    block = max(1, 2_000_000 // len(scores))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        means[start : start + size] = scores[random.integers(0, len(scores), (size, len(scores)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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


def differences(
    rows: Sequence[Mapping[str, object]], others: Sequence[Mapping[str, object]], metric: str
) -> Scores:
    """Value in `rows` minus value in `others`, over the cases that both have."""
    mine, theirs = column(rows, metric), column(others, metric)
    return np.array([mine[case] - theirs[case] for case in mine if case in theirs], dtype=np.float64)
