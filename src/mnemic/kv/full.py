"""Keeps everything: the exact cache that every other method is compared with.

Layers with a sliding window keep that window, as the model itself never looks farther. A budget is a promise
here: what does not fit raises an error instead of being dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots

PAPER = 0


@dataclass(frozen=True, kw_only=True)
class Full(Policy):
    block: int = 512

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        return Slots(scale=layer.scale, block=self.block, window=layer.window)
