"""What becomes of pairs that leave full precision: fewer bits.

    code = round((x - zero) / scale),  zero = min x, scale = (max x - min x) / (2^bits - 1) over a group

Keys have channels that are large for every token, so their groups are one channel over the tokens of a block;
values have none, so theirs are one token over its channels (KIVI, Liu et al. 2024).
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor


class Codes(NamedTuple):
    """Quantised numbers: `codes` uint8, packed along the last dimension; 16-bit `scale`, `zero`."""

    codes: Tensor
    scale: Tensor
    zero: Tensor

    def named(self, name: str) -> dict[str, Tensor]:
        return {f"{name}_{part}": tensor for part, tensor in self._asdict().items()}

    @classmethod
    def of(cls, name: str, tensors: dict[str, Tensor]) -> Codes:
        return cls(*(tensors[f"{name}_{part}"] for part in cls._fields))


def quantise(x: Tensor, bits: int, over: int) -> Codes:
    """Codes of x [..., d] in groups along dimension `over`; d·bits must be whole bytes."""
    half = torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float16
    low, high = x.amin(over, keepdim=True), x.amax(over, keepdim=True)
    zero, scale = low.to(half), ((high - low) / (2**bits - 1)).to(half)
    step = scale.to(x.dtype).masked_fill(scale == 0, 1.0)
    codes = ((x - zero.to(x.dtype)) / step).round().clamp(0, 2**bits - 1).to(torch.uint8)
    return Codes(_pack(codes, bits), scale, zero)


def restore(packed: Codes, bits: int, dtype: torch.dtype) -> Tensor:
    """The numbers back, each at most half a step from where it was: [..., d]."""
    return _unpack(packed.codes, bits).to(dtype) * packed.scale.to(dtype) + packed.zero.to(dtype)


def check_bits(bits: int, *widths: int) -> None:
    """Whether vectors of these widths can be packed.

    Raises:
        ValueError: they fill no whole bytes, or no such number of bits is known.
    """
    if bits not in (1, 2, 3, 4, 8) or any(width * bits % 8 for width in widths):
        raise ValueError(
            f"{bits} bits for each of {widths} channels cannot be packed; choose 1, 2, 3, 4 or 8, so that "
            "whole bytes are filled"
        )


def _pack(codes: Tensor, bits: int) -> Tensor:
    """The fewest codes that fill whole bytes side by side: uint8 [..., d] to [..., d·bits/8]."""
    at, part, kind = _word(bits, codes.device)
    word = (torch.unflatten(codes, -1, (-1, len(at))).to(kind) << at).sum(-1, keepdim=True, dtype=kind)
    packed: Tensor = (word >> part).to(torch.uint8).flatten(-2)
    return packed


def _unpack(packed: Tensor, bits: int) -> Tensor:
    at, part, kind = _word(bits, packed.device)
    word = (torch.unflatten(packed, -1, (-1, len(part))).to(kind) << part).sum(-1, keepdim=True, dtype=kind)
    codes: Tensor = (word >> at & (2**bits - 1)).flatten(-2)
    return codes


def _word(bits: int, device: torch.device) -> tuple[Tensor, Tensor, torch.dtype]:
    """Where the codes of a word begin, where its bytes do, and what it is computed in."""
    length = 8 * bits // gcd(8, bits)
    kind = torch.uint8 if length == 8 else torch.int32
    at, part = (torch.arange(0, length, step, device=device).to(kind) for step in (bits, 8))
    return at, part, kind
