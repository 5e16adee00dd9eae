"""The stock cache with exactly the evicted slots masked, by layer and head: what eviction must equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache


def kept_at_each_block(model: Any, cache: Any, x: Tensor) -> list[list[Tensor]]:
    """Read x block by block; for each layer, the columns [b, g or 1, n] it held when each block began."""
    block = cache.policy.block
    held: list[list[Tensor]] = [[] for _ in cache.layers]
    for piece in x.split(block, 1):
        for layer, found in zip(cache.layers, held, strict=True):
            found.append(
                torch.empty(len(x), 1, 0, dtype=torch.int32)
                if layer.store is None
                else layer.store.columns.clone()
            )
        with torch.inference_mode():
            model(piece, past_key_values=cache)
    return held


def masked_logits(model: Any, x: Tensor, held: list[list[Tensor]], block: int) -> Tensor:
    """Logits over the whole text, every query seeing its own block so far and what was held then."""
    rows, count = x.shape
    heads = model.config.num_attention_heads
    masks = []
    for layer in held:
        mask = torch.zeros(rows, heads, count, count, dtype=torch.bool)
        for number, columns in enumerate(layer):
            start, stop = number * block, min(count, (number + 1) * block)
            share = heads // columns.shape[1]
            for row in range(rows):
                for head in range(heads):
                    old = columns[row, head // share]
                    mask[row, head, start:stop, old[old >= 0].long()] = True
            mask[:, :, start:stop, start:stop] |= torch.ones(
                stop - start, stop - start, dtype=torch.bool
            ).tril()
        masks.append(mask)

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
    ) -> Any:
        share = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        logits = (query.double() @ key.double().transpose(2, 3) * scaling).masked_fill(
            ~masks[module.layer_idx], -torch.inf
        )
        return (logits.softmax(-1) @ value.double()).to(query.dtype).transpose(1, 2).contiguous(), None

    with torch.inference_mode(), instead(model, attention):
        return model(x, past_key_values=DynamicCache(config=model.config)).logits


@contextmanager
def instead(model: Any, attention: Any) -> Iterator[None]:
    """The model with this attention function in place of its own."""
    AttentionInterface.register("oracle", attention)
    before = model.config._attn_implementation
    model.set_attn_implementation("oracle")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
