import itertools

import numpy as np
import pytest
from scipy import stats as peer

from mnemic.bench import stats


def test_the_interval_is_that_of_a_peer_library() -> None:
    scores = np.random.default_rng(3).binomial(1, 0.8, 120).astype(float)
    low, high = stats.interval(scores)
    theirs = peer.bootstrap(
        (scores,), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_scores_without_spread_have_an_interval_without_width() -> None:
    assert stats.interval(np.ones(7)) == (1.0, 1.0)
    assert all(np.isnan(stats.interval(np.array([]))))


def test_few_pairs_are_tested_against_every_flip_of_signs() -> None:
    delta = np.array([0.3, -0.1, 0.5, 0.2, 0.0, 0.4])
    moved = delta[delta != 0]
    flips = [
        abs(sum(s * d for s, d in zip(signs, moved, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    assert stats.paired_p(delta) == pytest.approx(np.mean([f >= abs(moved.sum()) - 1e-12 for f in flips]))


def test_many_pairs_agree_with_a_peer_library() -> None:
    delta = np.random.default_rng(5).normal(0.15, 1, 60)
    theirs = peer.permutation_test(
        (delta, np.zeros(60)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=2,
    )
    assert stats.paired_p(delta) == pytest.approx(theirs.pvalue, abs=0.02)


def test_holm_by_hand() -> None:
    assert stats.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_only_cases_that_both_systems_have_are_compared() -> None:
    mine = [{"id": "1", "m": 1.0}, {"id": "2", "m": None}, {"id": "3", "m": 0.5}]
    theirs = [{"id": "3", "m": 0.25}, {"id": "2", "m": 1.0}, {"id": "4", "m": 1.0}]
    assert stats.differences(mine, theirs, "m").tolist() == [0.25]
