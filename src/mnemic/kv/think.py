"""Keeps older keys thinner: only the channels that queries make use of, all of their values.

    score of channel c   = sum over queries of q_c² · sum over the block's keys of k_c²     (per key-value head)
    q·k of an older key  = sum over the channels kept of q_c k_c

The channels are chosen for each block when it leaves the last `residual` tokens, by the queries of the block
then running. What a budget cannot hold even so leaves oldest first. (Paper 23.)

Departs from the paper: it chooses once, at the end of the prompt, by its last 32 queries; queries of all heads
that share a key count together, so that one choice serves them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnemic.kv.packed import Residual
from mnemic.kv.policy import Layer
from mnemic.kv.slots import PAD, Slots, best
from mnemic.types import Claim

PAPER = 23
CLAIM = Claim(
    says="more tokens with thinner keys recall more than fewer with whole ones",
    task="kv_claims",
    method="think 25%",
    baseline="streaming 25%",
    sabotage="think 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True)
class Thin:
    """Of the `width` channels of keys the `kept` that matter most."""

    width: int
    kept: int

    def pack(self, keys: Tensor, values: Tensor, columns: Tensor, near: Slots) -> dict[str, Tensor]:
        channels = best(self.score(keys, columns, near), self.kept)
        thin = keys.gather(3, channels[:, :, None].expand(-1, -1, keys.shape[2], -1))
        return {"keys": thin, "values": values, "channels": channels.to(torch.int16)}

    def score(self, keys: Tensor, columns: Tensor, near: Slots) -> Tensor:
        """What each channel is worth [b, g, d]; padding neither asks nor counts."""
        assert near.queries is not None
        b, _, q, d = near.queries.shape
        real = near.columns[:, 0, -q:] > PAD
        asked = (near.queries.float().square() * real[:, None, :, None]).sum(2)  # [b, h, d]
        asked = asked.reshape(b, keys.shape[1], -1, d).sum(2)
        return asked * (keys.float().square() * (columns > PAD)[..., None]).sum(2)

    def unpack(self, codes: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        thin = codes["keys"]
        channels = codes["channels"].to(torch.int64)[:, :, :, None].expand_as(thin)
        return thin.new_zeros(*thin.shape[:4], self.width).scatter(4, channels, thin), codes["values"]


@dataclass(frozen=True, kw_only=True)
class ThinK(Residual):
    """`ratio` is lambda, the share of channels let go."""

    ratio: float = 0.4

    watch = True

    def codec(self, layer: Layer) -> Thin:
        kept = layer.width - int(layer.width * self.ratio)
        if not 0 < kept <= layer.width:
            raise ValueError(
                f"a ratio of {self.ratio} leaves {kept} of {layer.width} channels; "
                "it is a share, at least 0 and below 1"
            )
        return Thin(layer.width, kept)

    def block_nbytes(self, layer: Layer) -> int:
        """Thin keys, values, the channels kept, columns."""
        kept = self.codec(layer).kept
        pairs = layer.groups * self.block * (kept + layer.value_width) * layer.dtype.itemsize
        return layer.rows * (pairs + layer.groups * 2 * kept + 4 * self.block)
