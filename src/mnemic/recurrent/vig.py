"""ViG: gated linear attention over an image in both directions, with the neighbourhood of every place mixed in.

    s = silu(conv3x3(x));   q, k, v, gates from s
    o = (GLA(q, k, v; a^forward) + flip GLA(flip q, flip k, flip v; flip a^backward)) / 2
    y = W_o (g * norm(o) + (1 - g) * norm(s)),   g = sigmoid(W_g s)

Places are read row by row. The directions share queries, keys and values and differ in their gates alone; a
place itself is counted by both. g chooses per channel between what all the image says and what is near.
Structure matrix; attentional bias dot product; retention diagonal gate.
Liao et al. 2024, paper 61.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.linear import chunked
from mnemic.recurrent.engine.parts import DiagonalDecay, HeadNorm, refuse_overflow, split_heads, wide
from mnemic.types import Claim

PAPER = 61
CLAIM = Claim(
    says="at equal parameters, a neighbourhood of two dimensions sees more than one along the rows",
    task="recurrent_encoders",
    method="vig",
    baseline="vig-row",
    sabotage="vig-emptied",
    metric="accuracy",
    budget="the same parameters, pictures and steps of training",
)
KIND = "encoder"


class GatedImage(nn.Module):
    """x [batch, height, width, dim] -> y of the same shape.

    Raises:
        ValueError: heads that do not divide the width, or other sizes that do not fit.
    """

    def __init__(self, dim: int, heads: int, *, key_dim: int | None, chunk: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"{heads} heads do not divide a width of {dim}; take a divisor")
        self.dim, self.heads, self.chunk = dim, heads, chunk
        self.key_dim = max(dim // heads // 2, 1) if key_dim is None else key_dim
        if self.key_dim < 1:
            raise ValueError(f"key_dim is at least 1, not {key_dim}")
        if chunk < 1 or chunk & (chunk - 1):
            raise ValueError(f"a chunk is a power of two tokens, not {chunk}; 64 suits most machines")
        self.near = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.project = nn.Linear(dim, 2 * heads * self.key_dim + dim, bias=False)
        self.ahead, self.back = (DiagonalDecay(dim, heads, self.key_dim) for _ in range(2))
        self.mix = nn.Linear(dim, dim)
        self.norm, self.norm_near = HeadNorm(dim // heads), HeadNorm(dim // heads)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[-1] != self.dim:
            raise ValueError(f"vig reads [batch, height, width, {self.dim}], not {list(x.shape)}")
        if x.numel() == 0:
            return x
        s = F.silu(self.near(x.permute(0, 3, 1, 2))).flatten(2).mT  # [batch, length, dim]
        s = s.to(self.project.weight.dtype)  # under autocast they differ
        sizes = [self.heads * self.key_dim, self.heads * self.key_dim, self.dim]
        mixed = self.project(s)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = (split_heads(wide(each), self.heads) for each in mixed.split(sizes, -1))
            q = q * self.key_dim**-0.5
            seen = self.scan(q, k, v, self.ahead(s))
            seen = seen + self.scan(*(each.flip(-2) for each in (q, k, v, self.back(s)))).flip(-2)
            near = split_heads(wide(s), self.heads)
            far, near = (
                norm(each).transpose(1, 2).flatten(2).to(s.dtype)
                for norm, each in ((self.norm, seen / 2), (self.norm_near, near))
            )
        g = torch.sigmoid(self.mix(s))
        out: Tensor = self.output(g * far + (1 - g) * near)
        refuse_overflow("vig", x, out)
        return out.reshape(x.shape)

    def scan(self, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        state = q.new_zeros(*q.shape[:2], self.key_dim, v.shape[-1])
        token = self.project.weight.dtype
        return chunked(q, k, v, state, log_decay, chunk=self.chunk, token=token)[0]


def layer(dim: int, heads: int = 4, *, key_dim: int | None = None, chunk: int = 64) -> GatedImage:
    """A layer; `key_dim` is half a head's share of dim if not given, values are the whole share."""
    return GatedImage(dim, heads, key_dim=key_dim, chunk=chunk)
