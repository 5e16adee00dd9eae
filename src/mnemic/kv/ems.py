"""Evicts, then merges: what leaves joins the kept slot most like it, or none if none is like it.

    score of slot j = max(global_j / sum global, local_j / sum local)
    global_j = attention received so far / queries that could see j,   local_j = attention of the last w queries
    a slot that leaves goes to the kept slot of largest cosine between keys, if above `alike`, else to nothing

Each score has a bias, towards early and towards late tokens; together they have less. Heads with sparse
attention evict more, heads with redundant keys merge more, each keeping the same number. (Paper 111.)

Ours, where the paper does not say: the normalisers, the threshold, the mean weighed by the tokens a slot stands
for (its logit is not raised). Departs from it: all that leaves at the end of a block may merge, there a band
below the kept ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mnemic.kv import score
from mnemic.kv.merged import Classes, Merged, Merging, ranks
from mnemic.kv.slots import PAD, Slots, best, others
from mnemic.types import Claim

PAPER = 111
CLAIM = Claim(
    says="global and local attention together, with what leaves merged, keep more than accumulated attention",
    task="kv_claims",
    method="ems 25%",
    baseline="h2o 25%",
    sabotage="ems 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class EMS(Merging):
    """`recent` is w, at most a block; `alike` the cosine above which slots merge."""

    sinks: int = 0
    alike: float = 0.6
    kernel: int = 5

    watch = True
    marks = True
    weigh = False

    def score(self, slots: Slots) -> Tensor:
        local = score.smooth(score.received(slots, self.recent), slots.columns, self.kernel)
        seen_by = (slots.columns[..., -1:] - slots.columns + 1).clamp_min(1)
        everywhere = score.accumulated(slots) / seen_by
        parts = (x * (slots.columns > PAD) for x in (everywhere, local))
        worth = torch.maximum(*(x / x.sum(2, keepdim=True).clamp_min(1e-9) for x in parts))
        return score.protect(worth, slots.columns, self.sinks, self.recent, slots.window)

    def classes(self, slots: Merged, scores: Tensor, count: int) -> Classes:
        stay = best(scores, count)
        leave = others(stay, len(slots))
        keys, alive = normalize(slots.keys.float(), dim=3), slots.alive()
        kept, gone = (keys.gather(2, i[..., None].expand(-1, -1, -1, keys.shape[3])) for i in (stay, leave))
        cosine = gone @ kept.transpose(-1, -2)
        both = alive.gather(2, leave)[..., None] & alive.gather(2, stay)[:, :, None]
        alike, nearest = cosine.masked_fill(~both, -torch.inf).max(-1)
        into = ranks(stay, len(slots))
        return stay, into.scatter(2, leave, torch.where(alike > self.alike, nearest, -1))
