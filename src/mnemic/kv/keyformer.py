"""Keeps key tokens by accumulated attention that noise keeps from settling on what was popular early.

    score of slot j: sum over queries i of softmax_j((q_i·k + zeta_ij) / tau_i),   zeta ~ Gumbel(0, 1)
    tau_i = tau + (tau_end - tau)·min(1, i / ramp)

Once tokens are let go, a softmax shares their attention among those that stayed; the noise and the rising
temperature smooth that. A `share` of the slots is always recent. (Paper 127.)

Departs from the paper: noise is drawn by seed, layer, head and place in the text, so that reading again gives
the same; the temperature rises with the text read (there: from the end of the prompt over what is generated);
queries of a block are added when the block is over, summed over the query heads that share a key.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import PAD, Slots, products, visible
from mnemic.types import Claim

PAPER = 127
CLAIM = Claim(
    says="noise and a rising temperature keep better tokens than accumulated attention alone",
    task="kv_claims",
    method="keyformer 25%",
    baseline="h2o 25%",
    sabotage="keyformer 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


class Noisy(Slots):
    """Slots that know where the text begins in each row, so that padding before it changes no noise.

    Attributes:
        first: column of the first real token [b, 1]; int32.
    """

    first: Tensor | None = None
    layer = 0

    def write(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> None:
        """Keep the new pairs, at the end."""
        super().write(query, keys, values, columns)
        if self.first is None or (self.first == torch.iinfo(torch.int32).max).any():
            real = self.columns[:, 0].masked_fill(self.columns[:, 0] == PAD, torch.iinfo(torch.int32).max)
            self.first = real.amin(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Keyformer(Scored):
    """`share` is w / k of the paper, 0 to 1; `ramp` the tokens over which the temperature rises."""

    sinks: int = 0
    recent: int = 1
    share: float = 0.3
    tau: float = 1.0
    tau_end: float = 2.0
    ramp: int = 4096
    seed: int = 0

    watch = True
    marks = True

    def sizes(self, layer: Layer, **kept: bool) -> tuple[int, int]:
        slot, fixed = super().sizes(layer, **kept)
        return slot, fixed + 4 * layer.rows

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        plain = super().store(layer, nbytes)
        slots = Noisy(
            scale=plain.scale, capacity=plain.capacity, block=plain.block, window=plain.window,
            score=self.score, watch=True, headwise=True,
        )  # fmt: skip
        slots.layer = layer.index
        return slots

    def score(self, slots: Slots) -> Tensor:
        assert isinstance(slots, Noisy)
        assert slots.first is not None
        assert slots.queries is not None
        _, h, q, _ = slots.queries.shape
        g = slots.keys.shape[1]
        asking = slots.columns[:, 0, -q:]
        seen = visible(asking, slots.columns, slots.window)
        logits = products(slots.queries, slots.keys, seen, slots.scale)
        at = (asking - slots.first).clamp_min(0)  # [b, q], from the first real token on
        places = (slots.columns - slots.first[:, None]).repeat_interleave(h // g, 1)
        heads = torch.arange(h, device=logits.device) + slots.layer * h
        zeta = score.gumbel(self.seed, heads[:, None, None], at[:, None, :, None], places[:, :, None])
        tau = self.tau + (self.tau_end - self.tau) * (at / self.ramp).clamp_max(1.0)
        attention = ((logits + zeta) / tau[:, None, :, None]).softmax(-1)
        attention = attention.masked_fill((asking == PAD)[:, None, :, None], 0.0)
        total = score.accumulated(slots, score.shared(attention, g))
        kept = len(slots) if slots.capacity is None else slots.capacity - slots.block
        recent = max(self.recent, int(self.share * kept))
        return score.protect(total, slots.columns, self.sinks, recent, slots.window)
