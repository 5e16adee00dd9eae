"""Reads without end: sinks and a window at hand, older blocks on disk, recalled by their representative tokens.

    block vector c = mean of the r keys of the block that received most attention while they were near
    recalled       = the blocks of largest q·c, seen at one distance: that of the window's far end

Departs from the paper: each query token recalls for itself (there: the mean query of a stretch of text
decides for all its tokens, later ones included), and nothing is recalled while a text is only read. (Paper 68.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mnemic.kv import score
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.recall import match_mean, mean_of_marked
from mnemic.kv.slots import Slots
from mnemic.kv.streaming import oldest_first
from mnemic.kv.tiered import Match, Positions, Represent, Tiered
from mnemic.kv.units import Blocks, Cutter
from mnemic.types import Claim

PAPER = 68
CLAIM = Claim(
    says="blocks recalled by representative tokens find what a window has lost",
    task="kv_claims",
    method="infllm 8K",
    baseline="streaming 8K",
    sabotage="infllm 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class InfLLM(Policy):
    """A near and a far tier.

    Attributes:
        block: tokens of a block.
        sinks: first tokens, always at hand.
        local: tokens at hand where no budget says how many.
        chosen: blocks recalled by each query.
        representatives: tokens that stand for a block.
        nearby: share of what is recalled that goes to the neighbours in time of the best.
        positions: where recalled tokens seem to stand (see `mnemic.kv.tiered`).
        cap: no token seems farther; None: as far as the window reaches, or the model was trained.
        folder: where blocks are offloaded to; None for the system's temporary folder.
    """

    block: int = 128
    sinks: int = 128
    local: int = 4096
    chosen: int = 16
    representatives: int = 4
    nearby: float = 0.0
    positions: Positions = "capped"
    cap: int | None = None
    folder: str | None = None

    watch = True  # marks are the attention received

    def cutter(self) -> Cutter:
        """How tokens become units of recall."""
        return Blocks(self.block)

    def strategy(self) -> tuple[Represent | None, Match]:
        """What stands for a block, and how a query is matched with it."""
        return mean_of_marked(self.representatives), match_mean

    def store(self, layer: Layer, nbytes: int | None) -> Slots | Tiered:
        if layer.window is not None:
            return oldest_first(layer, self.block, nbytes, self.sinks)
        recalled = self.chosen * self.block
        least = self.sinks + self.block + recalled
        slots = self.capacity(layer, nbytes, least=least, headwise=False, watch=self.watch, marks=self.watch)
        capacity = self.sinks + self.local if slots is None else slots - recalled
        capacity = capacity // self.block * self.block
        trained = int(getattr(layer.model.config.get_text_config(), "max_position_embeddings", capacity))
        near = Slots(
            scale=layer.scale, capacity=capacity, block=self.block, watch=self.watch, rotary=layer.rotary(),
            cap=self.cap or min(capacity - self.block - self.sinks, trained - 1), score=self.score,
            observes=self.observes, sinks=None if self.watch else self.sinks,
        )  # fmt: skip
        return self.tiered(near, self.far(recalled))

    def far(self, room: int) -> dict[str, Any]:
        """How the far tier is made and asked, for as many recalled tokens (see `Tiered`)."""
        represent, match = self.strategy()
        return {
            "room": room, "cut": self.cutter(), "represent": represent, "match": match, "folder": self.folder,
            "nearby": self.nearby, "positions": self.positions, "sinks": self.sinks,
        }  # fmt: skip

    def tiered(self, near: Slots, far: dict[str, Any]) -> Tiered:
        """The two tiers; methods whose far tier has a state of its own make theirs."""
        return Tiered(near, **far)

    def score(self, slots: Slots) -> Tensor:
        if self.watch:
            score.accumulated(slots)
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)
