"""Distances as queries see them: what k-means of seen keys finds that k-means of keys does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mnemic.index.kmeans import kmeans
from mnemic.index.sight import sight


def test_a_seen_distance_is_the_mean_squared_difference_of_scores() -> None:
    random = np.random.default_rng(0)
    queries, keys = (
        random.standard_normal((2, 500, 6)) * [5, 1, 1, 0.1, 1, 2],
        random.standard_normal((2, 9, 6)),
    )
    root, back = sight(queries)
    for lead in range(2):
        for one in keys[lead]:
            for other in keys[lead]:
                scores = queries[lead] @ (one - other)
                seen = ((root[lead] @ (one - other)) ** 2).sum()
                assert seen == pytest.approx((scores**2).mean(), rel=1e-2)
    np.testing.assert_allclose(root @ back, np.broadcast_to(np.eye(6), (2, 6, 6)), atol=1e-9)
    found = sight(torch.from_numpy(queries))
    torch.testing.assert_close(found[0], torch.from_numpy(root))


def test_directions_that_no_query_looks_in_do_not_divide_by_zero() -> None:
    for queries in (np.zeros((3, 4)), np.zeros((0, 4)), np.array([[1.0, 0, 0, 0]])):
        root, back = sight(queries)
        assert np.isfinite(root).all()
        assert np.isfinite(back).all()


def test_where_queries_and_keys_are_distributed_differently_seen_lists_find_what_plain_ones_miss() -> None:
    """The best key of each query, in the 5% of lists whose mean scores highest."""
    random = np.random.default_rng(1)
    heard, deaf = random.standard_normal((4000, 8)), 12 * random.standard_normal((4000, 24))
    keys = np.concatenate([heard, deaf], 1)  # what differs most between keys is what no query asks about
    queries = np.concatenate([random.standard_normal((300, 8)), 0.02 * random.standard_normal((300, 24))], 1)
    best = (queries[:100] @ keys.T).argmax(1)
    root, _ = sight(queries[100:])

    def found(seen: np.ndarray) -> float:
        label = kmeans(seen, 200, seed=0)[1]
        means = np.stack([keys[label == i].mean(0) for i in range(200)])
        lists = (queries[:100] @ means.T).argsort(1)[:, -10:]
        return float((lists == label[best][:, None]).any(1).mean())

    assert found(keys) < 0.3
    assert found(keys @ root) > 0.8
