"""Keeps every pair in two bits: keys quantised by channel, values by token, the last ones in full precision.

    key code   = round((k - zero_c) / scale_c),  zero and scale of channel c over a block of tokens
    value code = round((v - zero_t) / scale_t),  zero and scale of token t over its channels

What a budget cannot hold even so leaves oldest first. (Baseline; Liu et al. 2024, KIVI.)
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.packed import Bits, Residual
from mnemic.kv.policy import Layer
from mnemic.kv.retire import check_bits
from mnemic.types import Claim

PAPER = 0
CLAIM = Claim(
    says="more tokens in two bits recall more than fewer in full precision",
    task="kv_claims",
    method="kivi 25%",
    baseline="streaming 25%",
    sabotage="kivi 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class KIVI(Residual):
    """`bits` of a key's or value's channel: 1, 2, 3, 4 or 8."""

    bits: int = 2

    def codec(self, layer: Layer) -> Bits:
        check_bits(self.bits, layer.width, layer.value_width)
        return Bits(self.bits, self.bits)

    def block_nbytes(self, layer: Layer) -> int:
        """Codes, two 16-bit numbers a group, columns."""
        codes = self.block * (layer.width + layer.value_width) * self.bits // 8
        groups = layer.width + self.block
        return layer.rows * (layer.groups * (codes + 4 * groups) + 4 * self.block)
