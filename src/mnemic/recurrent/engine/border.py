"""What happens to a memory's weights at the end of a chunk beyond sums of steps.

Every function takes (running, momentum) and returns (running, weights that are read until the next border).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnemic.recurrent.engine import slopes
from mnemic.recurrent.engine.network import Weights

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def quartic_norm(running: Weights, momentum: Weights) -> tuple[Weights, Weights]:
    """Retention by the 4-norm: W = A / |A|_4^2."""
    return running, [slopes.quartic(a) for a in running]


def simplex(running: Weights, momentum: Weights) -> tuple[Weights, Weights]:
    """Retention by relative entropy: n softmax(A) - 1 over the n inputs of every output, of mean 0."""
    return running, [a.shape[-2] * torch.softmax(a, -2) - 1 for a in running]


def orthogonal_step(running: Weights, momentum: Weights) -> tuple[Weights, Weights]:
    """Muon: the momentum is added with its directions made equally long, its Frobenius norm kept."""
    moved = [w + orthogonalised(s) for w, s in zip(running, momentum, strict=True)]
    return moved, moved


def orthogonal_step_on_sphere(running: Weights, momentum: Weights) -> tuple[Weights, Weights]:
    """The same, after which the weights into every output have the length they had before."""
    moved = []
    for old, new in zip(running, orthogonal_step(running, momentum)[0], strict=True):
        lengths = old.norm(dim=-2, keepdim=True) / new.norm(dim=-2, keepdim=True).clamp_min(1e-12)
        moved.append(new * lengths)
    return moved, moved


def orthogonalised(x: Tensor, steps: int = 5) -> Tensor:
    """x [rows, n, m] with all its singular values near each other and the same Frobenius norm; zero stays zero.

    Newton-Schulz iteration X <- aX + (b A + c A^2) X, A = X X^T (Muon). Singular values above 0.3% of the norm
    end within [0.68, 1.20] of each other's mean; smaller ones stay small.
    """
    norm = x.square().sum((-2, -1), keepdim=True).add(1e-14).sqrt()
    wide = x.shape[-2] > x.shape[-1]
    y = (x.mT if wide else x) / norm
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = torch.bmm(y, y.mT)
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    y = y * norm / y.square().sum((-2, -1), keepdim=True).add(1e-14).sqrt()
    return y.mT if wide else y
