"""A layer whose memory is one matrix a head: three choices on the engine `linear`.

Attentional bias "dot" or "l2" (delta rule), retention "none", "scalar" or "diagonal", and a feature map. The
denominator of normalised linear attention, sum_j phi(k_j), is the memory of one more value that is always 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import Associative, real_tokens, zeros
from mnemic.recurrent.engine.linear import chunked, loop
from mnemic.recurrent.engine.parts import DiagonalDecay, RateGate, ScalarDecay
from mnemic.recurrent.engine.state import Tensors


class Matrix(Associative):
    """A matrix memory.

    Args:
        bias: "dot" adds k v^T; "l2" writes the error of what k recalls at a rate per token (keys of length 1).
        retention: share of the state kept: all of it, one gate a head, or one a key channel.
        features: map applied to queries and keys, [..., key_dim] -> [..., any size]; None: scaled queries.
        normalised: divide by the sum of the features' products, which must be positive.
        chunk: tokens computed side by side, a power of two; changes the speed, never the result.
    """

    def __init__(
        self, name: str, dim: int, heads: int, *,
        bias: Literal["dot", "l2"] = "dot", retention: Literal["none", "scalar", "diagonal"] = "none",
        features: Callable[[Tensor], Tensor] | None = None, normalised: bool = False, chunk: int = 32,
        key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(name, dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv)
        if chunk < 1 or chunk & (chunk - 1):
            raise ValueError(f"a chunk is a power of two tokens, not {chunk}; 32 suits most machines")
        self.features, self.normalised, self.chunk = features, normalised, chunk
        self.rate = RateGate(dim, heads) if bias == "l2" else None
        self.decay: nn.Module | None = None
        if retention == "scalar":
            self.decay = ScalarDecay(dim, heads)
        elif retention == "diagonal":
            self.decay = DiagonalDecay(dim, heads, self.key_dim)

    def fresh(self, batch: int) -> Tensors:
        rows = self.key_dim if self.features is None else self.features(torch.zeros(self.key_dim)).shape[-1]
        return {"memory": zeros(self, batch, self.heads, rows, self.value_dim + self.normalised)}

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        rate = None if self.rate is None else self.rate(x)
        log_decay = None if self.decay is None else self.decay(x)
        if self.rate is not None:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if self.features is None:
            q = q * self.key_dim**-0.5
        else:
            q, k = self.features(q), self.features(k)
        if self.normalised:
            v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        real = real_tokens(x, lengths)
        if real is not None:
            v = v * real
            rate = None if rate is None else rate * real.squeeze(-1)
            if log_decay is not None:
                log_decay = log_decay * (real if log_decay.dim() == k.dim() else real.squeeze(-1))
        read, state = self.recall(x, q, k, v, memory["memory"], log_decay, rate)
        if self.normalised:
            read, total = read[..., :-1], read[..., -1:]
            read = read / total.clamp_min(1e-6)
        return read, {"memory": state}

    def recall(
        self,
        x: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: Tensor,
        log_decay: Tensor | None,
        rate: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Write and read the matrix; shapes as in `linear.chunked`."""
        if q.shape[-2] == 1:
            return loop(q, k, v, state, log_decay, rate)
        token = self.project.weight.dtype
        return chunked(q, k, v, state, log_decay, rate, chunk=self.chunk, token=token)
