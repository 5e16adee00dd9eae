"""Vision Mamba: a selective state space read forwards and backwards, so that every token sees both sides.

    h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t x_t,   y_t = C_t^T h_t + D x_t      one state [states] a channel
    Delta_t = softplus(W_D x_t + b),  B_t = W_B x_t,  C_t = W_C x_t,  A = -exp(a) < 0,  x = silu(conv(x))
    out = W_o (z * (forward(x) + backward(x)) / 2),   [x, z] = W_i u,   z through silu

Both directions share W_i and W_o and have their own convolution, A, B, C, D and Delta; the backward one runs on
the flipped sequence. This is the layer: patches, positions and a class token in the middle are the model's.
In the algebra: structure vector per channel; attentional bias dot product; retention diagonal gate.
Zhu et al. 2024, paper 16.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine import vector
from mnemic.recurrent.engine.encoder import Encoder
from mnemic.recurrent.engine.parts import ShortConv, wide
from mnemic.types import Claim

PAPER = 16
CLAIM = Claim(
    says="at equal parameters, scans from both sides see what two from the front cannot",
    task="recurrent_encoders",
    method="vim",
    baseline="vim-one-way",
    sabotage="vim-emptied",
    metric="accuracy",
    budget="the same parameters, pictures and steps of training",
)
KIND = "encoder"


class Direction(nn.Module):
    """One selective scan over x [batch, length, inner]."""

    def __init__(self, inner: int, states: int, rank: int, conv: int, chunk: int) -> None:
        super().__init__()
        self.states, self.rank, self.chunk = states, rank, chunk
        self.conv = ShortConv(inner, conv)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, inner)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        delta = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(0.1)))
        with torch.no_grad():
            self.step.bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # softplus of it is delta
        self.log_speed = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.through = nn.Parameter(torch.ones(inner))

    def forward(self, x: Tensor) -> Tensor:
        width, inner = self.conv.weight.shape
        x, _ = self.conv(x, x.new_zeros(x.shape[0], width - 1, inner), None)
        low, keys, queries = self.select(x).split([self.rank, self.states, self.states], -1)
        with torch.autocast(x.device.type, enabled=False):
            delta = F.softplus(wide(self.step(low.to(self.step.weight.dtype))))
            x = wide(x)
            seen = vector.read(
                delta, wide(self.log_speed).exp(), wide(keys), wide(queries), delta * x, chunk=self.chunk
            )
            return (seen + wide(self.through) * x).to(low.dtype)


class BidirectionalMamba(Encoder):
    def __init__(self, dim: int, *, expansion: int, states: int, conv: int, chunk: int) -> None:
        super().__init__("vim", dim)
        if min(expansion, states, conv, chunk) < 1:
            raise ValueError(
                f"expansion {expansion}, states {states}, conv {conv}, chunk {chunk}: all are at least 1"
            )
        inner, rank = expansion * dim, -(-dim // 16)
        self.project = nn.Linear(dim, 2 * inner, bias=False)
        self.ahead, self.back = (Direction(inner, states, rank, conv, chunk) for _ in range(2))
        self.output = nn.Linear(inner, dim, bias=False)

    def run(self, x: Tensor) -> Tensor:
        # Padding is zeros: without a bias they stay zeros and write nothing, from whichever side they are read.
        x, z = self.project(x).chunk(2, -1)
        y = (self.ahead(x) + self.back(x.flip(1)).flip(1)) / 2
        out: Tensor = self.output(y * F.silu(z))
        return out


def layer(
    dim: int, *, expansion: int = 2, states: int = 16, conv: int = 4, chunk: int = 64
) -> BidirectionalMamba:
    """A layer.

    Args:
        expansion: inner channels per channel; states: numbers remembered by each.
        conv: width of the short convolutions; chunk: tokens between states kept for the gradient.
    """
    return BidirectionalMamba(dim, expansion=expansion, states=states, conv=conv, chunk=chunk)
