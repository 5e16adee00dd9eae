"""Rounded vectors give the products of the float ones within the error that is stated."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.index.rounded import BLOCK, products, rounded


@pytest.mark.parametrize("shared", [2, BLOCK * 9])
@pytest.mark.parametrize("n", [0, 1, BLOCK, BLOCK + 3])
def test_products_are_within_the_stated_error(n: int, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemic.index.rounded.SHARED", shared)
    rng = np.random.default_rng(n)
    vectors = rng.standard_normal((n, 30)).astype(np.float32) * rng.uniform(0.01, 9, (n, 1)).astype(np.float32)
    query = rng.standard_normal(30).astype(np.float32)
    rows = rounded(vectors)
    assert rows.dtype == np.int8
    assert rows.shape == (n, 34)
    bound = np.abs(vectors).max(1, initial=0) / 127 / 2 * np.abs(query).sum()
    assert (np.abs(products(rows, query) - vectors.astype(np.float64) @ query) <= bound * 1.001).all()


def test_a_row_of_zeros_stays_zero() -> None:
    assert products(rounded(np.zeros((2, 3), np.float32)), np.ones(3, np.float32)).tolist() == [0, 0]
