"""Keeps as many tokens as a share of the attention needs, in each layer as many as that layer needs.

    a_j  = attention to slot j from the probe queries,    ã_j = a_j / the number of probes that see j
    p    = the fewest slots with  sum of the p largest a_j >= tau · sum of all a_j
    kept = the p highest by ã_j, no more than fit

Layers of concentrated attention keep few, and take less than the budget. Each row of a batch keeps its own
number; where another keeps more, slots stand empty. What is evicted is not attended by the rest of the text, so
that reading runs over important tokens only. (Paper 18, in its later form, which evicts what the first one
stores in two bits.)

Departs from the paper: probes are the queries of the running block, at the end of which a row looks again
whenever another block would not fit (there: once, after the prompt, with as many random queries); queries of
unimportant tokens are computed like all others, as whether they are is known only later.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import PAD, Slots, best
from mnemic.types import Claim

PAPER = 18
CLAIM = Claim(
    says="as many tokens as a share of the attention needs recall more than an equal number in each layer",
    task="kv_claims",
    method="zipvl 25%",
    baseline="h2o 25%",
    sabotage="zipvl 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


class Enough(Slots):
    """Slots that keep no more than is needed: a score of -inf says that a slot is not."""

    def settle(self, seen: int) -> None:
        """At the end of a block: rows without room for another let go of what is not needed."""
        assert self.score is not None
        if self.capacity is not None and len(self) > self.capacity - self.block:
            real = self.columns > PAD
            due = real.sum(2, keepdim=True) > self.capacity - self.block
            scores = torch.where(due, self.score(self), torch.where(real, 0.0, -torch.inf))
            needed = int((scores > -torch.inf).sum(2).max())
            index = best(scores, min(self.capacity - self.block, needed))
            self.keep(index)
            self.columns = self.columns.masked_fill(scores.gather(2, index) == -torch.inf, PAD)
            self.settled = seen
        self.queries = None


@dataclass(frozen=True, kw_only=True)
class ZipVL(Scored):
    """`tau` is the share of attention that the kept slots receive."""

    sinks: int = 0
    recent: int = 1
    tau: float = 0.975

    headwise = False
    watch = True

    def store(self, layer: Layer, nbytes: int | None) -> Enough:
        plain = super().store(layer, nbytes)
        return Enough(
            scale=plain.scale, capacity=plain.capacity, block=plain.block, window=plain.window,
            score=self.score, watch=True,
        )  # fmt: skip

    def score(self, slots: Slots) -> Tensor:
        assert slots.queries is not None
        total = score.received(slots).sum(1, keepdim=True)  # [b, 1, n]
        largest = total.sort(2, descending=True).values.cumsum(2)
        enough = 1 + (largest < self.tau * largest[..., -1:]).sum(2, keepdim=True)  # p
        asking = slots.columns[:, :, -slots.queries.shape[2] :]
        probes = ((asking[:, :, None] >= slots.columns[..., None]) & (asking > PAD)[:, :, None]).sum(3)
        worth = total / probes.clamp_min(1)
        rank = worth.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
        worth = worth.masked_fill(rank >= enough, -torch.inf)
        return score.protect(worth, slots.columns, self.sinks, self.recent, slots.window)
