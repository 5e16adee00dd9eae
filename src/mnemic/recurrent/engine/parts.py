"""Shared parts: a short convolution, a norm, gates, feature maps, and the bookkeeping of real tokens.

A batch is read with its real tokens first in every row (`pack`), so "padding" is always a tail, and what a
row remembers is cut at its own length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def check_mask(mask: Tensor | None, x: Tensor) -> None:
    """Refuse a mask that does not say of every token of x [batch, length, ...] whether it is real.

    Raises:
        TypeError: it is not boolean.
        ValueError: it is not [batch, length].
    """
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"a mask is boolean (True: a real token), not {mask.dtype}; compare it with 0")
    if mask is not None and mask.shape != x.shape[:2]:
        raise ValueError(
            f"the mask is {list(mask.shape)} but the tokens are {list(x.shape[:2])}; give one flag a token"
        )


def pack(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The order [batch, length] that puts real tokens first, each kind in its own order, and their number."""
    return torch.argsort((~mask).to(torch.int8), dim=1, stable=True), mask.sum(1)


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """x [batch, length, ...] with every row in the given order [batch, length]."""
    index = order.reshape(order.shape + (1,) * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def last(past: Tensor, new: Tensor, lengths: Tensor | None) -> Tensor:
    """The latest tokens after reading `new`: as many as `past` holds, from [past | the real part of new].

    past [batch, n, ...], new [batch, length, ...], lengths [batch] or None (all real) -> [batch, n, ...].
    """
    n = past.shape[1]
    both = torch.cat([past, new], 1)
    if lengths is None:
        return both[:, new.shape[1] :].clone()
    return reorder(both, lengths[:, None] + torch.arange(n, device=past.device))


def picked(x: Tensor, index: Tensor) -> Tensor:
    """x [batch, heads, n, d] at index [batch, m], kept inside -> [batch, heads, m, d]."""
    index = index.clamp(0, x.shape[2] - 1)[:, None, :, None]
    return x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3]))


class ShortConv(nn.Module):
    """Causal depthwise convolution, then SiLU: lets a key know the tokens just before it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels).uniform_(-1, 1) / math.sqrt(width))

    def forward(self, x: Tensor, past: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [batch, length, channels], past [batch, width - 1, channels] -> the same shapes."""
        y, past = self.mix(x, past, lengths)
        return F.silu(y), past

    def mix(self, x: Tensor, past: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """The convolution alone."""
        both = torch.cat([past.to(x.dtype), x], 1)
        length = x.shape[1]
        y = torch.zeros_like(x)
        for i, weight in enumerate(self.weight):
            y = torch.addcmul(y, both[:, i : i + length], weight)
        return y, last(past, x.to(past.dtype), lengths)


class HeadNorm(nn.Module):
    """Root-mean-square norm over the last dimension, in float32, for numbers of any size."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class GatedPair(nn.Module):
    """Two read-outs of a memory in one: g * norm(near) + (1 - g) * norm(far), g = sigmoid(W x) a channel."""

    def __init__(self, dim: int, heads: int, value_dim: int) -> None:
        super().__init__()
        self.heads, self.share = heads, nn.Linear(dim, heads * value_dim)
        self.near, self.far = HeadNorm(value_dim), HeadNorm(value_dim)

    def forward(self, x: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """x [batch, length, dim], near and far [batch, heads, length, value_dim] -> their shape."""
        share = torch.sigmoid(split_heads(wide(self.share(x)), self.heads))
        return torch.lerp(self.far(far), self.near(near), share)


class RateGate(nn.Module):
    """How strongly a token is written, beta in (0, 1) per head: sigmoid(W x)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, dim] -> [batch, heads, length]."""
        return torch.sigmoid(wide(self.map(x))).transpose(1, 2)


class ScalarDecay(nn.Module):
    """Log of the share of the state kept, per head: g = -exp(a) softplus(W x + b) <= 0.

    Starts with exp(a) = 1 and softplus(b) log-uniform in [1e-3, 0.1]: heads remember 10 to 1000 tokens.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, heads, bias=False)
        nn.init.normal_(self.map.weight, std=0.1 * dim**-0.5)
        step = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(0.1)))
        self.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.log_speed = nn.Parameter(torch.zeros(heads))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, dim] -> [batch, heads, length]."""
        steps = F.softplus(wide(self.map(x)) + wide(self.bias))
        return (-wide(self.log_speed).exp() * steps).transpose(1, 2)


class DiagonalDecay(nn.Module):
    """Log of the share kept of every key channel: logsigmoid(W2 W1 x + b) / 16, W1 of rank 16."""

    def __init__(self, dim: int, heads: int, key_dim: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Linear(dim, 16, bias=False), nn.Linear(16, heads * key_dim))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, dim] -> [batch, heads, length, key_dim]."""
        return split_heads(F.logsigmoid(wide(self.map(x))) / 16, self.heads)


def wide(x: Tensor) -> Tensor:
    """x in at least float32: states, decays and sums are never kept in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def refuse_overflow(name: str, x: Tensor, y: Tensor, *state: Tensor) -> None:
    """Check that of tokens x came finite numbers; those of float16 end at 65504.

    Raises:
        ValueError: the layer `name` made infinite or undefined ones of finite tokens.
    """
    overflown = y.dtype == torch.float16 and not all(torch.isfinite(each).all() for each in (y, *state))
    if overflown and torch.isfinite(x).all():
        raise ValueError(
            f"{name} came to numbers beyond 65504, the largest of float16; use bfloat16, which has the range "
            "of float32, or smaller input"
        )


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, length, heads * d] -> [batch, heads, length, d]."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def elu_plus_one(x: Tensor) -> Tensor:
    """A positive feature map, elu(x) + 1, of the same size as x."""
    return F.elu(x) + 1


class Segments:
    """A batch of rows cut where each one's own segment of `size` tokens ends, counted from its start.

    Args:
        phase: [batch] tokens of the current segment read before.
        lengths: [batch] how many tokens of a row are real, the first ones; None: all.

    Attributes:
        phase: the same after these tokens.
        index: for every cut, which tokens it holds, [batch, width], and in `own` whether they are the row's.
        counts: how many of these, the first ones, are a row's own, [batch]; None: all of them, in every row.
    """

    def __init__(self, phase: Tensor, lengths: Tensor | None, length: int, size: int) -> None:
        left = torch.full_like(phase, length) if lengths is None else lengths
        self.phase, self.length = (phase + left) % size, length
        self.alike = lengths is None and bool((phase == phase[:1]).all())
        begin = torch.zeros_like(phase)
        self.index: list[Tensor] = []
        self.own: list[Tensor] = []
        self.counts: list[Tensor | None] = []
        self.full: list[Tensor] = []
        while not self.index or bool((left > 0).any()):
            count = torch.minimum(size - phase, left)
            place = torch.arange(max(int(count.max()), 1), device=phase.device)
            self.index.append(begin[:, None] + place)
            self.own.append(place < count[:, None])
            self.counts.append(None if self.alike else count)
            self.full.append((phase + count == size) & (count > 0))
            begin, left, phase = begin + count, left - count, (phase + count) % size

    def cut(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """x [batch, heads, length, d] -> pieces [batch, heads, width, d], zero after a row's own tokens, and
        which rows [batch] end a segment with it."""
        if self.alike:
            yield from zip(torch.split(x, [index.shape[1] for index in self.index], 2), self.full, strict=True)
            return
        for i, index in enumerate(self.index):
            yield picked(x, index) * self.own[i][:, None, :, None], self.full[i]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """Answers to the pieces, put back to [batch, heads, length, d]; zero where a token is not real."""
        if self.alike:
            return torch.cat(list(pieces), 2)
        own = torch.cat(self.own, 1)
        index = torch.where(own, torch.cat(self.index, 1), self.length)
        joined = F.pad(torch.cat(list(pieces), 2), (0, 0, 0, 1))
        where = torch.full((len(own), self.length + 1), own.shape[1], device=own.device)
        place = torch.arange(own.shape[1], device=own.device).expand_as(index)
        where = where.scatter(1, index, place)[:, :-1]
        return picked(joined, where)
