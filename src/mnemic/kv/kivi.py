"""Keeps every pair in two bits: keys quantised by channel, values by token, the last ones in full precision.

    key code   = round((k - zero_c) / scale_c),  zero and scale of channel c over a block of tokens
    value code = round((v - zero_t) / scale_t),  zero and scale of token t over its channels

What a budget cannot hold even so leaves oldest first. (Baseline; Liu et al. 2024, KIVI.)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.packed import Packed
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots
from mnemic.types import MnemicError

PAPER = 0


@dataclass(frozen=True, kw_only=True)
class KIVI(Policy):
    """Two precisions.

    Attributes:
        block: tokens quantised together.
        residual: last tokens in full precision, at least; a multiple of `block`.
        bits: of a key's or value's channel: 1, 2, 4 or 8.
    """

    block: int = 32
    residual: int = 128
    bits: int = 2

    def store(self, layer: Layer, nbytes: int | None) -> Packed:
        if self.bits not in (1, 2, 4, 8) or self.residual % self.block:
            raise ValueError(
                f"{self.bits} bits and {self.residual} tokens in blocks of {self.block} cannot be packed; "
                "bits are 1, 2, 4 or 8, and residual is a multiple of block"
            )
        near = Slots(
            scale=layer.scale, capacity=self.residual + self.block, block=self.block, window=layer.window,
            score=self.score,
        )  # fmt: skip
        full = (layer.pair_nbytes + 4 * layer.rows) * (self.residual + self.block)
        if nbytes is not None and nbytes < full + self.block_nbytes(layer):
            need = (full + self.block_nbytes(layer)) * layer.count
            raise MnemicError(
                f"KIVI needs at least {need} bytes for {self.residual + self.block} tokens in full precision "
                f"and a block, and was given {nbytes * layer.count}; raise the budget, or lower residual"
            )
        most = None if nbytes is None else (nbytes - full) // self.block_nbytes(layer)
        return Packed(near, key_bits=self.bits, value_bits=self.bits, most=most)

    def block_nbytes(self, layer: Layer) -> int:
        """Bytes of one quantised block of one layer: codes, two 16-bit numbers a group, columns."""
        codes = self.block * (layer.width + layer.value_width) * self.bits // 8
        groups = layer.width + self.block
        return layer.rows * (layer.groups * (codes + 4 * groups) + 4 * self.block)

    def score(self, slots: Slots) -> Tensor:
        return score.recency(slots.columns)
