"""S4D: S4 without its low-rank part: every number of the state turns and decays by itself.

    x_t = e^{dt Lambda} x_{t-1} + (e^{dt Lambda} - 1) / Lambda u_t,   y_t = 2 Re C x_t + D u_t
    K_i = 2 Re sum_n C_n (e^{dt Lambda_n} - 1) / Lambda_n e^{i dt Lambda_n}

Lambda_n starts at -1/2 + i pi n (S4D-Lin) and is common to all channels; every channel has its own dt, C and D.
Gu et al. 2022 (On the Parameterization and Initialization of Diagonal State Space Models).
"""

import math

import torch
from torch import nn

from mnemic.recurrent.engine.hippo import log_steps
from mnemic.recurrent.engine.invariant import Diagonal, Invariant, System
from mnemic.recurrent.engine.parts import wide

PAPER = 0


class DiagonalStateSpace(Invariant):
    """Complex diagonal systems."""

    def __init__(self, dim: int, reads: int, size: int, chunk: int) -> None:
        super().__init__("s4d", dim, reads=reads, size=size, gated=True, chunk=chunk)
        self.log_decay = nn.Parameter(torch.full((size // 2,), math.log(0.5)))
        self.speed = nn.Parameter(math.pi * torch.arange(size // 2, dtype=torch.float32))
        self.c = nn.Parameter(torch.randn(dim, reads, size // 2, 2) * math.sqrt(0.5))
        self.log_step = nn.Parameter(log_steps(dim))

    def system(self) -> System:
        values = torch.complex(-wide(self.log_decay).exp(), wide(self.speed))
        moved = values * wide(self.log_step).exp()[:, None]
        b = torch.expm1(moved) / values
        return System(Diagonal(moved.exp()), b.unsqueeze(-1), 2 * torch.view_as_complex(wide(self.c)))


def layer(dim: int, heads: int = 1, *, size: int = 64, chunk: int = 64) -> DiagonalStateSpace:
    """A layer.

    Args:
        heads: outputs of every channel's system, mixed by one map.
        size: real numbers in the state of a channel.
        chunk: tokens convolved at once, a power of two.
    """
    return DiagonalStateSpace(dim, heads, size, chunk)
