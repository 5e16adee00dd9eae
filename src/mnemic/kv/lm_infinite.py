"""Keeps the first tokens and a window, and lets no token seem farther away than the model was trained on.

    logit_ij = <R_{min(i-j, L)} q, k>,  over the first n_global tokens and the last n_local

Keys carry no positions in the cache, so that far down a text nothing is lost to the rounding of large angles.
(Paper 170.)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import Slots
from mnemic.types import Claim

PAPER = 170
CLAIM = Claim(
    says="with no distance longer than it was trained on, a model goes on where a full cache breaks down",
    task="kv_claims",
    method="lm-infinite 8K",
    baseline="full 8K",
    sabotage="lm-infinite 8K, scrambled",
    metric="copied",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class LMInfinite(Scored):
    """`sinks` is n_global; `limit` is L, None for the longest distance the model was trained on."""

    sinks: int = 10
    recent: int = 1
    limit: int | None = None

    headwise = False

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        slots = super().store(layer, nbytes)
        slots.rotary = layer.rotary()
        slots.cap = self.limit or layer.model.config.get_text_config().max_position_embeddings - 1
        return slots

    def score(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks, window=slots.window)
