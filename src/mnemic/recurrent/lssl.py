"""LSSL: one linear state space a channel, whose state holds the Legendre coefficients of its past.

    x' = A x + B u,   y = C x + D u;   bilinear:  x_t = Abar x_{t-1} + Bbar u_t,   K_i = C Abar^i Bbar

A, B are HiPPO-LegS, fixed; the step dt of a channel, C and D are learnt (the paper's code keeps dt fixed by
default). The kernel is read off the Krylov matrix Bbar, Abar Bbar, Abar^2 Bbar, ..., made by doubling. The
system is the same at every token, so it cannot choose what to keep. Gu et al. 2021, paper 69.
"""

import torch
from torch import nn

from mnemic.recurrent.engine.hippo import bilinear, legs, log_steps
from mnemic.recurrent.engine.invariant import Dense, Invariant, System
from mnemic.recurrent.engine.parts import wide
from mnemic.types import Claim

PAPER = 69
CLAIM = Claim(
    says="at equal state bytes a linear state of the whole past recalls more than a convolution",
    task="recurrent",
    method="lssl",
    baseline="gam",
    sabotage="lssl-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class LinearStateSpace(Invariant):
    """Dense systems of a fixed A and B."""

    a: torch.Tensor
    b: torch.Tensor

    def __init__(self, dim: int, reads: int, size: int, chunk: int) -> None:
        super().__init__("lssl", dim, reads=reads, size=size, gated=False, chunk=chunk)
        a, b = legs(size)
        self.register_buffer("a", a.float())
        self.register_buffer("b", b.float())
        self.log_step = nn.Parameter(log_steps(dim))
        self.c = nn.Parameter(torch.randn(dim, reads, size))

    def system(self) -> System:
        a, b = bilinear(wide(self.a), wide(self.b), wide(self.log_step).exp())
        return System(Dense(a), b, wide(self.c))


def layer(dim: int, heads: int = 1, *, size: int = 64, chunk: int = 64) -> LinearStateSpace:
    """A layer.

    Args:
        heads: outputs of every channel's system, mixed by one map.
        size: coefficients in the state of a channel.
        chunk: tokens convolved at once, a power of two.
    """
    return LinearStateSpace(dim, heads, size, chunk)
