"""Retrieval heads keep everything; the others sinks, a window, and one token that stands for all they dropped.

    echo score of a head      = attention to earlier copies of the current token      (random text, repeated)
    induction score           = attention to the tokens that followed those copies
    retrieval heads           = the 1% highest by echo, and the 14% highest by induction, over all layers
    compensation token        = mean key and mean value of the N dropped pairs, its logit raised by ln N

The heads are found when the model is attached, by one pass over random tokens repeated four times. A key-value
head counts by the best of the query heads that share it. A budget the retrieval heads outgrow takes their
oldest tokens. (Paper 48.)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mnemic.kv.heads import Compensated, Headwise, highest
from mnemic.kv.policy import Layer
from mnemic.kv.slots import Slots
from mnemic.types import Claim

PAPER = 48
CLAIM = Claim(
    says="with everything kept by retrieval heads more is recalled than by a window in all",
    task="kv_claims",
    method="razorattention 50%",
    baseline="streaming 50%",
    sabotage="razorattention 50%, scrambled",
    metric="needle",
    budget="half of the full cache's bytes",
)
REPEATS = 4


@dataclass(frozen=True, kw_only=True)
class RazorAttention(Headwise):
    """Head by head.

    Attributes:
        echo, induction: shares of all heads that are retrieval heads by either score.
        length: random tokens repeated to find them; no more than the model was trained on.
        seed: of those tokens.
    """

    echo: float = 0.01
    induction: float = 0.14
    length: int = 2500
    seed: int = 0

    def prepared(self, model: Any) -> RazorAttention:
        if self.retrieval is not None:
            return self
        echo, induction = head_scores(model, self.length, self.seed)
        chosen = highest(echo, self.echo) | highest(induction, self.induction)
        logging.getLogger("mnemic").info("retrieval heads found on random text: %s", sorted(chosen))
        return replace(self, retrieval=tuple(sorted(chosen)))

    def rest(self, **kept: Any) -> Slots:
        return Compensated(**kept)

    def rest_nbytes(self, layer: Layer) -> int:
        return 4 * layer.rows * (layer.width + layer.value_width + 1)


@torch.inference_mode()
def head_scores(model: Any, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Echo and induction score of every key-value head [layers, heads], on random tokens repeated."""
    config = model.config.get_text_config(decoder=True)
    length = min(length, config.max_position_embeddings // REPEATS)
    ids = torch.randint(0, config.vocab_size, (1, length), generator=torch.Generator().manual_seed(seed))
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        out = model(ids.repeat(1, REPEATS).to(model.device), output_attentions=True, use_cache=False)
    finally:
        model.set_attn_implementation(before)
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    maps = torch.stack([attention[0] for attention in out.attentions]).float()  # [layers, heads, n, n]
    maps = torch.unflatten(maps, 1, (groups, -1))
    scores = [(maps * pattern).sum((-1, -2)).amax(2) for pattern in patterns(length)]
    return scores[0], scores[1]


def patterns(length: int) -> tuple[Tensor, Tensor]:
    """Which earlier tokens are copies of the current one, and which follow a copy [n, n], n = 4·length."""
    at = torch.arange(REPEATS * length)
    back = at[:, None] - at
    return (back > 0) & (back % length == 0), (back > 0) & ((back + 1) % length == 0)
