"""Attends to the keys of the most promising clusters only, found over two levels of centroids.

    S_c = exp(q·C_c) / sum over clusters of n·exp(q·C),  a key's share of attention as far as its centroid tells

Keys are clustered by direction (k-means), centroids again; a query goes through the coarse ones, the fine ones
of the best of those, and the keys of the best of these. Keys keep their positions.

Departs from the paper: it clusters a fixed prefix once and keeps what is above one global threshold; here each
block is clustered as it leaves the window, and each head reads as many tokens as there is room for, so that a
step costs the same wherever it is; a wide cluster counts for more, and one that is not read is attended to as
one key of its weight (there: left out; see `mnemic.kv.clustered`). Query heads that share keys take what is
best for any of them. (Paper 97.)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.clustered import Clustered, Window
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots
from mnemic.kv.streaming import oldest_first
from mnemic.types import Claim

PAPER = 97
CLAIM = Claim(
    says="clusters recalled by their centroids find what a window has lost",
    task="kv_claims",
    method="squeezed-attention 25%",
    baseline="streaming 25%",
    sabotage="squeezed-attention 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class SqueezedAttention(Policy):
    """A window and a far tier of clusters.

    Attributes:
        block: tokens clustered together, coarsely all over, finely within runs of 512.
        sinks: first tokens, always at hand.
        local: tokens at hand where no budget says how many; two blocks at least.
        room: tokens recalled by each query and key-value head.
        per_fine, per_coarse: tokens of a fine cluster, fine clusters of a coarse one, on average.
        wide: coarse clusters a query looks into.
        exact: older tokens up to which all are read; about where choosing becomes faster.
        folder: where clusters are offloaded to; None for the system's temporary folder.
    """

    block: int = 2048
    sinks: int = 128
    local: int = 2048
    room: int = 1024
    per_fine: int = 4
    per_coarse: int = 64
    wide: int = 12
    exact: int = 16384
    folder: str | None = None

    def store(self, layer: Layer, nbytes: int | None) -> Slots | Clustered:
        if layer.window is not None:
            return oldest_first(layer, self.block, nbytes, self.sinks)
        least = self.sinks + self.block + self.room
        slots = self.capacity(layer, nbytes, least=least, headwise=False, watch=False, marks=False)
        capacity = max(self.sinks + self.local, 2 * self.block) if slots is None else slots - self.room
        near = Window(
            scale=layer.scale, capacity=capacity // self.block * self.block, block=self.block, score=self.score,
            sinks=self.sinks,
        )  # fmt: skip
        fine = -(-self.block // self.per_fine)
        return Clustered(
            near, room=self.room, fine=fine, coarse=-(-fine // self.per_coarse), wide=self.wide,
            exact=self.exact, folder=self.folder,
        )  # fmt: skip

    def score(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)
