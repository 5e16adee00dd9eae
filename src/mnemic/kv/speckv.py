"""Keeps what the tokens still to come will look at: a draft of them is read ahead, and taken back.

    score of slot j = max-pool over neighbours of max over the queries i of window and draft, and over the heads
                      of a group, of softmax_j(q_i·k)

The window are the last tokens of the prompt, the draft is how a cheap model goes on from it; the model itself
reads both, so that their queries are its own, and their pairs are dropped again. (Paper 148.)

    ahead = look_ahead(small, prompt)                   # the prompt's last tokens, and the draft of `small`
    cache = attach(model, "speckv", budget="64MiB", ahead=ahead)
    read(model, cache, prompt)

Departs from the paper, which reads the whole prompt and chooses once: here it is chosen at the end of every
block, with the same tokens ahead, so that a prompt longer than the budget can be read; they stand where the
text has got to. Without `ahead` the draft is made at the end of every block by the model itself, from the cache
it is about to shorten, one pass a token; the window is then the block's last `recent` tokens. The last `recent`
tokens always stay. SpecPC, which shortens the text by a draft model's attention, is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from mnemic.kv import score
from mnemic.kv.observe import check_head, head
from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import PAD, Slots, visible, weights
from mnemic.types import Claim, MnemicError

PAPER = 148
CLAIM = Claim(
    says="a draft of the answer, read ahead, keeps what later steps of it need and the question does not name",
    task="kv_claims",
    method="speckv 25%",
    baseline="undrafted 25%",
    sabotage="speckv 25%, scrambled",
    metric="thread_ahead",
    budget="a quarter of the full cache's bytes",
)


@dataclass(frozen=True, kw_only=True)
class SpecKV(Scored):
    """A score by what is read ahead.

    Attributes:
        ahead: window and draft, as `look_ahead` makes them; none: the model drafts for itself.
        lookahead: tokens of that draft.
        kernel: slots pooled together (odd).
    """

    sinks: int = 0
    ahead: tuple[int, ...] = ()
    lookahead: int = 8
    kernel: int = 7

    watch = True
    marks = True
    together = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "ahead", tuple(self.ahead))  # a list, where it was read from a file
        if not self.ahead and self.lookahead < 1:
            raise ValueError("speckv needs tokens ahead: give `ahead`, or a `lookahead` of at least 1")

    def prepared(self, model: Any) -> SpecKV:
        if not self.ahead:
            check_head(model)
        return self

    @property
    def count(self) -> int:
        """Tokens that are read and taken back."""
        return len(self.ahead) or self.lookahead

    def sizes(self, layer: Layer, *, headwise: bool, watch: bool, marks: bool) -> tuple[int, int]:
        """With room for the tokens ahead and their queries."""
        slot, fixed = super().sizes(layer, headwise=headwise, watch=watch, marks=marks)
        query = layer.rows * layer.heads * layer.width * layer.dtype.itemsize
        return slot, fixed + self.count * (slot + query)

    @torch.no_grad()
    def look(self, cache: Any, hidden: Tensor, mask: Tensor | None, positions: Tensor | None) -> None:
        """Read ahead, note what was looked at as the marks of each layer's slots, and take it back."""
        stores: list[Slots] = [layer.store for layer in cache.layers]
        if all(store.capacity is None or len(store) <= store.capacity - store.block for store in stores):
            return  # nothing is going to leave
        base, rows = cache.model.base_model, hidden.shape[0]

        def read(ids: Tensor, done: int) -> Tensor:
            given = None if mask is None else torch.cat((mask, mask.new_ones(rows, done + ids.shape[1])), 1)
            at = None
            if positions is not None:
                at = positions[:, -1:] + 1 + done + torch.arange(ids.shape[1], device=ids.device)
            out = base.forward(  # past the hooks that observe
                input_ids=ids, attention_mask=given, position_ids=at, past_key_values=cache, use_cache=True
            )
            final: Tensor = out.last_hidden_state[:, -1]
            return final

        if self.ahead:
            read(torch.tensor(self.ahead, device=hidden.device).expand(rows, -1), 0)
        else:
            last = hidden[:, -1]
            for done in range(self.lookahead):
                last = read(head(cache.model, last).argmax(-1)[:, None], done)
        for layer, store in zip(cache.layers, stores, strict=True):
            marks = self.looked(store)
            layer.crop(-self.count)
            store.marks = marks

    def looked(self, slots: Slots) -> Tensor:
        """The most attention that a token ahead, or of the window, gives to each slot before them [b, g, n]."""
        assert slots.queries is not None
        query = slots.queries[:, :, -(self.count + (0 if self.ahead else self.recent)) :]
        asking = slots.columns[:, 0, -query.shape[2] :]
        attention = weights(query, slots.keys, visible(asking, slots.columns, slots.window), slots.scale)
        most = attention.masked_fill((asking == PAD)[:, None, :, None], 0.0).amax(2)
        most = most.reshape(len(most), slots.keys.shape[1], -1, len(slots)).amax(2)
        return most[..., : -self.count].contiguous()

    def score(self, slots: Slots) -> Tensor:
        if slots.marks is None:
            if slots.capacity is not None and len(slots) > slots.capacity - slots.block:
                raise MnemicError(
                    "speckv reads ahead with a whole cache and was given a part of one, as by a method over "
                    "single heads; attach it by itself, or choose snapkv there"
                )
            return slots.columns.float()  # nothing is going to leave
        worth = max_pool1d(slots.marks, self.kernel, stride=1, padding=self.kernel // 2)
        slots.marks = None
        return score.protect(worth, slots.columns, self.sinks, self.recent, slots.window)


def look_ahead(
    draft: Any, prompt: Tensor, *, window: int = 32, lookahead: int = 8, method: str = "full", **options: Any
) -> tuple[int, ...]:
    """The last `window` tokens of a prompt [n] and the `lookahead` tokens a draft model goes on with.

    Args:
        draft: a model of the same tokens, smaller, or the same with a cheaper cache.
        method: the draft model's cache, with `options` as of `attach` (method="kivi", bits=2, ...).

    Raises:
        ValueError: an empty prompt.
    """
    from mnemic.kv.attach import attach, detach, generate, read

    if len(prompt) == 0:
        raise ValueError("there is no prompt to go on from; give at least one token")
    attached = hasattr(draft, "_before_mnemic")
    cache = attach(draft, method, **options)
    try:
        read(draft, cache, prompt[:-1], progress=False)
        said = generate(draft, cache, prompt[-1:], max_new_tokens=lookahead, do_sample=False)
    finally:
        if not attached:
            detach(draft)
    ahead: Sequence[int] = [*prompt[-window:].tolist(), *said[0].tolist()]
    return tuple(ahead)
