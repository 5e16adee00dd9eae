"""HiPPO-LegS: the linear system whose state holds the Legendre coefficients of all it read.

    A_nk = -sqrt((2n+1)(2k+1)) for n > k, -(n+1) for n = k, 0 above;   B_n = sqrt(2n+1)

With P_n = sqrt(n + 1/2), A + P P^T + I/2 is skew-symmetric, so that for a unitary V

    A = V (Lambda - (V^* P)(V^* P)^*) V^*                                   normal plus low rank

Eigenvalues come in conjugate pairs, of which one each is kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def legs(size: int) -> tuple[Tensor, Tensor]:
    """A [size, size] and B [size], in float64."""
    n = torch.arange(size, dtype=torch.float64)
    root = (2 * n + 1).sqrt()
    return -torch.outer(root, root).tril(-1) - torch.diag(n + 1), root


def normal_plus_low_rank(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lambda, P and B in the eigenbasis, [size / 2] complex each: of every conjugate pair the one above."""
    a, b = legs(size)
    p = (torch.arange(size, dtype=torch.float64) + 0.5).sqrt()
    skew = a + torch.outer(p, p) + torch.eye(size, dtype=torch.float64) / 2
    imaginary, v = torch.linalg.eigh(skew * -1j)
    back = v.mH[size // 2 :]  # in ascending order
    values = torch.complex(torch.full_like(imaginary, -0.5), imaginary)[size // 2 :]
    return values, back @ p.to(back.dtype), back @ b.to(back.dtype)


def log_steps(channels: int, least: float = 1e-3, most: float = 0.1) -> Tensor:
    """Logs of step sizes, log-uniform: channels that look back over 1 / most to 1 / least tokens."""
    return torch.empty(channels).uniform_(math.log(least), math.log(most))


def bilinear(a: Tensor, b: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The discrete system of a [n, n], b [n] for steps [channels] -> [channels, n, n], [channels, n, 1].

    (I - dt/2 A)^{-1} (I + dt/2 A) and (I - dt/2 A)^{-1} dt B: stable whenever A is, for any step.
    """
    half = steps[:, None, None] / 2 * a
    one = torch.eye(a.shape[0], dtype=a.dtype, device=a.device)
    found = torch.linalg.solve(one - half, torch.cat([one + half, steps[:, None, None] * b[:, None]], -1))
    return found[..., :-1], found[..., -1:]
