"""The compressed index gives what exact search gives, through churn and filters; its scores are exact."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.index.compressed import CompressedIndex
from mnemic.index.flat import FlatIndex

pytest.importorskip("turbovec")
DIM = 64


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    """Keys in loose groups, as texts are."""
    keys = rng.standard_normal((40, DIM))[rng.integers(0, 40, n)] + rng.standard_normal((n, DIM))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)


def test_through_churn_and_filters_it_finds_what_exact_search_finds() -> None:
    rng = np.random.default_rng(0)
    index, oracle, next_id = CompressedIndex(DIM), FlatIndex(), 0
    found = wanted = 0
    for step in range(6):
        keys = unit(rng, 3000 if step == 0 else 700)
        ids = np.arange(next_id, next_id + len(keys)) // 2  # two keys an id
        next_id += len(keys)
        index.add(keys, ids)
        oracle.add(keys, ids)
        gone = rng.choice(next_id // 2, 300, replace=False)
        assert index.remove(gone) == oracle.remove(gone)
        assert len(index) == len(oracle)
        queries = unit(rng, 30)
        for where in (None, np.arange(0, next_id, 3), rng.choice(next_id // 2, 30, replace=False)):
            scores, got = index.search(queries, 10, where)
            expected, right = oracle.search(queries, 10, where)
            for row in range(len(queries)):
                found += len(np.intersect1d(got[row], right[row]))
                wanted += len(np.unique(right[row]))
                assert where is None or np.isin(got[row], where).all()
            assert (scores <= expected + 1e-5).all()
            assert not np.isin(got, gone).any()
    assert found / wanted >= 0.99


def test_scores_are_those_of_the_float_keys() -> None:
    rng = np.random.default_rng(1)
    index, keys = CompressedIndex(DIM), unit(rng, 2000)
    index.add(keys, np.arange(2000))
    index.remove([5, 1999, 0])
    query = unit(rng, 1)
    scores, ids = index.search(query, 20)
    np.testing.assert_allclose(scores[0], keys[ids[0]] @ query[0], atol=1e-6)
    assert index.nbytes == 1997 * (DIM * 4 + DIM // 2 + 8)


def test_a_filter_that_leaves_few_is_searched_exactly() -> None:
    rng = np.random.default_rng(2)
    index, keys = CompressedIndex(DIM), unit(rng, 3000)
    index.add(keys, np.arange(3000))
    few = rng.choice(3000, 45, replace=False)
    scores, ids = index.search(keys[:1], 45, few)
    np.testing.assert_allclose(scores[0], np.sort(keys[few] @ keys[0])[::-1], atol=1e-6)
    assert set(ids[0]) == set(few)
    assert index.search(keys[:1], 5, np.array([-9]))[1].shape == (1, 0)


def test_keys_that_do_not_fit_are_refused() -> None:
    index = CompressedIndex(DIM)
    with pytest.raises(ValueError, match="2 ids"):
        index.add(np.zeros((1, DIM), np.float32), [1, 2])
