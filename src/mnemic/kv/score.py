"""How much each kept slot is worth: scores over slots, the highest are kept.

Functions of tensors: b rows, g key-value heads, h query heads, q queries, n slots; results [b, g or 1, n].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from mnemic.kv.slots import PAD


def recency(columns: Tensor) -> Tensor:
    """The later, the more: [b, g, n]."""
    return columns.float()


def received(attention: Tensor, groups: int) -> Tensor:
    """Attention summed over queries and the query heads that share a key: [b, h, q, n] to [b, g, n]."""
    b, h, _, n = attention.shape
    return attention.sum(2).reshape(b, groups, h // groups, n).sum(2)


def smooth(scores: Tensor, width: int) -> Tensor:
    """Mean over `width` neighbouring slots (odd), so that whole phrases stay."""
    return avg_pool1d(scores, width, stride=1, padding=width // 2, count_include_pad=False)


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
