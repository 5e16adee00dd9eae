"""How much each kept slot is worth: scores over slots, the highest are kept.

Functions of tensors: b rows, g key-value heads, h query heads, q queries, n slots; results [b, g or 1, n].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from mnemic.kv.slots import PAD, Slots, visible, weights


def recency(columns: Tensor) -> Tensor:
    """The later, the more: [b, g, n]."""
    return columns.float()


def shared(attention: Tensor, groups: int) -> Tensor:
    """Attention summed over queries and the query heads that share a key: [b, h, q, n] to [b, g, n]."""
    b, h, _, n = attention.shape
    return attention.sum(2).reshape(b, groups, h // groups, n).sum(2)


def smooth(scores: Tensor, columns: Tensor, width: int) -> Tensor:
    """Mean over `width` neighbouring slots (odd), padding left out, so that whole phrases stay."""
    real = (columns > PAD).to(scores.dtype).expand_as(scores)
    total, count = (avg_pool1d(x, width, stride=1, padding=width // 2) for x in (scores * real, real))
    return total / count.clamp_min(1 / width)


def protect(
    scores: Tensor, columns: Tensor, sinks: int = 0, recent: int = 0, window: int | None = None
) -> Tensor:
    """The first `sinks` and last `recent` tokens kept are worth everything; padding, and what the model's own
    window will never show again, nothing.
    """
    columns = columns.expand(-1, scores.shape[1], -1)
    real = columns > PAD
    rank = real.cumsum(2)
    scores = scores.masked_fill(real & (rank <= sinks), torch.inf)
    scores = scores.masked_fill(real & (rank > rank[..., -1:] - recent), torch.inf)
    if window is not None:
        real = real & (columns > columns[..., -1:] - window + 1)
    return scores.masked_fill(~real, -torch.inf)


def received(slots: Slots, last: int | None = None) -> Tensor:
    """Attention from the `last` queries of the running block (None: all) to each slot [b, g, n], float32."""
    assert slots.queries is not None
    query = slots.queries if last is None else slots.queries[:, :, -last:]
    asking = slots.columns[:, 0, -query.shape[2] :]
    if slots.cap is None:
        mask = visible(asking, slots.columns, slots.window)
        attention = weights(query, slots.keys, mask, slots.scale)
    else:
        attention = slots.logits(query, asking).float().softmax(-1).reshape(*query.shape[:3], len(slots))
    attention = attention.masked_fill((asking == PAD)[:, None, :, None], 0.0)  # padding asks nothing
    return shared(attention, slots.keys.shape[1])


def accumulated(slots: Slots, total: Tensor | None = None) -> Tensor:
    """All attention each slot has received so far [b, g, n]; the sum stays with the slots as their marks.

    Args:
        total: what it received from the running block, if that is not plain attention.
    """
    total = received(slots) if total is None else total
    if slots.marks is not None:
        total[..., : slots.marks.shape[2]] += slots.marks
    slots.marks = total
    return total


def gumbel(seed: int, *places: Tensor) -> Tensor:
    """Noise -ln(-ln u) drawn by where it stands: integer places, broadcast together; u is a hash of them."""
    mixed = torch.tensor(seed)
    for place in places:
        mixed = _mix(mixed * 1_000_003 + place.to(torch.int64))
    u = ((mixed & 0xFFFFFF).float() + 0.5) / (1 << 24)
    return -(-u.log()).log()


def _mix(x: Tensor) -> Tensor:
    """A number that looks unrelated to each integer (the finaliser of splitmix64)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ (x >> shift)) * factor
    return x ^ (x >> 31)
