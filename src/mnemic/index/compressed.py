"""Search in 4 bits per number, then exactly among the best: for sets too large to read whole at each question.

The scan is turbovec's (extra `compressed`), a filter is applied inside it, and where a filter leaves few keys
they are compared exactly instead. A cache of its keys: it can be thrown away and built again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnemic.index.flat import search, top
from mnemic.types import Floats, Ints, Mask, MnemicError

BITS = 4
WIDER = 4  # candidates compared exactly, per result asked for
LEAST = 40  # and at least so many
SAMPLE = 4096  # keys that the codes are fitted to
FEW = 0.02  # share of keys up to which those a filter leaves are compared exactly


class CompressedIndex:
    """As `FlatIndex`, for float32 keys [n, d]; ids are the records', one may stand for several keys.

    Attributes:
        ids: [n] the id of each slot; slots change places when keys are removed.

    Raises:
        MnemicError: turbovec is not installed.
    """

    def __init__(self, dim: int) -> None:
        try:
            import turbovec
        except ImportError:
            raise MnemicError("a compressed index needs turbovec: pip install 'mnemic[compressed]'") from None
        self._codes = turbovec.TurboQuantIndex(dim, BITS)
        self._keys = np.empty((0, dim), np.float32)
        self.ids: Ints = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of keys, codes and ids."""
        return self._keys.nbytes + self._keys.size * BITS // 8 + self.ids.nbytes

    def add(self, keys: Floats, ids: Sequence[int] | Ints) -> None:
        """Append `keys` [n, d] under `ids` [n]. Start with many: the codes are fitted to the first ones.

        Raises:
            ValueError: not one id per key, or keys of another length.
        """
        new = np.asarray(ids, np.int64)
        if keys.shape != (len(new), self._keys.shape[1]):
            raise ValueError(
                f"{len(new)} ids need keys of shape {(len(new), self._keys.shape[1])}, not {keys.shape}"
            )
        if not len(new):
            return
        if not len(self):
            self._codes.calibrate(np.random.default_rng(0).permutation(keys)[:SAMPLE])
        self._codes.add(np.ascontiguousarray(keys, np.float32))
        self._keys = np.concatenate([self._keys, keys])
        self.ids = np.concatenate([self.ids, new])

    def remove(self, ids: Sequence[int] | Ints) -> int:
        """Take every key of `ids` out; returns how many there were."""
        slots = np.flatnonzero(np.isin(self.ids, np.asarray(ids, np.int64)))
        place = np.arange(len(self))
        for slot in slots[::-1].tolist():  # the last key moves into each emptied slot
            last = len(self._codes) - 1
            self._codes.swap_remove(slot)
            place[slot] = place[last]
        place = place[: len(self._codes)]
        self._keys, self.ids = self._keys[place], self.ids[place]
        return len(slots)

    def search(self, queries: Floats, k: int, where: Mask | Ints | None = None) -> tuple[Floats, Ints]:
        """Exact scores and the ids [q, k'] of the nearest keys of `queries` [q, d], nearest first.

        `where` (a mask over slots, or ids) is applied before ranking; k' is min(k, the keys it allows). A key
        is missed only if its code ranks behind the candidates.
        """
        mask = None
        if where is not None:
            mask = np.isin(self.ids, where) if where.dtype != np.bool_ else where.astype(np.bool_)
        count = len(self) if mask is None else int(mask.sum())
        if count <= max(FEW * len(self), WIDER * k, LEAST):
            slots = np.arange(len(self)) if mask is None else np.flatnonzero(mask)
            scores, positions = search(self._keys[slots], queries, k)
            return scores, self.ids[slots][positions]
        _, found = self._codes.search(
            np.ascontiguousarray(queries, np.float32), max(WIDER * k, LEAST), mask=mask
        )
        slots = found.astype(np.int64)  # [q, candidates]
        exact = (self._keys[slots] @ queries[:, :, None])[..., 0]
        scores, best = top(exact, k)
        return scores, self.ids[np.take_along_axis(slots, best, 1)]
