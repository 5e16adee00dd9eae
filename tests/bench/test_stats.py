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


def test_of_several_starts_the_interval_is_over_these_and_over_the_scores_of_each() -> None:
    random = np.random.default_rng(4)
    means, starts = np.array([0.2, 0.5, 0.9]), [name for name in "abc" for _ in range(80)]
    scores = np.repeat(means, 80) + random.normal(0, 0.1, 240)
    low, high = stats.interval(scores, starts)
    chosen = np.array(list(itertools.product(range(3), repeat=3)))  # every draw of starts
    own = np.array([scores[80 * i : 80 * i + 80] for i in range(3)])
    centres, spreads = own.mean(1)[chosen].mean(1), (own.var(1)[chosen].sum(1) / 80) ** 0.5 / 3
    grid = np.linspace(0, 1, 20_001)
    below = peer.norm.cdf((grid[:, None] - centres) / spreads).mean(1)
    assert (low, high) == pytest.approx((grid[below < 0.025][-1], grid[below > 0.975][0]), abs=0.01)
    narrow = stats.interval(scores)
    assert high - low > 3 * (narrow[1] - narrow[0])


def test_scores_of_one_start_have_the_interval_of_scores_alone() -> None:
    scores = np.random.default_rng(4).normal(0, 1, 50)
    assert stats.interval(scores, ["0"] * 50) == stats.interval(scores)


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
    mine = [{"id": "1", "m": 1.0}, {"id": "2", "m": None}, {"id": "3", "m": 0.5, "start": "2"}]
    theirs = [{"id": "3", "m": 0.25}, {"id": "2", "m": 1.0}, {"id": "4", "m": 1.0}]
    delta, starts = stats.differences(mine, theirs, "m")
    assert delta.tolist() == [0.25]
    assert starts == ["2"]
