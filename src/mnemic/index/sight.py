"""How far keys lie apart as queries see them: an index over keys that knows who will ask.

    |k - c|_seen^2 = mean over queries q of (q . (k - c))^2 = |R (k - c)|^2,   R R = mean of q q^T

Queries are distributed differently from keys, so that lists made by distance between keys alone part what every
query confuses, and join what queries tell apart. k-means of R k joins keys that queries score alike. (The aim
of paper 50, which reaches it by a graph over keys that some query's nearest neighbours share.)
"""

from __future__ import annotations

from mnemic.index.arrays import Array, namespace

RIDGE = 1e-4  # share of the mean that every direction is looked in: what no query sees must not divide by 0


def sight(queries: Array) -> tuple[Array, Array]:
    """R and its inverse, [..., d, d] each, of `queries` [..., n, d]; rows of zeros only change their scale."""
    xp = namespace(queries)
    seen = queries.swapaxes(-1, -2) @ queries  # [..., d, d]
    seen = seen / max(1, queries.shape[-2])
    values, vectors = xp.linalg.eigh(seen)
    values = values.clip(0)
    least = RIDGE * values.mean(-1)[..., None]
    root = xp.sqrt(values + xp.where(least == 0, 1, least))[..., None, :]
    back = vectors.swapaxes(-1, -2)
    return (vectors * root) @ back, (vectors / root) @ back
