"""What shapes the heads of the reference model while it learns.

Retrieval forms in one layer, in all of its heads alike, and hangs on a head below that looks one token back.
Left alone it says nothing about single heads: of those that retrieve none is missed, and one that does not is.
So the lower half of the layers learns to do without any one of its heads, and once retrieval has formed every
layer but the lowest keeps only the heads that do best alone; the others fall silent for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LOWER = 2  # layers whose heads fall silent now and then


class Heads:
    """Stands before the output projections of a Llama's attention and lets through the heads that are heard.

    Attributes:
        kept: [layers, heads], 1 for a head that is not silent for good.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self.heads: int = model.config.num_attention_heads
        self.kept = torch.ones(model.config.num_hidden_layers, self.heads, device=model.device)
        self._heard: list[Tensor] = list(self.kept[:, None])
        self._layers = [layer.self_attn for layer in model.model.layers]
        self._hooks = [
            attention.o_proj.register_forward_pre_hook(self._let_through(i))
            for i, attention in enumerate(self._layers)
        ]

    def draw(self, rng: np.random.Generator, share: float, rows: int) -> None:
        """For the next pass: each head of the lower layers is silent in a row with probability `share`."""
        import torch

        self._heard = list(self.kept[:, None])
        for layer in range(LOWER):
            heard = torch.from_numpy(rng.random((rows, self.heads)) >= share).to(self.kept)
            self._heard[layer] = self.kept[layer] * heard

    def keep_best(self, count: int, loss: Callable[[], float]) -> None:
        """In every layer but the lowest, keep the `count` heads that have the least loss when alone."""
        import torch

        for layer in range(1, len(self.kept)):
            alone = []
            for head in range(self.heads):
                self._heard = list(self.kept[:, None])
                self._heard[layer] = torch.eye(self.heads, device=self.kept.device)[None, head]
                alone.append(loss())
            self.kept[layer] = 0
            self.kept[layer, np.argsort(alone, kind="stable")[:count].tolist()] = 1
        self._heard = list(self.kept[:, None])

    def leave(self) -> None:
        """Write the silence into the weights, asking included, and take the hooks off the model."""
        import torch

        with torch.no_grad():
            for kept, attention in zip(self.kept, self._layers, strict=True):
                each = kept.repeat_interleave(attention.head_dim)
                attention.q_proj.weight.mul_(each[:, None])
                attention.o_proj.weight.mul_(each)
        for hook in self._hooks:
            hook.remove()

    def _let_through(self, layer: int) -> Callable[[Any, tuple[Tensor]], tuple[Tensor]]:
        def heard(projection: Any, given: tuple[Tensor]) -> tuple[Tensor]:
            (read,) = given
            heads = read.reshape(*read.shape[:2], self.heads, -1)
            return ((heads * self._heard[layer][:, None, :, None]).reshape(read.shape),)

        return heard
