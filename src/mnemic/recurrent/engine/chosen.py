"""Some tokens of the past kept exactly: a token stays until enough others that arrived displace it.

    stays(j) at time i:   arrived_i(j)  and  #{j' : arrived_i(j'), j' beats j} < room

`beats` is an order (a higher score; the same bucket, but later), so that those who stay are the best `room` of
all that arrived, and nothing that was dropped can return: the set is the same for any split of the text.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stays(arrived: Tensor, beats: Tensor, room: int) -> Tensor:
    """arrived [..., times, n] bool, beats [..., n, n] bool (row over column) -> [..., times, n] bool."""
    above = arrived.to(torch.float32) @ beats.to(torch.float32)
    return arrived & (above < room)


def higher(scores: Tensor) -> Tensor:
    """scores [..., n] -> [..., n, n]: whether row's score is higher than column's; of equals, the earlier."""
    n = scores.shape[-1]
    earlier = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu(1)
    row, column = scores.unsqueeze(-1), scores.unsqueeze(-2)
    return (row > column) | ((row == column) & earlier)


def later(codes: Tensor) -> Tensor:
    """codes [..., n] -> [..., n, n]: whether row is of column's bucket and came later."""
    n = codes.shape[-1]
    after = torch.ones(n, n, dtype=torch.bool, device=codes.device).tril(-1)
    return (codes.unsqueeze(-1) == codes.unsqueeze(-2)) & after


def compact(tokens: Tensor, kept: Tensor, slots: int) -> Tensor:
    """Those kept of tokens [..., n, d + 1], kept [..., n] -> [..., slots, d + 1], in order.

    The last number of every slot says whether it holds a token.
    """
    order = torch.argsort((~kept).to(torch.int8), dim=-1, stable=True)[..., :slots]
    found = tokens.gather(-2, order.unsqueeze(-1).expand(*order.shape, tokens.shape[-1]))
    there = kept.gather(-1, order)
    return torch.cat([found[..., :-1] * there.unsqueeze(-1), there.unsqueeze(-1).to(tokens.dtype)], -1)
