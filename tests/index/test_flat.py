"""Exact search finds what a plain loop finds, in numpy and torch, with heads, while keys come and go."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.index.flat import FlatIndex, highest, search

KINDS = ["numpy", "torch"]


def array(values: Any, kind: str) -> Any:
    values = np.asarray(values, np.float32)
    return pytest.importorskip("torch").from_numpy(values) if kind == "torch" else values


@pytest.mark.parametrize("kind", KINDS)
def test_search_equals_a_plain_loop_per_head(kind: str) -> None:
    rng = np.random.default_rng(0)
    keys, queries = rng.standard_normal((2, 3, 40, 8)), rng.standard_normal((2, 3, 5, 8))
    where = rng.random((2, 3, 1, 40)) < 0.5
    where[1, 2, 0] = False
    where[1, 2, 0, 7] = True
    mask = pytest.importorskip("torch").from_numpy(where) if kind == "torch" else where
    scores, positions = search(array(keys, kind), array(queries, kind), 6, mask)
    for head in np.ndindex(2, 3):
        for q in range(5):
            dots = [(float(keys[head][n] @ queries[head][q]), n) for n in range(40) if where[head][0, n]]
            best = sorted(dots, reverse=True)[:6]
            found = int((np.asarray(positions)[head][q] >= 0).sum())
            assert found == len(best)
            assert np.asarray(positions)[head][q][:found].tolist() == [n for _, n in best]
            np.testing.assert_allclose(scores[head][q][:found], [s for s, _ in best], rtol=1e-4)


_STEP = st.tuples(st.integers(0, 5), st.sets(st.integers(0, 40), max_size=8))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.lists(_STEP, max_size=10), st.integers(1, 7), st.integers(0, 99))
def test_the_index_finds_what_is_there_after_any_churn(
    kind: str, steps: list[tuple[int, set[int]]], k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index, there = FlatIndex(), list[tuple[int, Any]]()
    for size, gone in steps:
        keys, ids = rng.standard_normal((size, 4)).astype(np.float32), rng.integers(0, 40, size)
        index.add(array(keys, kind), ids)
        there += zip(ids.tolist(), keys, strict=True)
        assert index.remove(list(gone)) == sum(id in gone for id, _ in there)
        there = [(id, key) for id, key in there if id not in gone]
        assert len(index) == len(there)
    if not steps:
        return
    query = rng.standard_normal(4).astype(np.float32)
    allowed = np.arange(0, 40, 2)
    for where in (None, allowed):
        inside = [(id, key) for id, key in there if where is None or id in allowed]
        expected = sorted((float(key @ query) for _, key in inside), reverse=True)[:k]
        scores, ids = index.search(array(query[None], kind), k, where)
        np.testing.assert_allclose(np.asarray(scores)[0], expected, atol=1e-5)
        for found, score in zip(np.asarray(ids)[0].tolist(), np.asarray(scores)[0].tolist(), strict=True):
            assert min(abs(score - float(key @ query)) for id, key in inside if id == found) < 1e-5


def test_a_removed_key_is_gone_from_the_block() -> None:
    index = FlatIndex()
    index.add(np.full((9, 3), 7, np.float32), range(9))
    index.remove([4])
    assert index.ids.tolist() == [0, 1, 2, 3, -1, 5, 6, 7, 8]
    assert not index.keys[4].any()
    index.remove([0, 1])
    assert index.ids.tolist() == [2, 3, 5, 6, 7, 8]
    assert index.nbytes == 6 * (3 * 4 + 8)


def test_keys_that_do_not_fit_are_refused() -> None:
    index = FlatIndex()
    index.add(np.zeros((2, 3), np.float32), [1, 2])
    with pytest.raises(ValueError, match="do not fit"):
        index.add(np.zeros((2, 4), np.float32), [3, 4])
    with pytest.raises(ValueError, match="1 ids"):
        index.add(np.zeros((2, 3), np.float32), [3])
    with pytest.raises(ValueError, match="none below 0"):
        index.add(np.zeros((1, 3), np.float32), [-3])


def test_numpy_search_imports_no_torch() -> None:
    code = """
import sys, numpy as np
from mnemic.index.flat import FlatIndex
index = FlatIndex()
index.add(np.eye(3, dtype=np.float32), [1, 2, 3])
assert index.search(np.eye(3, dtype=np.float32), 1)[1].ravel().tolist() == [1, 2, 3]
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_highest_are_those_of_a_full_sort_equal_ones_in_order() -> None:
    random = np.random.default_rng(3)
    for n, k in ((0, 3), (5, 9), (200, 7), (200, 1)):
        scores = random.integers(-3, 6, n).astype(np.float32)
        expected = sorted((row for row in range(n) if scores[row] > 0), key=lambda row: (-scores[row], row))[:k]
        assert highest(scores, k).tolist() == expected
