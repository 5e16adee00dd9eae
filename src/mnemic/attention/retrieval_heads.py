"""Finds the heads that fetch what is asked for, and silences heads to see what they were for.

    score of head h = mean over cases of |copied_h ∩ needle| / |needle|

At a step a head copies the token it attends to most, when that token is the one the model then says: it
counts if it stands in the needle, the part of the text that answers the question. A token of the needle counts
once, and a case counts only if at least half of the answer was right. Silencing a head sets its output to zero.
(Paper 26, which looks while the model generates; here the right answers stand in place, which is the same as
long as what is said is right.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PAPER = 26
Head = tuple[int, int]  # layer, query head
SILENCED = "mnemic-silenced"


@torch.inference_mode()
def retrieval_scores(model: Any, cases: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """How much each query head copies from the needle [layers, heads], between 0 and 1.

    Args:
        model: a causal language model of transformers.
        cases: per case the ids [n], which of them are the needle [n], which are the answer [n]: true or false.

    Raises:
        ValueError: no case was answered at least half right.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    total, counted = torch.zeros(()), 0
    try:
        for ids, needle, answer in cases:
            out = model(ids[None].to(model.device), output_attentions=True, use_cache=False)
            said = out.logits[0].argmax(-1).cpu()
            steps = answer.nonzero()[:, 0] - 1
            if (said[steps] == ids[steps + 1]).float().mean() < 0.5:
                continue
            maps = torch.stack([attention[0, :, steps] for attention in out.attentions]).cpu()
            most = maps.argmax(-1)  # [layers, heads, steps]
            copies = (ids[most] == said[steps]) & needle[most]
            hit = torch.zeros(*most.shape[:2], len(ids), dtype=torch.int64)
            hit.scatter_add_(2, most, copies.long())
            total = total + (hit > 0).sum(2) / needle.sum()
            counted += 1
    finally:
        model.set_attn_implementation(before)
    if not counted:
        raise ValueError("no case was answered, so no head can be said to retrieve; ask what the model knows")
    return total / counted


def ranked(scores: Tensor) -> list[Head]:
    """The heads, highest score first."""
    order = scores.flatten().argsort(descending=True, stable=True)
    return [divmod(int(i), scores.shape[1]) for i in order]


@contextmanager
def silenced(model: Any, heads: Collection[Head]) -> Iterator[Any]:
    """The model with the output of these query heads set to zero, for as long as the block runs."""
    AttentionInterface.register(SILENCED, _attention)
    AttentionMaskInterface.register(SILENCED, sdpa_mask)
    config = model.config.get_text_config(decoder=True)
    before = model.config._attn_implementation
    model.set_attn_implementation(SILENCED)
    config.silenced_heads = [list(head) for head in heads]
    try:
        yield model
    finally:
        del config.silenced_heads
        model.set_attn_implementation(before)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    lost = [head for layer, head in module.config.silenced_heads if layer == module.layer_idx]
    if lost:
        out = out.clone()
        out[:, :, lost] = 0.0  # [b, n, heads, d]
    return out, None
