"""Recalls sentences: each is known by the mean of its keys, and its tokens stay where they stood in the text.

    sentence vector c = mean of the keys of its tokens
    recalled          = the sentences of largest q·c, until their tokens fill the room

Departs from the paper: nothing is dropped while reading (there: the tokens of a prompt that its last 32 ask
least for), all of it waits in the far tier; each query token recalls for itself (there: the mean query since
the last sentence ended); keys are compared without positions and read at their true ones. (Paper 91.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mnemic.kv.infllm import InfLLM
from mnemic.kv.recall import match_mean, mean_key
from mnemic.kv.tiered import Match, Positions, Represent
from mnemic.kv.units import Cutter, Sentences
from mnemic.types import Claim

PAPER = 91
CLAIM = Claim(
    says="sentences recalled by their mean keys find what a window has lost",
    task="kv_claims",
    method="sentencekv 25%",
    baseline="streaming 25%",
    sabotage="sentencekv 25%, scrambled",
    metric="needle",
    budget="a quarter of the full cache's bytes",
)
_SIGNS = (".", "!", "?", "…", "。", "！", "？", "\n\n")


@dataclass(frozen=True, kw_only=True)
class SentenceKV(InfLLM):
    """Sentences as the units of the far tier.

    Attributes:
        ends: ids of tokens that end a sentence (see `sentence_ends`); without any all have `longest` tokens.
        longest: tokens of a sentence; a longer one is several.
    """

    block: int = 64
    sinks: int = 32
    local: int = 512
    chosen: int = 32
    representatives: int = 0  # none are kept
    positions: Positions = "true"
    ends: tuple[int, ...] = ()
    longest: int = 64

    watch = False
    observes = ("ids",)

    def cutter(self) -> Cutter:
        return Sentences(self.ends, min(self.longest, self.chosen * self.block))

    def strategy(self) -> tuple[Represent | None, Match]:
        return mean_key, match_mean


def sentence_ends(tokenizer: Any) -> tuple[int, ...]:
    """Ids of a tokenizer's tokens that end a sentence, those merged with what follows included."""
    words = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    return tuple(i for i, word in enumerate(words) if word.strip(" \"'”’)").endswith(_SIGNS))
