"""Leaves no token behind: what another method would let go of stays in two bits, the rest in full precision.

    b_c  = sqrt(max |q_c| / max |k_c|)                 balances channels with outliers
    code = round((b⊙k - zero_t) / scale_t),            q·k = (q/b)·(b⊙k)
    values likewise, unbalanced; zero and scale of a token over its channels

`over` says what is important, by attention among the important; `ratio` of all tokens are, once the budget is
full. What it cannot hold even so goes in the order of leaving. Without a budget everything stays important.
(Paper 62.)

Departs from the paper: tokens lose importance a block at a time, each block with its own balance: of the
queries of the running block (the greatest over heads that share a key), and of the important keys and its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mnemic.kv.h2o import H2O
from mnemic.kv.packed import Packed
from mnemic.kv.policy import Layer, Policy, Scored
from mnemic.kv.retire import Codes, check_bits, quantise, restore
from mnemic.kv.slots import PAD, Slots
from mnemic.types import Claim, MnemicError

PAPER = 62
CLAIM = Claim(
    says="what others evict, kept in two bits, recalls more than without it",
    task="kv_claims",
    method="mikv 25%",
    baseline="h2o 25%",
    sabotage="mikv 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True)
class Balanced:
    """Few bits for each token, outliers of its key balanced before."""

    bits: int

    def pack(self, keys: Tensor, values: Tensor, columns: Tensor, near: Slots) -> dict[str, Tensor]:
        balance = self.balance(near).to(keys.dtype)
        keys = keys * balance[:, :, None]
        codes = quantise(keys, self.bits, over=3).named("key") | {"balance": balance}
        return codes | quantise(values, self.bits, over=3).named("value")

    def balance(self, near: Slots) -> Tensor:
        """b of each channel [b, g, d]; padding counts for nothing."""
        assert near.queries is not None
        b, _, q, d = near.queries.shape
        asking = near.columns[:, 0, -q:] > PAD
        query = (near.queries.float().abs() * asking[:, None, :, None]).amax(2)
        query = query.reshape(b, near.keys.shape[1], -1, d).amax(2)
        keys = (near.keys.float().abs() * (near.columns > PAD)[..., None]).amax(2)
        return (query.clamp_min(1e-3) / keys.clamp_min(1e-3)).sqrt()

    def unpack(self, codes: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        keys = restore(Codes.of("key", codes), self.bits, dtype) / codes["balance"][:, :, :, None]
        return keys, restore(Codes.of("value", codes), self.bits, dtype)


@dataclass(frozen=True, kw_only=True)
class MiKV(Policy):
    """`bits` of what is not important; `ratio` the share that is; `over` chooses those."""

    ratio: float = 0.25
    bits: int = 2
    over: Scored = field(default_factory=H2O)

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError(f"a ratio of {self.ratio} mixes no two precisions; it lies between 0 and 1")
        object.__setattr__(self, "over", replace(self.over, block=self.block))
        object.__setattr__(self, "observes", self.over.observes)

    def store(self, layer: Layer, nbytes: int | None) -> Packed:
        check_bits(self.bits, layer.width, layer.value_width)
        near, over = self.over.store(layer, None), self.over
        if near.rotary is not None:
            raise ValueError(
                f'{type(over).__name__} moves keys, which MiKV cannot; choose positions="true" there'
            )
        near.watch, most = True, None
        if nbytes is not None:
            slot, fixed = over.sizes(layer, headwise=over.headwise, watch=True, marks=over.marks)
            packed = self.block_nbytes(layer)
            spare = nbytes - fixed
            important = spare / (slot + packed / self.block * (1 - self.ratio) / self.ratio)
            least = -(-(over.fewest + self.block) // self.block) * self.block
            near.capacity = max(int(important) // self.block * self.block, least)
            most = (spare - near.capacity * slot) // packed
            if most < 1:
                need = layer.count * (fixed + least * slot + packed)
                raise MnemicError(
                    f"MiKV over {type(over).__name__} needs at least {need} bytes and was given "
                    f"{nbytes * layer.count}; raise the budget, or choose a smaller block"
                )
        return Packed(near, Balanced(self.bits), most)

    def block_nbytes(self, layer: Layer) -> int:
        """Codes, two 16-bit numbers a token and pair, the balance, columns."""
        pair = (layer.width + layer.value_width) * self.bits // 8 + 8
        columns = 4 * self.block * (layer.groups if self.over.headwise else 1)
        return layer.rows * (layer.groups * (self.block * pair + layer.width * layer.dtype.itemsize) + columns)
