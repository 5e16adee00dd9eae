"""One code for numpy and torch: arrays bring their namespace, torch is never imported for numpy's sake."""

from __future__ import annotations

import sys
from typing import Any

from numpy.typing import NDArray

Array = Any  # a numpy array or a torch tensor


def namespace(array: Array) -> Any:
    """The module whose functions take `array`: numpy or torch."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def like(values: NDArray[Any], array: Array) -> Array:
    """`values` as an array of the library, type and device of `array`."""
    return namespace(array).asarray(values, dtype=array.dtype, device=array.device)


def take_rows(array: Array, positions: Array) -> Array:
    """[..., m, d]: the rows of `array` [..., n, d] at `positions` [..., m]."""
    xp = namespace(array)
    if hasattr(xp, "take_along_axis"):
        return xp.take_along_axis(array, positions[..., None], -2)
    return array.gather(-2, positions[..., None].expand(*positions.shape, array.shape[-1]))


def sum_rows(array: Array, labels: Array, k: int) -> Array:
    """[..., k, d]: for each label the sum of the rows of `array` [..., n, d] that have it; labels [..., n]."""
    xp = namespace(array)
    lead, d = array.shape[:-2], array.shape[-1]
    rows = array.reshape(-1, d)
    first = k * xp.arange(len(rows) // max(1, array.shape[-2]), device=array.device)[:, None]
    into = (labels.reshape(-1, array.shape[-2]) + first).reshape(-1)
    sums = xp.zeros((len(first) * k, d), dtype=array.dtype, device=array.device)
    if hasattr(sums, "index_add_"):
        sums.index_add_(0, into, rows)
    else:
        xp.add.at(sums, into, rows)
    return sums.reshape(*lead, k, d)
