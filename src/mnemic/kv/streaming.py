"""Keeps attention sinks and a window: the first few tokens and the last ones that fit.

A softmax must put its weight somewhere, and models learn to leave it on the first tokens; a window without them
breaks, with them it goes on for ever. With `positions="compact"` every key stands at its rank among those kept,
so no distance is larger than the cache; with "true" it stays where the text had it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import Slots
from mnemic.types import Claim

PAPER = 0
CLAIM = Claim(
    says="with the first tokens kept a model goes on where a window without them breaks down",
    task="kv_claims",
    method="streaming 8K",
    baseline="window 8K",
    sabotage="streaming 8K, scrambled",
    metric="copied",
    budget="the bytes of 448 tokens at hand",
)


def oldest_first(layer: Layer, block: int, nbytes: int | None, sinks: int = 4) -> Slots:
    """All pairs where they are; a budget takes the oldest first, a sliding window what it shows no more."""
    slot = layer.pair_nbytes + 4 * layer.rows
    if layer.window is not None and (nbytes is None or (layer.window + block) * slot <= nbytes):
        return Slots(scale=layer.scale, block=block, window=layer.window)
    return Streaming(block=block, sinks=sinks, positions="true").store(layer, nbytes)


@dataclass(frozen=True, kw_only=True)
class Streaming(Scored):
    recent: int = 1
    positions: Literal["compact", "true"] = "compact"

    headwise = False

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        slots = super().store(layer, nbytes)
        if self.positions == "compact":
            slots.rotary = layer.rotary()
        return slots

    def score(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks, window=slots.window)
