"""Clusters keys instead of dropping any: neighbours that are alike become one centroid that weighs as much.

    within chunks of c slots, every other one (a) is linked to the one between (b) of largest cosine of keys
    the most similar links, over all chunks, merge a into b; averages are weighed by the tokens n they stand for
    logit of a centroid = scale·q·k̄ + ln n

The first `sinks` and last `recent` tokens are left alone. When a block does not fit, as many links merge as it
has tokens, so that every head keeps the same number. (Paper 240, also called CentroidKV.)

Departs from the paper: merging happens a block at a time while the text is read; the few outlier heads that it
finds on a corpus and keeps whole are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from mnemic.kv import score
from mnemic.kv.merged import Classes, Merged, Merging, ranks
from mnemic.kv.policy import Layer
from mnemic.kv.slots import Slots, best, others
from mnemic.types import Claim

PAPER = 240
CLAIM = Claim(
    says="like neighbours joined into clusters that weigh as much recall more than heavy hitters alone",
    task="kv_claims",
    method="chelsea 25%",
    baseline="h2o 25%",
    sabotage="chelsea 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class Chelsea(Merging):
    """`chunk` is c, the slots among which partners are sought; even."""

    sinks: int = 16
    recent: int = 64
    chunk: int = 256

    weigh = True

    def store(self, layer: Layer, nbytes: int | None) -> Merged:
        if self.chunk % 2 or self.chunk < 2:
            raise ValueError(f"chunks of {self.chunk} slots have no halves; make chunk even")
        return super().store(layer, nbytes)

    @property
    def fewest(self) -> int:
        return self.sinks + self.recent + 2 + self.block  # twice as many free ones as have to go

    def score(self, slots: Slots) -> Tensor:
        return score.recency(slots.columns)  # of no account: whatever is alike merges

    def classes(self, slots: Merged, scores: Tensor, count: int) -> Classes:
        partner, alike = self.links(slots)
        worth_less = alike.masked_fill(~slots.alive(), torch.inf)  # what nobody can see goes first
        leave = best(worth_less, len(slots) - count)
        stay = others(leave, len(slots))
        into = ranks(stay, len(slots))
        merged = torch.where(slots.alive(), into.gather(2, partner), -1)
        return stay, torch.where(into < 0, merged, into)

    def links(self, slots: Merged) -> tuple[Tensor, Tensor]:
        """The slot each would merge into [b, g, n], and how alike they are: -inf where it would not merge."""
        alive = slots.alive()
        rank = alive.cumsum(2)
        free = alive & (rank > self.sinks) & (rank <= rank[..., -1:] - self.recent)
        order = (~free).to(torch.uint8).argsort(dim=2, stable=True)  # the free ones first, in order of time
        n = order.shape[2]
        more = -n % self.chunk
        keys = normalize(slots.keys.float(), dim=3).gather(2, order[..., None].expand_as(slots.keys))
        keys = torch.unflatten(pad(keys, (0, 0, 0, more)), 2, (-1, self.chunk))
        real = torch.unflatten(pad(free.gather(2, order), (0, more)), 2, (-1, self.chunk))
        cosine = keys[:, :, :, 0::2] @ keys[:, :, :, 1::2].transpose(-1, -2)
        both = real[:, :, :, 0::2][..., None] & real[:, :, :, 1::2][..., None, :]
        cosine = cosine.masked_fill(~both, -torch.inf)
        alike, nearest = cosine.max(-1)  # [b, g, chunks, c/2]
        start = torch.arange(0, n + more, self.chunk, device=order.device)[:, None]
        found = torch.full((*order.shape[:2], n + more), -torch.inf, device=order.device)
        partner = torch.zeros_like(found, dtype=torch.int64)
        found[:, :, 0::2] = alike.flatten(2)
        partner[:, :, 0::2] = (start + 1 + 2 * nearest).flatten(2)
        partner = order.gather(2, partner[:, :, :n].clamp_max(n - 1))
        back = order.argsort(2)
        return partner.gather(2, back), found[:, :, :n].gather(2, back)
