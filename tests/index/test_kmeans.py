"""k-means ends where plain loops say it must: keys with their nearest centroid, centroids amid their keys."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mnemic.index import kmeans as module
from mnemic.index.kmeans import assign, kmeans


def blobs(seed: int, heads: tuple[int, ...] = (), n: int = 120, centres: int = 4) -> Any:
    rng = np.random.default_rng(seed)
    middle = 50 * np.eye(centres, 5) + rng.standard_normal((*heads, 1, 5))
    keys = middle[..., np.arange(n) % centres, :] + rng.standard_normal((*heads, n, 5))
    return keys.astype(np.float32)


@pytest.mark.parametrize("block", [7, 4096])
def test_at_the_end_nothing_would_move(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    keys = np.random.default_rng(0).standard_normal((2, 90, 3)).astype(np.float32)
    centroids, labels = kmeans(keys, 6, seed=1, iterations=500)
    for head in range(2):
        for key, label in zip(keys[head], labels[head], strict=True):
            assert label == np.argmin([float(((key - c) ** 2).sum()) for c in centroids[head]])
        for j in range(6):
            mean = keys[head][labels[head] == j].astype(np.float64).mean(0)
            np.testing.assert_allclose(centroids[head][j], mean, atol=1e-5)


def test_separate_groups_are_found_in_every_head() -> None:
    keys = blobs(0, heads=(2, 3))
    _, labels = kmeans(keys, 4, seed=0)
    for head in np.ndindex(2, 3):
        together = labels[head][:, None] == labels[head][None]
        group = np.arange(120) % 4
        np.testing.assert_array_equal(together, group[:, None] == group[None])


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    keys = blobs(3, heads=(2,))
    centroids, labels = kmeans(keys, 4, seed=5)
    theirs, found = kmeans(torch.from_numpy(keys), 4, seed=5)
    np.testing.assert_allclose(theirs.numpy(), centroids, atol=1e-4)
    np.testing.assert_array_equal(found.numpy(), labels)


def test_more_iterations_never_serve_worse() -> None:
    keys = np.random.default_rng(2).standard_normal((300, 4)).astype(np.float32)
    cost = [float(assign(keys, kmeans(keys, 9, seed=0, iterations=n)[0])[1].sum()) for n in range(8)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(cost))


def test_no_centroid_stays_without_keys_while_keys_differ() -> None:
    keys = np.repeat(np.arange(6, dtype=np.float32)[:, None] ** 3, 10, 0)
    centroids, labels = kmeans(keys, 6, seed=0)
    assert sorted(centroids[:, 0].tolist()) == [0, 1, 8, 27, 64, 125]
    assert len(set(labels.tolist())) == 6
    again, _ = kmeans(np.zeros((5, 2), np.float32), 3, seed=0)
    assert not np.isnan(again).any()


def test_a_count_that_cannot_be_is_refused() -> None:
    for k in (0, 4):
        with pytest.raises(ValueError, match="3 keys"):
            kmeans(np.zeros((3, 2), np.float32), k, seed=0)
