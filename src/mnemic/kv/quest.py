"""Recalls the blocks that could hold the best key: bounds per channel instead of representatives.

    upper bound of q·k over a block = sum over channels c of max(q_c·max k_c, q_c·min k_c)

No key of a block that is passed over can beat the bound it was passed over with. Kept as the far tier of
sinks and a window, distances capped, each query recalling for itself. (Baseline; Tang et al. 2024, Quest.)
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.infllm import InfLLM
from mnemic.kv.recall import bounds, match_bounds
from mnemic.kv.tiered import Match, Represent
from mnemic.types import Claim

PAPER = 0
CLAIM = Claim(
    says="blocks recalled by the bounds of their keys find what a window has lost",
    task="kv_claims",
    method="quest 8K",
    baseline="streaming 8K",
    sabotage="quest 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class Quest(InfLLM):
    block: int = 16
    sinks: int = 16
    chosen: int = 32
    representatives: int = 0  # none are kept

    watch = False

    def strategy(self) -> tuple[Represent | None, Match]:
        return bounds, match_bounds
