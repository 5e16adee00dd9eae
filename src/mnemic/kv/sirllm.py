"""Keeps the tokens that surprised the model, old surprises fading, beside attention sinks and the last ones.

    score of token t = eta^(blocks since t) · -log p(x_t | x_<t)

All layers and heads keep the same tokens. Keys stand at their rank among those kept, or with positions="true"
where the text had them. (Paper 21, which calls surprise token entropy.)

Departs from the paper: surprises fade at each block instead of each turn of a dialogue, and what is kept is
chosen among all tokens read, the latest too, of which the last `recent` always stay.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.slots import Slots
from mnemic.kv.streaming import Streaming
from mnemic.types import Claim

PAPER = 21
CLAIM = Claim(
    says="the tokens that surprised the model recall more than the last ones",
    task="kv_claims",
    method="sirllm 25%",
    baseline="streaming 25%",
    sabotage="sirllm 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class SirLLM(Streaming):
    """`eta` in (0, 1]: 1 never forgets a surprise; the paper's tasks take 1, 0.9 and 0.7."""

    recent: int = 32
    eta: float = 0.9

    observes = ("surprise",)

    def score(self, slots: Slots) -> Tensor:
        assert slots.surprise is not None
        age = (slots.columns[..., -1:] - slots.columns) // self.block
        worth = slots.surprise.nan_to_num(0.0) * self.eta**age
        return score.protect(worth, slots.columns, self.sinks, self.recent, slots.window)
