"""DeepTransformer: softmax attention that corrects what its keys already recall, instead of adding to it.

    r_t = beta_t (v_t - sum_{t-w < j < t} kappa(k_t, k_j) r_j)           what the window did not recall yet
    o_t = sum_{t-w < j <= t} kappa(q_t, k_j) r_j,   kappa(x, y) = exp(s (x.y - 1)),   |q| = |k| = 1

is the delta rule over the features phi* of the exponential, phi*(x).phi*(y) = kappa(x, y). They are without
number, so the memory is held as the keys and corrections of the last w tokens. With the dot product for a bias,
r_t = v_t, it is unnormalised softmax attention over a window. beta_t = sigmoid(W x_t); s is learnt a head; it
starts at 8, so that a key recalls of one like it by chance (a cosine of 0.3) less than a hundredth.
Structure infinite features; attentional bias squared error; retention a window; one gradient step.
The paper's deep memories over phi* and its omega rule over several tokens are not here.
Behrouz et al. 2025 (ATLAS), paper 76.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import Associative, real_tokens, zeros
from mnemic.recurrent.engine.parts import RateGate, last, wide
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 76
CLAIM = Claim(
    says="at equal state bytes attention that corrects what it recalls already recalls more than attention",
    task="recurrent",
    method="deep-transformer",
    baseline="sliding-window",
    sabotage="deep-transformer-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class Corrected(Associative):
    """The delta rule over the features of the exponential, in a window."""

    def __init__(
        self, dim: int, heads: int, *, window: int, chunk: int, key_dim: int | None, value_dim: int | None,
        conv: int,
    ) -> None:  # fmt: skip
        super().__init__("deep-transformer", dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv)
        if window < 1 or chunk < 1:
            raise ValueError(f"window {window} and chunk {chunk} must be at least 1 token")
        self.window, self.chunk = window, chunk
        self.rate = RateGate(dim, heads)
        self.log_sharpness = nn.Parameter(torch.full((heads, 1, 1), math.log(8.0)))

    def fresh(self, batch: int) -> Tensors:
        return {"recent": zeros(self, batch, self.window - 1, self.heads, self.key_dim + self.value_dim)}

    def kappa(self, x: Tensor, y: Tensor) -> Tensor:
        """[..., n, d], [..., m, d] -> [..., n, m]."""
        return torch.exp(wide(self.log_sharpness).exp() * (x @ y.mT - 1))

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        q, k, rate = F.normalize(q, dim=-1), F.normalize(k, dim=-1), self.rate(x).unsqueeze(-1)
        real = real_tokens(x, lengths)
        rate = rate if real is None else rate * real
        recent, out = memory["recent"], []
        pieces = zip(*(torch.split(each, self.chunk, 2) for each in (q, k, v, rate)), strict=True)
        for i, (query, key, value, step) in enumerate(pieces):
            past_keys, past = torch.split(recent.transpose(1, 2), [self.key_dim, self.value_dim], -1)
            length, keys = key.shape[2], torch.cat([past_keys, key], 2)
            place = torch.arange(keys.shape[2], device=q.device)
            behind = place[self.window - 1 :, None] - place
            seen = (behind >= 0) & (behind < self.window)
            gram = step * self.kappa(key, keys) * (seen & (behind > 0))
            before, inside = torch.split(gram, [self.window - 1, length], -1)
            wanted = step * value - before @ past
            own = torch.linalg.solve_triangular(inside, wanted, upper=False, unitriangular=True)
            corrections = torch.cat([past, own], 2)
            out.append((self.kappa(query, keys) * seen) @ corrections)
            new = torch.cat([key, own], -1).transpose(1, 2)
            counts = None if lengths is None else (lengths - i * self.chunk).clamp(0, length)
            recent = last(recent, new, counts)
        return torch.cat(out, 2), {"recent": recent}


def layer(
    dim: int, heads: int = 4, *, window: int = 64, key_dim: int | None = None, value_dim: int | None = None,
    conv: int = 4, chunk: int = 64,
) -> Corrected:  # fmt: skip
    """A layer.

    Args:
        window: w, tokens whose corrections are held, the token's own included.
        chunk: tokens solved for together; changes the speed, never the result.
    """
    return Corrected(dim, heads, window=window, chunk=chunk, key_dim=key_dim, value_dim=value_dim, conv=conv)
