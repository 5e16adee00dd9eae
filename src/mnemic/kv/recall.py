"""Which offloaded blocks a query should see: what stands for a block, and how a query is matched with it.

Keys are as attention will use them, so a match is an estimate of a logit. Shapes: b rows, g key-value heads,
m tokens of a block, n blocks, x queries, d channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def match_every_key(query: Tensor, stand: Tensor) -> Tensor:
    """q·k of every key: query [b, g, x, d], keys [n, b, g, m, d]; [b, g, x, n·m]."""
    return (stand @ query.transpose(-1, -2)).permute(1, 2, 4, 0, 3).flatten(3)


def bounds(keys: Tensor, marks: Tensor | None) -> Tensor:
    """The largest and the smallest value of each channel: [b, g, 2d]."""
    return torch.cat((keys.amax(2), keys.amin(2)), -1)


def match_bounds(query: Tensor, stand: Tensor) -> Tensor:
    """What no q·k in a block exceeds: sum over channels of max(q·largest, q·smallest); stand [n, b, g, 2d]."""
    return match_mean(torch.cat((query.clamp_min(0), query.clamp_max(0)), -1), stand)


def mean_key(keys: Tensor, marks: Tensor | None) -> Tensor:
    """The mean of all keys: [b, g, d]."""
    return keys.mean(2)


def mean_of_marked(count: int) -> Callable[[Tensor, Tensor | None], Tensor]:
    """The mean of the `count` keys of highest mark: [b, g, d]."""

    def represent(keys: Tensor, marks: Tensor | None) -> Tensor:
        assert marks is not None
        top = marks.topk(min(count, marks.shape[-1]), -1).indices
        return keys.gather(2, top[..., None].expand(-1, -1, -1, keys.shape[3])).mean(2)

    return represent


def match_mean(query: Tensor, stand: Tensor) -> Tensor:
    """q·c for the one vector c of each block: stand [n, b, g, d]; [b, g, x, n]."""
    return query @ stand.permute(1, 2, 3, 0)
