"""The shell around a memory of keys and values: what makes queries, keys and values, and what is read out.

    q, k, v = conv(W x);   o = memory(q, k, v, gates);   y = W_o (norm(o) * silu(W_g x))

All layers that remember key-value pairs share this shell, so that they differ in their memory alone.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.parts import HeadNorm, ShortConv, split_heads, wide
from mnemic.recurrent.engine.state import Tensors


class Associative(Layer):
    """Heads of queries, keys and values around a memory.

    Args:
        dim: width of the tokens; heads: independent memories side by side.
        key_dim, value_dim: sizes per head; dim // heads if not given.
        conv: width of the short convolution before q, k and v; 0 for none.
        learnt_query: one query a head for all tokens, a parameter, instead of one a token.

    Raises:
        ValueError: sizes that do not fit.
    """

    def __init__(
        self, name: str, dim: int, heads: int, *, key_dim: int | None = None, value_dim: int | None = None,
        conv: int = 4, learnt_query: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(name, dim)
        if heads < 1 or ((key_dim is None or value_dim is None) and dim % heads):
            raise ValueError(
                f"{heads} heads do not divide a width of {dim}; give key_dim and value_dim, or others"
            )
        self.heads = heads
        self.key_dim = dim // heads if key_dim is None else key_dim
        self.value_dim = dim // heads if value_dim is None else value_dim
        if self.key_dim < 1 or self.value_dim < 1 or conv < 0:
            raise ValueError(
                f"key_dim {self.key_dim}, value_dim {self.value_dim}, conv {conv}: need at least 1, 1, 0"
            )
        self.query = nn.Parameter(torch.randn(heads, 1, self.key_dim)) if learnt_query else None
        self.sizes = [heads * self.key_dim] * (1 if learnt_query else 2) + [heads * self.value_dim]
        channels = sum(self.sizes)
        self.project = nn.Linear(dim, channels, bias=False)
        self.conv = ShortConv(channels, conv) if conv else None
        self.gate = nn.Linear(dim, heads * self.value_dim, bias=False)
        self.norm = HeadNorm(self.value_dim)
        self.output = nn.Linear(heads * self.value_dim, dim, bias=False)

    @abstractmethod
    def fresh(self, batch: int) -> Tensors:
        """The memory before anything was read, in at least float32."""

    @abstractmethod
    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        """q, k [batch, heads, length, key_dim], v [..., value_dim] -> read-outs like v, and the memory."""

    def initial(self, batch: int) -> Tensors:
        memory = self.fresh(batch)
        if self.conv is not None:
            width, channels = self.conv.weight.shape
            memory["past"] = self.conv.weight.new_zeros(batch, width - 1, channels)
        return memory

    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        memory = dict(tensors)
        mixed = self.project(x)
        kept: Tensors = {}
        if self.conv is not None:
            mixed, kept["past"] = self.conv(mixed, memory.pop("past"), lengths)
        with torch.autocast(x.device.type, enabled=False):
            *asked, k, v = (split_heads(wide(each), self.heads) for each in mixed.split(self.sizes, -1))
            q = asked[0] if self.query is None else wide(self.query).expand_as(k)
            read, memory = self.remember(x, q, k, v, memory, lengths)
            read = self.norm(read).transpose(1, 2).flatten(2).to(mixed.dtype)
        return self.output(read * F.silu(self.gate(x))), memory | kept


def zeros(layer: nn.Module, *shape: int) -> Tensor:
    """Zeros in at least float32, on the layer's device."""
    return wide(next(layer.parameters()).new_zeros(shape))


def real_tokens(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """[batch, 1, length, 1]: 1 where a token is real, 0 in the tail; None if all are."""
    if lengths is None:
        return None
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, None, :, None].to(
        torch.promote_types(x.dtype, torch.float32)
    )
