"""Based: linear attention whose features are the Taylor terms of softmax's exponential.

    phi(q).phi(k) = 1 + s + s^2 / 2 >= 1/2,   s = q.k / sqrt(key_dim)
    S_t = S_{t-1} + phi(k_t) v_t^T,  z_t = z_{t-1} + phi(k_t),  o_t = S_t^T phi(q_t) / z_t^T phi(q_t)

This is the paper's linear layer: small keys, 1 + d + d(d+1)/2 features (products stored once). The paper's
models alternate it with sliding-window attention, which keeps the recent tokens exactly.
Structure matrix over polynomial features; attentional bias dot product; retention none; one gradient step.
Arora et al. 2024, paper 105.
"""

import math

import torch
from torch import Tensor

from mnemic.recurrent.engine.matrix import Matrix
from mnemic.types import Claim

PAPER = 105
CLAIM = Claim(
    says="at equal state bytes features of degree two recall more than one positive feature a channel",
    task="recurrent",
    options={"preset": "hour"},
    method="based-half",
    baseline="linear-attention-half",
    sabotage="based-half-emptied",
    metric="accuracy",
    budget="2,080 to 2,400 bytes of state, the same steps of training",
)


def taylor(x: Tensor) -> Tensor:
    """[..., d] -> [..., 1 + d + d (d + 1) / 2], with phi(x).phi(y) = 1 + s + s^2/2, s = x.y / sqrt(d)."""
    dim = x.shape[-1]
    x = x * dim**-0.25
    row, column = torch.triu_indices(dim, dim, device=x.device)
    scale = torch.where(row == column, math.sqrt(0.5), 1.0).to(x.dtype)
    return torch.cat([torch.ones_like(x[..., :1]), x, x[..., row] * x[..., column] * scale], -1)


def layer(
    dim: int, heads: int = 4, *, key_dim: int = 8, value_dim: int | None = None, conv: int = 4, chunk: int = 64
) -> Matrix:
    """A layer; the state holds (1 + d + d(d+1)/2) * (value_dim + 1) numbers a head, d = key_dim."""
    return Matrix(
        "based", dim, heads, features=taylor, normalised=True,
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
