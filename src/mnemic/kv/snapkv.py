"""Keeps what the latest queries look at, pooled over neighbours so that phrases stay whole.

    score of slot j: avg-pool over neighbours of sum over the last w queries i of softmax_j(q_i·k)

The window itself always stays. The paper chooses once, at the end of the prompt; here it is chosen at the end
of every block, so that a text longer than the budget can be read. (Baseline; Li et al. 2024, SnapKV.)
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
    says="what the question looks at recalls more than what received most attention",
    task="kv_claims",
    method="snapkv 25%",
    baseline="h2o 25%",
    sabotage="snapkv 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class SnapKV(Scored):
    """`recent` is the observation window, at most a block; `kernel` the slots pooled together (odd)."""

    sinks: int = 0
    kernel: int = 5

    watch = True

    def score(self, slots: Slots) -> Tensor:
        seen = score.smooth(score.received(slots, self.recent), slots.columns, self.kernel)
        return score.protect(seen, slots.columns, self.sinks, self.recent, slots.window)
