"""What shapes the heads of the reference model while it learns.

Retrieval forms in one layer, in all of its heads alike, and hangs on a head below that looks one token back.
Left alone it says nothing about single heads: of those that retrieve none is missed, and one that does not is.
So the lower half of the layers learns to do without any one of its heads, and once retrieval has formed every
layer but the lowest keeps only the heads that do best alone; the others fall silent for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

LOWER = 2  # layers whose heads fall silent now and then
HEARD = "mnemic-heard"
BLOCK = 128  # queries


class Heads:
    """Stands in for a Llama's attention and lets through the heads that are heard.

    Attributes:
        kept: [layers, heads], 1 for a head that is not silent for good.
    """

    def __init__(self, model: Any) -> None:
        self.heads: int = model.config.num_attention_heads
        self.kept = torch.ones(model.config.num_hidden_layers, self.heads, device=model.device)
        self.heard: list[Tensor] = list(self.kept[:, None])  # a layer: [rows or 1, heads]
        self._model, self._before = model, model.config._attn_implementation
        AttentionInterface.register(HEARD, _attention)
        model.set_attn_implementation(HEARD)
        self._layers = [layer.self_attn for layer in model.model.layers]
        for attention in self._layers:
            attention.heads = self

    def draw(self, rng: np.random.Generator, share: float, rows: int) -> None:
        """For the next pass: each head of the lower layers is silent in a row with probability `share`."""
        self.heard = list(self.kept[:, None])
        for layer in range(LOWER):
            heard = torch.from_numpy(rng.random((rows, self.heads)) >= share).to(self.kept)
            self.heard[layer] = self.kept[layer] * heard

    def keep_best(self, count: int, loss: Callable[[], float]) -> None:
        """In every layer but the lowest, keep the `count` heads that have the least loss when alone."""
        for layer in range(1, len(self.kept)):
            alone = []
            for head in range(self.heads):
                self.heard = list(self.kept[:, None])
                self.heard[layer] = torch.eye(self.heads, device=self.kept.device)[None, head]
                alone.append(loss())
            self.kept[layer] = 0
            self.kept[layer, np.argsort(alone, kind="stable")[:count].tolist()] = 1
        self.heard = list(self.kept[:, None])

    def leave(self) -> None:
        """Write the silence into the weights, asking included, and give the model its own attention back."""
        with torch.no_grad():
            for kept, attention in zip(self.kept, self._layers, strict=True):
                each = kept.repeat_interleave(attention.head_dim)
                attention.q_proj.weight.mul_(each[:, None])
                attention.o_proj.weight.mul_(each)
                del attention.heads
        self._model.set_attn_implementation(self._before)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention of the heads kept, times how far each is heard; the others are not worked out."""
    heads: Heads = module.heads
    kept = heads.kept[module.layer_idx].nonzero()[:, 0]
    shared = kept // module.num_key_value_groups
    read = causal(*(x.index_select(1, i) for x, i in ((query, kept), (key, shared), (value, shared))))
    out = read.new_zeros(query.shape).index_copy(1, kept, read)
    return (out * heads.heard[module.layer_idx][:, :, None, None]).transpose(1, 2), None


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention [rows, heads, n, d]; on a processor by blocks, as its fused kernel is slow."""
    if query.is_cuda:
        return scaled_dot_product_attention(query, key, value, is_causal=True)
    read = []
    for begin in range(0, query.shape[2], BLOCK):
        end = min(begin + BLOCK, query.shape[2])
        later = torch.full((end - begin, end), -torch.inf).triu_(begin + 1)
        scores = query[:, :, begin:end] * query.shape[-1] ** -0.5 @ key[:, :, :end].mT + later
        read.append(scores.softmax(-1) @ value[:, :, :end])
    return torch.cat(read, 2)
