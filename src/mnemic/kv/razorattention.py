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
from math import ceil
from typing import Any

import torch
from torch import Tensor

from mnemic.kv import score
from mnemic.kv.heads import Compensated, Heads
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots
from mnemic.types import MnemicError

PAPER = 48
REPEATS = 4


@dataclass(frozen=True, kw_only=True)
class RazorAttention(Policy):
    """Head by head.

    Attributes:
        sinks, local: tokens the other heads keep at the start and at the end.
        echo, induction: shares of all heads that are retrieval heads by either score.
        length: random tokens repeated to find them; no more than the model was trained on.
        seed: of those tokens.
        retrieval: (layer, key-value head) of the retrieval heads; None: found when attached.
    """

    sinks: int = 4
    local: int = 256
    echo: float = 0.01
    induction: float = 0.14
    length: int = 2500
    seed: int = 0
    retrieval: tuple[tuple[int, int], ...] | None = None

    def prepared(self, model: Any) -> RazorAttention:
        if self.retrieval is not None:
            return self
        echo, induction = head_scores(model, self.length, self.seed)
        chosen = highest(echo, self.echo) | highest(induction, self.induction)
        logging.getLogger("mnemic").info("retrieval heads found on random text: %s", sorted(chosen))
        return replace(self, retrieval=tuple(sorted(chosen)))

    def store(self, layer: Layer, nbytes: int | None) -> Slots | Heads:
        if layer.window is not None:
            return Slots(scale=layer.scale, block=self.block, window=layer.window)
        full = [head for index, head in self.retrieval or () if index == layer.index]
        rest = [head for head in range(layer.groups) if head not in full]
        window = self.sinks + self.local + self.block
        capacity = None
        if nbytes is not None:
            columns = 4 * layer.rows * ((1 if full else 0) + (1 if rest else 0))
            pair = layer.pair_nbytes // layer.groups
            mean = 4 * layer.rows * (layer.width + layer.value_width + 1)
            spare = nbytes - len(rest) * (window * pair + mean) - columns * window
            capacity = spare // (len(full) * pair + columns) if full else window
            if (full and capacity < window) or spare < 0:
                need = layer.count * ((layer.pair_nbytes + columns) * window + len(rest) * mean)
                raise MnemicError(
                    f"RazorAttention needs at least {need} bytes and was given {nbytes * layer.count}; "
                    f"raise the budget, or keep fewer than {self.local} local tokens"
                )
        kept: dict[str, Any] = {"scale": layer.scale, "block": self.block, "score": self.score}
        every = Slots(**kept, capacity=capacity)
        return Heads([(full, every), (rest, Compensated(**kept, capacity=window))], layer.groups)

    def score(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)


def highest(scores: Tensor, share: float) -> set[tuple[int, int]]:
    """The (layer, head) of the highest `share` of scores [layers, heads]."""
    order = scores.flatten().argsort(descending=True)[: ceil(share * scores.numel())]
    return {divmod(int(i), scores.shape[1]) for i in order}


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
