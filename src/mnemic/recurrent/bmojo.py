"""B'MOJO: a fading state, a window of recent tokens and a few surprising old ones, read by one softmax.

    y_t = S_t^T q_t                                          fading: a gated delta rule's state
    e_i = |v_i - S_{i-1}^T k_i|^2 / |v_i|^2                  innovation: what the state did not foresee
    o_t = softmax over {i > t - w}, {the M tokens of highest e_i among i <= t - w} and y_t itself

with weights q_t.k_i / sqrt(key_dim) for values v_i, and q_t.W y_t / sqrt(key_dim) for the value y_t. Old tokens
are kept as they are (eidetic memory), chosen one by one as they leave the window; choosing has no gradient.
The paper leaves the predictor open and attends to the state's outputs of the w tokens before the window; here
the state is its own predictor, and its latest output stands for all it holds.
Zancato et al. 2024, paper 78.
"""

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.associative import real_tokens, zeros
from mnemic.recurrent.engine.chosen import compact, higher, stays
from mnemic.recurrent.engine.matrix import Matrix
from mnemic.recurrent.engine.parts import last
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 78
CLAIM = Claim(
    says="at equal state bytes a window, a state and surprising tokens recall more together than a state alone",
    task="recurrent",
    options={"preset": "hour"},
    method="bmojo-quarter",
    baseline="gated-delta-rule-quarter",
    sabotage="bmojo-quarter-emptied",
    metric="accuracy",
    budget="1,020 to 1,220 bytes of state, the same steps of training",
)


class Eidetic(Matrix):
    """A gated delta rule with tokens kept beside it."""

    def __init__(
        self, dim: int, heads: int, *, window: int, storage: int, key_dim: int | None, value_dim: int | None,
        conv: int, chunk: int,
    ) -> None:  # fmt: skip
        super().__init__(
            "bmojo", dim, heads, bias="l2", retention="scalar",
            key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
        )  # fmt: skip
        if window < 1 or storage < 0:
            raise ValueError(f"window {window}, storage {storage}: need at least 1, 0 tokens")
        self.window, self.storage = window, storage
        self.fading_key = nn.Parameter(torch.randn(heads, self.value_dim, self.key_dim) * self.value_dim**-0.5)

    def fresh(self, batch: int) -> Tensors:
        width = self.key_dim + self.value_dim + 2
        return super().fresh(batch) | {
            "recent": zeros(self, batch, self.window - 1, self.heads, width),
            "kept": zeros(self, batch, self.heads, self.storage, width),
        }

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        fading, state = super().remember(x, q, k, v, memory, lengths)
        with torch.no_grad():
            score = self.innovation(x, k, v, memory, lengths)
        real = real_tokens(x, lengths)
        there = torch.ones_like(score) if real is None else real.expand_as(score)
        new = torch.cat([k, v, score, there], -1)
        kept, recent, out = memory["kept"], memory["recent"], []
        pieces = (torch.split(each, self.chunk, 2) for each in (q, fading, new))
        for query, faded, tokens in zip(*pieces, strict=True):
            y, kept, recent = self.attend(query, faded, tokens, kept, recent)
            out.append(y)
        return torch.cat(out, 2), state | {"kept": kept, "recent": recent}

    def innovation(self, x: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None) -> Tensor:
        """e [batch, heads, length, 1]. After a write at rate beta, 1 - beta of the error before it is left."""
        assert self.rate is not None
        after, _ = super().remember(x, k, k, v, memory, lengths)
        left = v - after * self.key_dim**0.5  # the engine scales what is read as if for a query
        error = left / (1 - self.rate(x)).clamp_min(1e-3).unsqueeze(-1)
        size: Tensor = v.square().sum(-1, keepdim=True).clamp_min(1e-12)
        return torch.div(error.square().sum(-1, keepdim=True), size)

    def attend(
        self, q: Tensor, fading: Tensor, new: Tensor, kept: Tensor, recent: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of new tokens [batch, heads, length, ...], to all that is held and themselves."""
        length, counts = q.shape[2], new[:, 0, :, -1].sum(1).long()
        tokens = torch.cat([kept, recent.transpose(1, 2), new], 2)
        keys, values, score, there = torch.split(tokens, [self.key_dim, self.value_dim, 1, 1], -1)
        there = there.squeeze(-1) > 0
        place = torch.arange(tokens.shape[2], device=q.device) - (self.storage + self.window - 1)
        place = place.masked_fill(place <= -self.window, -tokens.shape[2] - self.window)  # kept ones: long ago
        age = torch.arange(length, device=q.device)[:, None] - place
        beats = higher(score.squeeze(-1).detach())
        old = stays((age >= self.window) & there.unsqueeze(2), beats, self.storage)
        seen = old | ((age >= 0) & (age < self.window) & there.unsqueeze(2))
        scores = (q @ keys.mT).masked_fill(~seen, -torch.inf)
        own = (q * (fading @ self.fading_key.to(q.dtype))).sum(-1, keepdim=True)
        weights = torch.softmax(torch.cat([scores, own], -1) * self.key_dim**-0.5, -1)
        y = weights[..., :-1] @ values + weights[..., -1:] * fading
        left = (place <= counts[:, None] - self.window)[:, None, None] & there.unsqueeze(2)
        kept = compact(tokens, stays(left, beats, self.storage).squeeze(2), self.storage)
        return y, kept, last(recent, new.transpose(1, 2), counts)


def layer(
    dim: int, heads: int = 4, *, window: int = 32, storage: int = 32, key_dim: int | None = None,
    value_dim: int | None = None, conv: int = 4, chunk: int = 64,
) -> Eidetic:  # fmt: skip
    """A layer.

    Args:
        window: w, tokens the attention sees, the token itself included.
        storage: M, older tokens kept.
    """
    return Eidetic(
        dim, heads, window=window, storage=storage,
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
