"""Recalls the blocks that hold the keys of largest inner product with the query, found exactly.

    recalled = the blocks of the k largest max over the block's keys of q·k

What the paper approximates with a graph made from queries is searched exactly here: queries are distributed
differently from keys, which misleads graphs and bounds made from keys alone, and an exact search not at all; it
costs one pass over the keys. A found key brings its block, sinks and window stay at hand, and distances are
capped, so that a model reads past what it was trained on. (Paper 50.)
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.infllm import InfLLM
from mnemic.kv.recall import match_every_key
from mnemic.kv.tiered import Match, Represent
from mnemic.types import Claim

PAPER = 50
CLAIM = Claim(
    says="blocks recalled by their best keys find what a window has lost",
    task="kv_claims",
    method="retrieval-attention 8K",
    baseline="streaming 8K",
    sabotage="retrieval-attention 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class RetrievalAttention(InfLLM):
    block: int = 16
    sinks: int = 128
    local: int = 512
    chosen: int = 32
    representatives: int = 0  # none are kept

    watch = False

    def strategy(self) -> tuple[Represent | None, Match]:
        return None, match_every_key
