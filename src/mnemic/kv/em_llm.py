"""Recalls events: runs of tokens of their own lengths, cut where the text surprises the model.

    event starts at t     when -log p(x_t | x_<t) > mu + gamma·sigma over the `window` tokens before t
    and is refined        to where the keys around it fall best into two communities (`mnemic.segment.events`)
    event vector c        = mean of the r keys of the event that received most attention while they were near
    recalled              = the events of largest q·c, and beside them their neighbours in time (contiguity)

Departs from the paper: each layer refines by its own keys (there: summed over the later layers); each query
token recalls for itself, and takes its neighbours from what it recalls (there: one decision for a stretch of
text, and a queue of neighbours that outlives it); generated tokens make events like any others. (Paper 60.)
"""

from __future__ import annotations

from dataclasses import dataclass

from mnemic.kv.infllm import InfLLM
from mnemic.kv.units import Cutter, Surprises
from mnemic.segment.events import Measure
from mnemic.types import Claim

PAPER = 60
CLAIM = Claim(
    says="events cut by surprise, with their neighbours in time, recall more than blocks of equal length",
    task="kv_claims",
    method="em-llm 8K",
    baseline="infllm 8K",
    sabotage="em-llm 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


@dataclass(frozen=True, kw_only=True)
class EMLLM(InfLLM):
    """Events as the units of the far tier.

    Attributes:
        chosen: blocks' worth of tokens recalled by each query.
        nearby: share of them that goes to the neighbours of recalled events.
        gamma: deviations above the mean that make a boundary; window: tokens the mean is taken over.
        refine: by which measure boundaries are moved; None leaves them.
        shortest, longest: tokens of an event; none is longer than what is recalled by similarity.
    """

    nearby: float = 0.3
    gamma: float = 1.0
    window: int = 128
    refine: Measure | None = "modularity"
    shortest: int = 8
    longest: int = 128

    observes = ("surprise",)

    def cutter(self) -> Cutter:
        longest = min(self.longest, self.chosen * self.block - int(self.nearby * self.chosen * self.block))
        return Surprises(self.gamma, self.window, self.refine, min(self.shortest, longest // 2), longest)
