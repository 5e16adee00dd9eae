"""Prefix scan: all prefixes of a sequence under an associative operator, in O(length) work and O(log) depth.

Neighbours are combined in pairs, the sequence of half the length is scanned, and the prefixes that end inside a
pair follow from those that end before it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Leaves = tuple[Tensor, ...]


def scan(combine: Callable[[Leaves, Leaves], Leaves], leaves: Leaves) -> Leaves:
    """x_0, x_0 + x_1, x_0 + x_1 + x_2, ... for `combine` as +; tensors [..., length, any size]."""
    length = leaves[0].shape[-2]
    if length == 1:
        return leaves
    firsts = tuple(x[..., 0 : length - 1 : 2, :] for x in leaves)
    seconds = tuple(x[..., 1::2, :] for x in leaves)
    odd = scan(combine, combine(firsts, seconds))
    inner = (length - 1) // 2
    even = combine(tuple(x[..., :inner, :] for x in odd), tuple(x[..., 2::2, :] for x in leaves))
    return tuple(
        _woven(torch.cat([x[..., :1, :], e], -2), o) for x, e, o in zip(leaves, even, odd, strict=True)
    )


def _woven(even: Tensor, odd: Tensor) -> Tensor:
    """[..., n or n + 1, d] and [..., n, d] -> [..., 2n or 2n + 1, d], taken in turns."""
    n = odd.shape[-2]
    both = torch.stack([even[..., :n, :], odd], -2).flatten(-3, -2)
    return torch.cat([both, even[..., n:, :]], -2)
