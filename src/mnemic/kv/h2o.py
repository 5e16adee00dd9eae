"""Keeps heavy hitters: the tokens that received most attention so far, beside the last ones.

    score of slot j: sum over queries i >= j of softmax_j(q_i·k), over the query heads that share it

The last half of the slots is always recent. Queries of a block are added when the block is over, at which time
they see what was kept for them. Keys stay where the text had them. (Baseline; Zhang et al. 2023, H2O.)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Scored
from mnemic.kv.slots import Slots
from mnemic.types import Claim

PAPER = 0
CLAIM = Claim(
    says="the tokens that received most attention recall more than the last ones",
    task="kv_claims",
    method="h2o 25%",
    baseline="streaming 25%",
    sabotage="h2o 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class H2O(Scored):
    sinks: int = 0
    recent: int = 1

    watch = True
    marks = True

    def score(self, slots: Slots) -> Tensor:
        total = score.accumulated(slots)
        kept = len(slots) if slots.capacity is None else slots.capacity - slots.block
        return score.protect(total, slots.columns, self.sinks, max(self.recent, kept // 2), slots.window)
