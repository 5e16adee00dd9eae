"""S4: a linear state space a channel, normal plus low rank, whose convolution comes of a Cauchy kernel.

    x' = (Lambda - P P^*) x + B u,   y = Re C x + D u,   bilinear with step dt
    K^(w) = sum_{i < L} K_i w^i = dt (c(C~, B) - h c(C~, P) c(P^*, B) / (1 + h c(P^*, P)))
    C~ = C (I - Abar^L),   c(a, b) = sum_n a_n b_n / (g - h Lambda_n),   g = 1 - w,   h = dt (1 + w) / 2

at the L-th roots of unity w; the inverse FFT of K^ is the kernel. This form of the paper's Cauchy kernel, whose
node is g / h, needs no limit at w = -1. Lambda, P, B start as HiPPO-LegS in its eigenbasis and are common to
all channels; every channel has its own dt, C and D. C is the parameter, where the paper's code learns C~.
The state crosses chunks by powers of the dense Abar. Time-invariant, so it cannot choose what to keep.
Gu et al. 2022, paper 77.
"""

import math

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.hippo import bilinear, log_steps, normal_plus_low_rank
from mnemic.recurrent.engine.invariant import Dense, Invariant, System, Transition
from mnemic.recurrent.engine.parts import wide
from mnemic.types import Claim

PAPER = 77
CLAIM = Claim(
    says="at equal state bytes a learnt normal-plus-low-rank system recalls more than a fixed one",
    task="recurrent",
    method="s4",
    baseline="lssl",
    sabotage="s4-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class NormalPlusLowRank(Invariant):
    """Systems in real coordinates: the real and imaginary part of every conjugate pair, in turns."""

    def __init__(self, dim: int, reads: int, size: int, chunk: int) -> None:
        super().__init__("s4", dim, reads=reads, size=size, gated=True, chunk=chunk)
        values, p, b = normal_plus_low_rank(size)
        self.log_decay = nn.Parameter((-values.real).log().float())
        self.speed = nn.Parameter(values.imag.float())
        self.p = nn.Parameter(torch.view_as_real(p).float())
        self.b = nn.Parameter(torch.view_as_real(b).float())
        self.c = nn.Parameter(torch.randn(dim, reads, size // 2, 2) * math.sqrt(0.5))
        self.log_step = nn.Parameter(log_steps(dim))

    def system(self) -> System:
        decay, speed = wide(self.log_decay).exp(), wide(self.speed)
        pairs = torch.stack([torch.stack([-decay, -speed], -1), torch.stack([speed, -decay], -1)], -2)
        p = wide(self.p).flatten()
        a, b = bilinear(
            torch.block_diag(*pairs)  # type: ignore[no-untyped-call]
            - 2 * torch.outer(p, p),
            wide(self.b).flatten(),
            wide(self.log_step).exp(),
        )
        conjugate = torch.tensor([2.0, -2.0], device=p.device)  # 2 Re(c z) = 2 c_re z_re - 2 c_im z_im
        return System(Dense(a), b, (wide(self.c) * conjugate).flatten(-2))

    def kernel(self, system: System, powers: list[Transition], krylov: Tensor) -> Tensor:
        length = krylov.shape[-1]
        cut = system.c - powers[-1].rows(system.c)  # C~
        c = _both(torch.complex(cut[..., ::2], -cut[..., 1::2]) / 2)  # [channels, reads, n]
        p, b = (_both(torch.view_as_complex(wide(each))) for each in (self.p, self.b))
        values = _both(torch.complex(-wide(self.log_decay).exp(), wide(self.speed)))
        angle = -2 * math.pi / length * torch.arange(length // 2 + 1, device=p.device, dtype=cut.dtype)
        w = torch.polar(torch.ones_like(angle), angle)
        step = wide(self.log_step).exp()[:, None]
        g, h = 1 - w, step * (1 + w) / 2  # [roots], [channels, roots]
        cauchy = 1 / (g - h.unsqueeze(-2) * values[:, None])  # [channels, n, roots]
        left, right = torch.stack([b, p]), torch.stack([c * b, c * p])
        outer = right @ cauchy  # [2, channels, reads, roots]
        inner = (p.conj() * left) @ cauchy  # [channels, 2, roots]
        h = h.unsqueeze(-2)
        low_rank = h * outer[1] * inner[:, :1] / (1 + h * inner[:, 1:])
        kernel: Tensor = torch.fft.irfft(step.unsqueeze(-1) * (outer[0] - low_rank), length)
        return kernel


def _both(x: Tensor) -> Tensor:
    """[..., n / 2] -> [..., n]: with the conjugates."""
    return torch.cat([x, x.conj()], -1)


def layer(dim: int, heads: int = 1, *, size: int = 64, chunk: int = 64) -> NormalPlusLowRank:
    """A layer.

    Args:
        heads: outputs of every channel's system, mixed by one map.
        size: real numbers in the state of a channel.
        chunk: tokens convolved at once, a power of two.
    """
    return NormalPlusLowRank(dim, heads, size, chunk)
