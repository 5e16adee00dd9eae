"""Recalls pages by their bookmarks and lays them side by side before the window, so that no distance is new.

    bookmark of a page = mean of its keys
    recalled           = the pages of largest q·bookmark, in order, between sinks and window, without gaps

Departs from the paper, which trains a bookmark token with projections of its own to be found by: this is its
frame without the training, so what it finds is what the model's keys give. Each query token recalls for itself
(there: the question once, for the whole answer). (Paper 145.)
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.infllm import InfLLM
from mnemic.kv.recall import match_mean, mean_key
from mnemic.kv.tiered import Match, Positions, Represent
from mnemic.types import Claim

PAPER = 145
CLAIM = Claim(
    says="pages recalled by their bookmarks, side by side, find what a window has lost",
    task="kv_claims",
    method="retrolm 8K",
    baseline="streaming 8K",
    sabotage="retrolm 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class RetroLM(InfLLM):
    local: int = 1024
    representatives: int = 0  # none are kept
    positions: Positions = "compact"

    watch = False

    def strategy(self) -> tuple[Represent | None, Match]:
        return mean_key, match_mean
