"""Softmax attention over the last `window` tokens, or over all: the two ends any state is measured against.

    o_t = sum_j softmax_j(q_t . k_j / sqrt(key_dim)) v_j,   t - window < j <= t,   q and k rotated by position

The state is the keys and values themselves, real tokens last, unrotated: only distances matter to a rotation,
and places within [state | new tokens] have the right ones.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import Associative, zeros
from mnemic.recurrent.engine.parts import last
from mnemic.recurrent.engine.state import Tensors

BLOCK = 256  # queries scored at once: bounds the scores held to BLOCK * (BLOCK + window)


class Windowed(Associative):
    """Attention over a window.

    Args:
        window: tokens a query sees, itself included; None: all, with a state that grows.

    Raises:
        ValueError: a window below 1, or keys of an odd size.
    """

    def __init__(
        self, name: str, dim: int, heads: int, *, window: int | None, key_dim: int | None = None,
        value_dim: int | None = None, conv: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(name, dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv)
        if window is not None and window < 1:
            raise ValueError(f"a window holds at least 1 token, not {window}")
        if self.key_dim % 2:
            raise ValueError(f"keys are rotated in pairs of channels; key_dim {self.key_dim} must be even")
        self.window = window
        self.growing = frozenset() if window else frozenset({"tokens"})

    def fresh(self, batch: int) -> Tensors:
        return no_tokens(self, batch, self.window)

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        return attend(q, k, v, memory, lengths, self.window)


def no_tokens(layer: Associative, batch: int, window: int | None) -> Tensors:
    """The memory of `attend` before anything was read."""
    held = window - 1 if window else 0
    return {
        "tokens": zeros(layer, batch, held, layer.heads, layer.key_dim + layer.value_dim),
        "held": torch.zeros(batch, dtype=torch.int64, device=layer.output.weight.device),
    }


def attend(
    q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None, window: int | None
) -> tuple[Tensor, Tensors]:
    """Attention of new tokens to the last `window` ones; `memory` holds "tokens" and "held", how many are real.

    q, k [batch, heads, length, key_dim], v [..., value_dim] -> outputs like v, and the memory.
    """
    past, new = memory["tokens"], torch.cat([k, v], -1).transpose(1, 2)
    before, length = past.shape[1], q.shape[2]
    both = torch.cat([past, new], 1).transpose(1, 2)
    place = torch.arange(both.shape[2], device=q.device)
    keys, values = both.tensor_split((k.shape[-1],), -1)
    keys, queries = rotated(keys, place), rotated(q, place[before:])
    real = place >= before - memory["held"][:, None, None, None]
    out = []
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        seen = slice(0 if window is None else start, before + stop)
        behind = place[before + start : before + stop, None] - place[seen]
        allowed = real[..., seen] & (behind >= 0)
        if window is not None:
            allowed = allowed & (behind < window)
        out.append(
            F.scaled_dot_product_attention(
                queries[:, :, start:stop], keys[:, :, seen], values[:, :, seen], attn_mask=allowed
            )
        )
    if window is None:
        past = F.pad(past, (0, 0, 0, 0, length, 0))
    held = memory["held"] + (length if lengths is None else lengths)
    if window is not None:
        held = held.clamp_max(window - 1)
    return torch.cat(out, 2), {"tokens": last(past, new, lengths), "held": held}


def rotated(x: Tensor, place: Tensor, base: float = 10000.0) -> Tensor:
    """x [..., length, d] with its pairs of channels turned by place * base^(-2i/d)."""
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
    angle = place.to(x.dtype)[:, None] * speed
    first, second = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
