"""Lets every head attend to the chunks it chooses itself, laid side by side so that no distance is new.

    o      = self-attention inside a chunk, not causal, positions counted within the chunk; mean over its tokens
    c      = sum over its tokens j of softmax_j(scale·o·k_j) k_j, keys in the softmax at their places there
    chosen = the chunks of largest q·c, in order, between the first chunk and the window, without gaps

Departs from the paper: keys in the sum have no positions, like the queries they are compared with (there: those
of their places in the chunk, and the query has none); heads that share keys share o, the mean of theirs, and
choose what is best for any of them (there: every head has its own keys); queries are kept for the running chunk
only. (Paper 135.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemic.kv import score
from mnemic.kv.infllm import InfLLM
from mnemic.kv.policy import Layer
from mnemic.kv.recall import match_mean
from mnemic.kv.slots import PAD, Slots, attend
from mnemic.kv.tiered import Match, Positions, Represent, Tiered
from mnemic.types import Claim, MnemicError

PAPER = 135
CLAIM = Claim(
    says="chunks that stand for themselves, side by side, find what a window has lost",
    task="kv_claims",
    method="longheads 8K",
    baseline="streaming 8K",
    sabotage="longheads 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class LongHeads(InfLLM):
    """Chunks of equal length.

    Attributes:
        block: tokens of a chunk; the first one, of `sinks` tokens, always is at hand.
    """

    block: int = 256
    sinks: int = 256
    local: int = 768
    chosen: int = 13
    representatives: int = 0  # the whole chunk stands for itself
    positions: Positions = "compact"

    def store(self, layer: Layer, nbytes: int | None) -> Slots | Tiered:
        if layer.width != layer.value_width:
            raise MnemicError(
                f"LongHeads compares what a head read with its keys, and this model's keys have {layer.width} "
                f"channels and its values {layer.value_width}; choose another method, such as infllm"
            )
        return super().store(layer, nbytes)

    def strategy(self) -> tuple[Represent | None, Match]:
        return marked_mean, match_mean

    def score(self, slots: Slots) -> Tensor:
        new = standing(slots)
        slots.marks = new if slots.marks is None else torch.cat((slots.marks, new), 2)
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)


def marked_mean(keys: Tensor, marks: Tensor | None) -> Tensor:
    """The mean of keys [b, g, m, d] weighted by their marks [b, g, m]: [b, g, d]."""
    assert marks is not None
    share = marks / marks.sum(2, keepdim=True).clamp_min(1e-9)
    return (share.to(keys.dtype)[..., None] * keys).sum(2)


def standing(slots: Slots) -> Tensor:
    """How much each token of the chunk that is over stands for it: softmax_j(scale·o·k_j) [b, g, m]."""
    assert slots.queries is not None
    assert slots.rotary is not None
    m, g = slots.queries.shape[2], slots.keys.shape[1]
    at = torch.arange(m, device=slots.keys.device)[None, None]
    query, keys = slots.rotary.place(slots.queries, at), slots.rotary.place(slots.keys[:, :, -m:], at)
    real = slots.columns[:, :, -m:] > PAD  # [b, 1, m]
    seen = (real | ~real.any(2, keepdim=True))[:, :, None].expand(-1, -1, m, -1)
    read = attend(query, keys, slots.values[:, :, -m:], seen, slots.scale).float()  # [b, h, m, d]
    count = real.sum(2, keepdim=True).clamp_min(1)
    mean = (read * real[..., None]).sum(2) / count  # [b, h, d]
    mean = torch.unflatten(mean, 1, (g, -1)).mean(2)
    logits = (keys.float() @ mean[..., None])[..., 0] * slots.scale
    return logits.masked_fill(~real, -torch.inf).softmax(2).nan_to_num(0.0)
