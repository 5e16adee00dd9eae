"""Recalls by a probe: the queries of the running block so far, those that stand out counting most.

    a_t   = mean over channels j of (q_tj - mu_j)² / (sigma_j² + mean sigma²/100)     how far token t stands out
    p     = sum of a_t q_t / sum of a_t, over the tokens of the block up to the one that recalls
    score = p·c of a block, c as in infllm
    u     = H(softmax(scale·score)) / ln(number of blocks): 1 where the layer looks everywhere, 0 at one place
    room  = u times what a query may recall, at least a block, where not everything fits

mu, sigma are those of all queries of a head in the blocks before; without any, p is the mean.

Departs from the paper: each query token has a probe of its own, made of what came before it (there: one for a
stretch of text); statistics belong to the layer and head of one text (there: shared by all); scores are inner
products (there: cosines, whose softmax is nearly even, so that u is nearly 1); what a layer leaves unused is
not given to other layers; the question is not known beforehand. (Paper 142.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemic.kv.infllm import InfLLM
from mnemic.kv.policy import Layer
from mnemic.kv.slots import PAD, Slots
from mnemic.kv.tiered import Recalled, Tiered
from mnemic.types import Claim

PAPER = 142
CLAIM = Claim(
    says="blocks recalled by what stands out among the queries find more than by the last query alone",
    task="kv_claims",
    method="actqkv 8K",
    baseline="infllm 8K",
    sabotage="actqkv 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


class Probing(Tiered):
    """Two tiers, and what queries were like so far.

    Attributes:
        spread: number, sum and sum of squares of each channel of the queries of blocks that are over
            [b, h, d, 3], float64; None before the first.
    """

    spread: Tensor | None = None

    def recall(self, query: Tensor, columns: Tensor) -> Recalled:
        """What each query token recalls, by its probe."""
        return self.gather(self.choose(self.asking(self.probe(columns), columns), query.shape[2]))

    def probe(self, columns: Tensor) -> Tensor:
        """The probe at tokens of the running block: columns [b, q] to [b, h, q, d]."""
        queries = self.near.queries
        assert queries is not None
        told = self.near.columns[:, 0, -queries.shape[2] :]  # [b, n]
        before = (told[:, None] <= columns[..., None]) & (told[:, None] > PAD)  # [b, q, n]
        share = self._standing_out(queries)[:, :, None] * before[:, None]  # [b, h, q, n]
        share = share / share.sum(3, keepdim=True).clamp_min(1e-30)
        return (share @ queries.double()).to(queries.dtype)

    def _standing_out(self, queries: Tensor) -> Tensor:
        """a of each query [b, h, n, d]: [b, h, n], float64."""
        if self.spread is None:
            return torch.ones_like(queries[..., 0], dtype=torch.float64)
        count, total, squares = self.spread[:, :, None].unbind(4)  # [b, h, 1, d]
        mean = total / count.clamp_min(1)
        variance = (squares / count.clamp_min(1) - mean.square()).clamp_min(0)
        floor = variance.mean(3, keepdim=True) / 100
        found = ((queries.double() - mean).square() / (variance + floor).clamp_min(1e-30)).mean(3)
        return torch.where(count[..., 0] > 0, found, 1.0)

    def room_for(self, scores: Tensor, length: Tensor) -> Tensor:
        """Of the room, the share of how evenly attention to units would spread."""
        even = (scores * self.near.scale).softmax(3)
        entropy = torch.special.entr(even).sum(3, keepdim=True)
        units = (length > 0).sum(3, keepdim=True)
        share = (entropy / units.clamp_min(2).log()).nan_to_num(0.0)
        room = (share * self.room).long().clamp_min(self.cut.longest)
        return torch.where(length.sum(3, keepdim=True) <= self.room, self.room, room)

    def settle(self, seen: int) -> None:
        queries = self.near.queries
        assert queries is not None
        real = (self.near.columns[:, :, -queries.shape[2] :] > PAD)[..., None].double()  # [b, 1, n, 1]
        new = (queries.double()[..., None] ** torch.arange(3) * real[..., None]).sum(2)  # [b, h, d, 3]
        self.spread = new if self.spread is None else self.spread + new
        super().settle(seen)

    def tensors(self) -> dict[str, Tensor]:
        """The state in memory, by name."""
        return super().tensors() | ({} if self.spread is None else {"spread": self.spread})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` and `offloaded` (names led by "far.") gave."""
        self.spread = tensors.pop("spread", None)
        super().restore(tensors)

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        super().rows(change)
        self.spread = None if self.spread is None else change(self.spread).contiguous()


@dataclass(frozen=True, kw_only=True)
class ActQKV(InfLLM):
    def sizes(self, layer: Layer, *, headwise: bool, watch: bool, marks: bool) -> tuple[int, int]:
        slot, fixed = super().sizes(layer, headwise=headwise, watch=watch, marks=marks)
        return slot, fixed + 8 * 3 * layer.rows * layer.heads * layer.width

    def tiered(self, near: Slots, far: dict[str, Any]) -> Tiered:
        return Probing(near, **far)
