"""Exact search: the inner product with every key. Fast while there are few keys, and the oracle of all others.

Arrays are numpy's or torch's; keys are [..., n, d], where the leading dimensions are heads or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnemic.index.arrays import Array, namespace
from mnemic.types import Ints, Mask


def top(scores: Array, k: int) -> tuple[Array, Array]:
    """The `k` highest of [..., n], highest first: (values [..., k], positions [..., k])."""
    xp = namespace(scores)
    k = min(k, scores.shape[-1])
    if xp is not np:
        values, positions = scores.topk(k, dim=-1)
        return values, positions
    if k < scores.shape[-1]:
        found = np.argpartition(scores, scores.shape[-1] - k, axis=-1)[..., scores.shape[-1] - k :]
    else:
        found = np.broadcast_to(np.arange(k), scores.shape)
    values = np.take_along_axis(scores, found, -1)
    order = np.lexsort((found, -values), axis=-1)
    return np.take_along_axis(values, order, -1), np.take_along_axis(found, order, -1)


def highest(scores: Array, k: int) -> Ints:
    """The positions of the `k` highest positive numbers of [n], highest first, equal ones in order."""
    rows = np.flatnonzero(scores > 0)
    if k < len(rows):
        rows = rows[scores[rows] >= np.partition(scores[rows], len(rows) - k)[len(rows) - k]]
    return rows[np.argsort(-scores[rows], kind="stable")][:k]


def search(keys: Array, queries: Array, k: int, where: Array | None = None) -> tuple[Array, Array]:
    """The `k` keys with the largest inner product, per query, largest first.

    Args:
        keys: [..., n, d]; queries: [..., q, d], same leading dimensions.
        where: mask that broadcasts to [..., q, n]; the others are not found.

    Returns:
        scores and positions, [..., q, min(k, n)]; where fewer are allowed, -inf and -1.
    """
    xp = namespace(keys)
    scores = queries @ keys.swapaxes(-1, -2)
    if where is not None:
        scores = xp.where(where, scores, -xp.inf)
    values, positions = top(scores, k)
    return values, xp.where(values == -xp.inf, -1, positions)


class FlatIndex:
    """Keys in one growing block, searched exactly.

    Attributes:
        ids: [rows] the id of each row, -1 where it was removed.
        keys: [..., rows, d] (a view), zero where removed.
    """

    def __init__(self) -> None:
        self.ids: Ints = np.empty(0, np.int64)
        self._block: Array = None  # [..., capacity, d]

    def __len__(self) -> int:
        return int((self.ids >= 0).sum())

    @property
    def keys(self) -> Array:
        if self._block is None:
            raise ValueError("the index is empty; add keys first")
        return self._block[..., : len(self.ids), :]

    @property
    def nbytes(self) -> int:
        """Bytes of keys and ids held (the room to grow is not counted: it is untouched memory)."""
        return self.ids.nbytes + (0 if self._block is None else int(self.keys.nbytes))

    def add(self, keys: Array, ids: Sequence[int] | Ints) -> None:
        """Append `keys` [..., n, d] under `ids` [n], each at least 0; an id may stand for several keys.

        Raises:
            ValueError: not one id per key, a negative id, or another shape than the keys before.
        """
        new = np.asarray(ids, np.int64)
        if keys.shape[-2] != len(new) or (len(new) and new.min() < 0):
            raise ValueError(f"{len(new)} ids, none below 0, are needed for {keys.shape[-2]} keys")
        block, rows = self._block, len(self.ids)
        if block is not None and (*block.shape[:-2], block.shape[-1]) != (*keys.shape[:-2], keys.shape[-1]):
            raise ValueError(f"keys of shape {tuple(keys.shape)} do not fit those of {tuple(self.keys.shape)}")
        if block is None or block.shape[-2] < rows + len(new):
            self._block = _empty_like(keys, rows + len(new) if block is None else (rows + len(new)) * 5 // 4)
            if block is not None:
                self._block[..., :rows, :] = block[..., :rows, :]
        self._block[..., rows : rows + len(new), :] = keys
        self.ids = np.concatenate([self.ids, new])

    def remove(self, ids: Sequence[int] | Ints) -> int:
        """Take every key of `ids` out; returns how many there were. Rows move up once a quarter is gone."""
        gone = (self.ids >= 0) & np.isin(self.ids, np.asarray(ids, np.int64))
        if not gone.any():
            return 0
        self.ids = np.where(gone, -1, self.ids)
        kept = np.flatnonzero(self.ids >= 0)
        if 4 * len(kept) <= 3 * len(self.ids):
            self._block = self._block[..., kept, :]
            self.ids = self.ids[kept]
        else:
            self._block[..., np.flatnonzero(gone), :] = 0
        return int(gone.sum())

    def search(self, queries: Array, k: int, where: Mask | Ints | None = None) -> tuple[Array, Array]:
        """Scores and ids [..., q, k'] of the nearest keys of each of `queries` [..., q, d], nearest first.

        `where` (a mask over rows, or ids) is applied before ranking; k' is min(k, the keys it allows).
        """
        allowed: Mask = self.ids >= 0
        if where is not None:
            allowed &= np.isin(self.ids, where) if where.dtype != np.bool_ else where.astype(np.bool_)
        rows = np.flatnonzero(allowed)
        keys = self.keys if len(rows) == len(self.ids) else self.keys[..., rows, :]
        scores, positions = search(keys, queries, k)
        xp = namespace(scores)
        return scores, self.ids[rows][positions] if xp is np else xp.as_tensor(self.ids[rows])[positions.cpu()]


def _empty_like(keys: Array, rows: int) -> Array:
    shape = (*keys.shape[:-2], rows, keys.shape[-1])
    xp = namespace(keys)
    return np.empty(shape, keys.dtype) if xp is np else keys.new_empty(shape)
