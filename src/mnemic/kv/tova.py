"""Keeps what the last query looks at: the cache as a multi-state recurrent network.

    score of slot j: sum over all heads of a layer of softmax_j(q·k), q the last query of the block

All heads of a layer keep the same tokens, and nothing is protected but that last token. (Baseline; Oren et
al. 2024, TOVA.)
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
    says="what the last query looks at recalls more than what received most attention",
    task="kv_claims",
    method="tova 25%",
    baseline="h2o 25%",
    sabotage="tova 25%, scrambled",
    metric="needle_known",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class TOVA(Scored):
    sinks: int = 0
    recent: int = 1

    headwise = False
    watch = True

    def score(self, slots: Slots) -> Tensor:
        seen = score.received(slots, 1).sum(1, keepdim=True)
        return score.protect(seen, slots.columns, self.sinks, self.recent, slots.window)
