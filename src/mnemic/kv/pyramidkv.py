"""Gives lower layers more slots than upper ones, along a straight line; another method chooses them.

    bytes of layer l of m = least + spare·w_l,   w_0 = 2 - 1/beta,  w_{m-1} = 1/beta,  linear in between

`spare` is the mean over layers of what the budget leaves above the least that method needs in a layer.
Attention is wide in lower layers and narrows to few tokens in upper ones. (Baseline; Cai et al. 2024,
PyramidKV, which chooses as SnapKV does.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mnemic.kv.policy import Layer, Policy, Scored
from mnemic.kv.slots import Slots
from mnemic.kv.snapkv import SnapKV
from mnemic.types import Claim

PAPER = 0
CLAIM = Claim(
    says="more slots for lower layers than for upper ones recall more than as many for each",
    task="kv_claims",
    method="pyramidkv 25%",
    baseline="snapkv 25%",
    sabotage="pyramidkv 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class PyramidKV(Policy):
    """`beta` is how many times its mean share the topmost layer gets less; `over` chooses the slots."""

    beta: float = 20.0
    over: Scored = field(default_factory=SnapKV)

    def __post_init__(self) -> None:
        if self.beta < 1:
            raise ValueError(
                f"beta = {self.beta} would give upper layers more than lower ones; beta is at least 1"
            )
        object.__setattr__(self, "over", replace(self.over, block=self.block))
        for name in ("observes", "together", "look"):
            object.__setattr__(self, name, getattr(self.over, name))

    def allocate(self, layer: Layer, nbytes: int) -> int:
        mean, least = nbytes // layer.count, self.over.least(layer)
        if mean < least:
            return mean  # too little, which the store will say
        top = 1 / self.beta
        height = 1.0 if layer.count == 1 else 2 - top - 2 * (1 - top) * layer.index / (layer.count - 1)
        return least + int((mean - least) * height)

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        return self.over.store(layer, nbytes)
