"""k-means: a few centroids that stand for many keys.

Lloyd (1982), started by k-means++ (Arthur and Vassilvitskii 2007):

    assign   label(x) = argmin_j ||x - c_j||^2
    update   c_j = mean of the x with label j

The first centroid is drawn uniformly, each next one with a probability proportional to its squared distance to
the nearest so far; a centroid that loses all its keys moves to one of the keys that are served worst.
"""

from __future__ import annotations

import numpy as np

from mnemic.index.arrays import Array, like, namespace, sum_rows, take_rows

BLOCK = 1024  # keys compared with all centroids at a time


def kmeans(
    keys: Array, k: int, *, seed: int, iterations: int = 25, start: Array | None = None
) -> tuple[Array, Array]:
    """Centroids [..., k, d] and labels [..., n] of `keys` [..., n, d], each leading index on its own.

    Stops when no label changes, at the latest after `iterations`; labels always are the nearest centroids.

    Args:
        start: centroids to begin with [..., k, d]; None: k-means++, by `seed`.

    Raises:
        ValueError: `k` is not 1 to n.
    """
    if not 1 <= k <= keys.shape[-2]:
        raise ValueError(f"{keys.shape[-2]} keys cannot be given {k} centroids; use 1 to {keys.shape[-2]}")
    xp = namespace(keys)
    centroids = _start(keys, k, np.random.default_rng(seed)) if start is None else start
    labels, squared = assign(keys, centroids)
    for _ in range(iterations):
        centroids = _means(keys, labels, squared, centroids)
        before = labels
        labels, squared = assign(keys, centroids)
        if xp.all(labels == before):
            break
    return centroids, labels


def assign(keys: Array, centroids: Array) -> tuple[Array, Array]:
    """The nearest centroid of each key and its squared distance, [..., n] each (the lowest of equal ones)."""
    xp = namespace(keys)
    labels, squared = [], []
    halves = (centroids**2).sum(-1)[..., None, :] / 2  # [..., 1, k]
    for at in range(0, keys.shape[-2], BLOCK):
        block = keys[..., at : at + BLOCK, :]
        nearness = block @ centroids.swapaxes(-1, -2)  # [..., block, k]
        nearness -= halves  # (||x||^2 - ||x - c||^2) / 2
        nearest = nearness.argmax(-1)
        labels.append(nearest)
        squared.append(((block - take_rows(centroids, nearest)) ** 2).sum(-1))
    return xp.concatenate(labels, -1), xp.concatenate(squared, -1)


def _start(keys: Array, k: int, random: np.random.Generator) -> Array:
    xp = namespace(keys)
    chosen: list[Array] = []
    squared = xp.ones_like(keys[..., 0])  # [..., n]
    for _ in range(k):
        # the largest of log p + Gumbel noise is a draw from p
        noise = like(random.gumbel(size=tuple(squared.shape)), keys)
        position = (xp.log(squared + 1e-30) + noise).argmax(-1)[..., None]  # [..., 1]
        chosen.append(take_rows(keys, position))
        distance = ((keys - chosen[-1]) ** 2).sum(-1)
        squared = distance if len(chosen) == 1 else xp.minimum(squared, distance)
    return xp.concatenate(chosen, -2)


def _means(keys: Array, labels: Array, squared: Array, centroids: Array) -> Array:
    xp = namespace(keys)
    sums = sum_rows(keys, labels, centroids.shape[-2])
    counts = sum_rows(xp.ones_like(keys[..., :1]), labels, centroids.shape[-2])
    means = sums / xp.where(counts == 0, 1, counts)
    worst = xp.argsort(-squared, -1)[..., : centroids.shape[-2]]  # one candidate for each centroid
    rank = xp.asarray(counts[..., 0] == 0, dtype=labels.dtype).cumsum(-1) - 1  # the i-th empty one
    return xp.where(counts == 0, take_rows(keys, take_rows(worst[..., None], rank.clip(0))[..., 0]), means)
