"""What becomes of pairs that leave full precision: fewer bits.

    code = round((x - zero) / scale),  zero = min x, scale = (max x - min x) / (2^bits - 1) over a group

Keys have channels that are large for every token, so their groups are one channel over the tokens of a block;
values have none, so theirs are one token over its channels (KIVI, Liu et al. 2024).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Codes(NamedTuple):
    """Quantised numbers: `codes` uint8, 8/bits to a byte along the last dimension; 16-bit `scale`, `zero`."""

    codes: Tensor
    scale: Tensor
    zero: Tensor


def quantise(x: Tensor, bits: int, over: int) -> Codes:
    """Codes of x [..., d] in groups along dimension `over`; d·bits must be whole bytes."""
    half = torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float16
    low, high = x.amin(over, keepdim=True), x.amax(over, keepdim=True)
    zero, scale = low.to(half), ((high - low) / (2**bits - 1)).to(half)
    step = scale.to(x.dtype).masked_fill(scale == 0, 1.0)
    codes = ((x - zero.to(x.dtype)) / step).round().clamp(0, 2**bits - 1).to(torch.uint8)
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=x.device)
    packed: Tensor = (torch.unflatten(codes, -1, (-1, 8 // bits)) << shifts).sum(-1, dtype=torch.uint8)
    return Codes(packed, scale, zero)


def restore(packed: Codes, bits: int, dtype: torch.dtype) -> Tensor:
    """The numbers back, each at most half a step from where it was: [..., d]."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.codes.device)
    codes: Tensor = ((packed.codes[..., None] >> shifts) & (2**bits - 1)).flatten(-2)
    return codes.to(dtype) * packed.scale.to(dtype) + packed.zero.to(dtype)
