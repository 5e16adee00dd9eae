"""Merges the keys and values of two neighbouring layers: one direction for both, a length for each.

    omega = angle between x_{l-1} and x_l of one token and head,  u = x/|x|
    e     = sin((1-t) omega)/sin omega · u_{l-1} + sin(t omega)/sin omega · u_l         x̂_l = |x_l| e/|e|

In the upper half of the layers, two by two, for keys and values apart; the `gamma` share of tokens of largest
angle stay as they were in both layers. Merged are blocks that leave the last `residual` tokens, when both
layers have read them; what a budget cannot hold even so leaves oldest first. (Paper 119.)

Departs from the paper: it merges after the prompt, by a threshold between the smallest and largest angle there
(so that a share stays, near `gamma`); here every block keeps the same share. It then quantises what is merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers.cache_utils import get_layer_types_and_kwargs

from mnemic.kv.packed import Beside
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots
from mnemic.kv.streaming import oldest_first
from mnemic.types import Claim, MnemicError

PAPER = 119
CLAIM = Claim(
    says="layers merged in pairs hold more tokens, and so recall more, than layers kept apart",
    task="kv_claims",
    method="minicache 50%",
    baseline="streaming 50%",
    sabotage="minicache 50%, scrambled",
    metric="needle",
    budget="half of the full cache's bytes",
)


class Half(Beside):
    """The store of one of two layers: a window of its own, and blocks merged with those of the other.

    Attributes:
        lower: the store of the layer below, which owns the merged blocks; None: this is it.
    """

    prefix = "merged."

    def __init__(self, near: Slots, merging: MiniCache, lower: Half | None, most: int | None) -> None:
        super().__init__(near, most)
        self.merging = merging
        self.lower = lower

    @property
    def before(self) -> dict[str, Tensor]:
        return self.codes if self.lower is None else self.lower.codes

    def unpack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [b, g, blocks, m, d] of this layer's half of the merged blocks."""
        upper = self.lower is not None
        return restore(self.before, "key", upper), restore(self.before, "value", upper)

    def settle(self, seen: int) -> None:
        """When the upper layer has read a block, the oldest one near leaves both layers."""
        if self.lower is None or len(self.near) <= self.merging.residual:
            return
        one, two = self.lower.near, self.near
        old = slice(self.block)
        block = {"columns": one.columns[:, :, old]}
        block |= merge(one.keys[:, :, old], two.keys[:, :, old], self.merging, "key")
        block |= merge(one.values[:, :, old], two.values[:, :, old], self.merging, "value")
        self.lower.codes = self.grown(block)
        for near in (one, two):
            near.keep(torch.arange(self.block, len(near), device=near.keys.device))
            near.settled = seen


@dataclass(frozen=True, kw_only=True)
class MiniCache(Policy):
    """Two layers in one.

    Attributes:
        block: tokens merged together.
        residual: last tokens that each layer keeps for itself, at least; a multiple of `block`.
        t: how much the direction is that of the upper layer.
        gamma: share of tokens that stay unmerged.
    """

    block: int = 64
    residual: int = 128
    t: float = 0.6
    gamma: float = 0.05

    together = True

    def __post_init__(self) -> None:
        if self.residual % self.block:
            raise ValueError(
                f"{self.residual} tokens are no whole number of blocks of {self.block}; "
                "make residual a multiple of block"
            )

    @property
    def unmerged(self) -> int:
        """Tokens of a block that stay as they were."""
        return ceil(self.gamma * self.block)

    def allocate(self, layer: Layer, nbytes: int) -> int:
        """As many tokens in each layer: merged ones cost less."""
        lower = lowers(layer.model)
        plain, merged = layer.pair_nbytes + 4 * layer.rows, self.block_nbytes(layer) / 2 / self.block
        costs = [merged if {i, i - 1} & lower else plain for i in range(layer.count)]
        return int(nbytes * costs[layer.index] / sum(costs))

    def store(self, layer: Layer, nbytes: int | None) -> Half | Slots:
        lower = lowers(layer.model)
        if not {layer.index, layer.index - 1} & lower:
            return oldest_first(layer, self.block, nbytes)
        most = None
        if nbytes is not None:
            full = (layer.pair_nbytes + 4 * layer.rows) * (self.residual + self.block)
            most = 2 * (nbytes - full) // self.block_nbytes(layer) - 1  # one more while it is made
            if most < 1:
                need = full + self.block_nbytes(layer)
                raise MnemicError(
                    f"MiniCache needs at least {need} bytes in each merged layer and was given {nbytes} of the "
                    "budget; raise it, or lower residual"
                )
        below = None if layer.index in lower else layer.below
        assert below is None or isinstance(below, Half)
        return Half(Slots(scale=layer.scale, block=self.block), self, below, most)

    def block_nbytes(self, layer: Layer) -> int:
        """A merged block of both layers: directions, two lengths a vector, unmerged ones, columns."""
        size = layer.dtype.itemsize
        width, kept = layer.width + layer.value_width, self.unmerged
        head = size * (self.block * (width + 4) + 2 * kept * width) + 2 * 2 * kept
        return layer.rows * (layer.groups * head + 4 * self.block)


def lowers(model: Any) -> set[int]:
    """The lower layer of each pair: from the middle on, two by two, where neither has a sliding window."""
    kinds, settings = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
    free = [setting.get("sliding_window") is None for setting in settings]
    return {i for i in range(len(kinds) // 2, len(kinds) - 1, 2) if free[i] and free[i + 1]}


def merge(one: Tensor, two: Tensor, how: MiniCache, name: str) -> dict[str, Tensor]:
    """Vectors of two layers [b, g, m, d] as directions, lengths, and those of largest angle as they are."""
    units = [normalize(x.float(), dim=3) for x in (one, two)]
    omega = (units[0] * units[1]).sum(3, keepdim=True).clamp(-1, 1).arccos()
    sine = omega.sin()
    weights = [torch.where(sine < 1e-4, w, (w * omega).sin() / sine) for w in (1 - how.t, how.t)]
    direction = normalize(weights[0] * units[0] + weights[1] * units[1], dim=3)
    apart = omega[..., 0].argsort(dim=2, descending=True, stable=True)[:, :, : how.unmerged]
    wide = apart[..., None].expand(-1, -1, -1, one.shape[3])
    return {
        f"{name}_direction": direction.to(one.dtype),
        f"{name}_lengths": torch.stack([x.float().norm(dim=3).to(x.dtype) for x in (one, two)], 2),
        f"{name}_apart": apart.to(torch.int16),
        f"{name}_whole": torch.stack([x.gather(2, wide) for x in (one, two)], 2),
    }


def restore(merged: dict[str, Tensor], name: str, upper: bool) -> Tensor:
    """The vectors of one layer [b, g, blocks, m, d]."""
    lengths = merged[f"{name}_lengths"][:, :, :, int(upper)]
    x = lengths[..., None] * merged[f"{name}_direction"]
    whole = merged[f"{name}_whole"][:, :, :, int(upper)]
    return x.scatter(3, merged[f"{name}_apart"].to(torch.int64)[..., None].expand_as(whole), whole)
