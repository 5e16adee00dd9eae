"""Mamba: a state space whose step, input and output are made from the token: it chooses what to keep.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T,   y_t = h_t^T C_t + D x_t,   out = W norm(y * silu(z))
    (z, x, B, C) = W x with a short convolution on x, B, C;   dt_t = softplus(W x_t + b) > 0,   A < 0

x is split into heads; B and C are common to them. `decay` "scalar" has one A a head (Mamba-2), "diagonal" one
for every number of the state; with as many heads as channels that is Mamba-1. Either is the engine `linear`
with queries C, keys B, values dt x and a log-decay dt A.
Steps start at 1, decays so that heads remember 10 to 1000 tokens, and D at 0. The papers' code starts with
steps of 1e-3 to 0.1, A of -1 to -16 and D at 1: what is read then whispers beside D x, and a model that trains
for a few hundred steps recalls nothing.
Structure matrix; attentional bias dot product; retention gate tied to the step; one gradient step.
Gu and Dao 2023; Dao and Gu 2024.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import real_tokens, zeros
from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.linear import chunked, loop
from mnemic.recurrent.engine.parts import HeadNorm, ShortConv, split_heads, wide
from mnemic.recurrent.engine.state import Tensors

PAPER = 0
Decay = Literal["scalar", "diagonal"]


class Selective(Layer):
    """A selective state space.

    Args:
        size: numbers in the state of one channel (N).
        expand: channels of the state space, in widths of the layer.
        decay: one rate of decay a head, or one for every number of its state.
        conv: width of the short convolution before x, B and C; 0 for none.
        chunk: tokens computed side by side, a power of two; changes the speed, never the result.
    """

    def __init__(
        self, name: str, dim: int, heads: int, *, size: int, expand: int, decay: Decay, conv: int, chunk: int
    ) -> None:
        super().__init__(name, dim)
        inner = expand * dim
        if heads < 1 or inner < 1 or inner % heads:
            raise ValueError(f"{heads} heads do not divide {inner} channels (width {dim} times {expand})")
        if size < 1 or conv < 0:
            raise ValueError(f"size {size}, conv {conv}: need at least 1, 0")
        if decay not in ("scalar", "diagonal"):
            raise ValueError(f"a decay is 'scalar' or 'diagonal', not {decay!r}")
        if chunk < 1 or chunk & (chunk - 1):
            raise ValueError(f"a chunk is a power of two tokens, not {chunk}; 64 suits most machines")
        if decay == "diagonal":
            self.define(diagonal=True)
        self.heads, self.inner, self.size, self.chunk = heads, inner, size, chunk
        self.project = nn.Linear(dim, inner + 2 * size, bias=False)
        self.conv = ShortConv(inner + 2 * size, conv) if conv else None
        self.gate = nn.Linear(dim, inner, bias=False)
        self.steps = nn.Linear(dim, heads, bias=False)
        nn.init.normal_(self.steps.weight, std=0.1 * dim**-0.5)
        self.step_bias = nn.Parameter(torch.full((heads,), math.log(math.e - 1)))  # softplus of it is 1
        speed = torch.empty(heads, 1).uniform_(math.log(1e-3), math.log(0.1))
        if decay == "diagonal":
            speed = speed + (torch.arange(1.0, size + 1) / size).log()
        self.log_speed = nn.Parameter(speed)
        self.skip = nn.Parameter(torch.zeros(heads, 1, 1))
        self.norm = HeadNorm(inner)
        self.output = nn.Linear(inner, dim, bias=False)

    def initial(self, batch: int) -> Tensors:
        memory = {"memory": zeros(self, batch, self.heads, self.size, self.inner // self.heads)}
        if self.conv is not None:
            width, channels = self.conv.weight.shape
            memory["past"] = self.conv.weight.new_zeros(batch, width - 1, channels)
        return memory

    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        memory, mixed = dict(tensors), self.project(x)
        kept: Tensors = {}
        if self.conv is not None:
            mixed, kept["past"] = self.conv(mixed, memory.pop("past"), lengths)
        with torch.autocast(x.device.type, enabled=False):
            values, keys, queries = torch.split(wide(mixed), [self.inner, self.size, self.size], -1)
            values = split_heads(values, self.heads)
            steps = F.softplus(wide(self.steps(x)) + wide(self.step_bias)).transpose(1, 2)
            real = real_tokens(x, lengths)
            steps = steps if real is None else steps * real.squeeze(-1)
            shape = (-1, self.heads, -1, -1)
            keys, queries = keys.unsqueeze(1).expand(shape), queries.unsqueeze(1).expand(shape)
            read, memory = self.remember(queries, keys, values, steps, memory, lengths)
            y = (read + wide(self.skip) * values).transpose(1, 2).flatten(2)
            y = self.norm(y * F.silu(wide(self.gate(x)))).to(mixed.dtype)
        y = self.output(y)
        return y if real is None else y * real[:, 0].to(y.dtype), memory | kept

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        """q, k [batch, heads, length, size], v [..., channels], steps [..., length] -> read-outs, memory.

        A step of 0 is no token: nothing decays and nothing is written.
        """
        read, state = self.scanned(q, k, v, steps, memory["memory"])
        return read, memory | {"memory": state}

    def scanned(self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        write = steps.unsqueeze(-1) * v
        if q.shape[-2] == 1:
            return loop(q, k, write, state, self.log_decay(steps))
        token = self.project.weight.dtype
        return chunked(q, k, write, state, self.log_decay(steps), chunk=self.chunk, token=token)

    def log_decay(self, steps: Tensor) -> Tensor:
        """dt A, [batch, heads, length] or, for a decay of every number, [batch, heads, length, size]."""
        speed = wide(self.log_speed).exp()
        if speed.shape[1] == 1:
            return -speed * steps
        return -speed.unsqueeze(-2) * steps.unsqueeze(-1)


def layer(
    dim: int, heads: int = 4, *, size: int = 64, expand: int = 1, decay: Decay = "scalar", conv: int = 4,
    chunk: int = 64,
) -> Selective:  # fmt: skip
    """A layer; the arguments are those of `Selective`. The papers' models have `expand` 2."""
    return Selective("mamba", dim, heads, size=size, expand=expand, decay=decay, conv=conv, chunk=chunk)
