"""Aaren: softmax attention of one learnt query, kept as a running maximum, denominator and numerator.

    s_t = q.k_t / sqrt(key_dim),   o_t = sum_{j <= t} e^{s_j} v_j / sum_{j <= t} e^{s_j} = w_t / u_t
    (m, u, w) + (m', u', w') = (M, e^{m - M} u + e^{m' - M} u', e^{m - M} w + e^{m' - M} w'),   M = max(m, m')

A token is (s_t, 1, v_t) and the state what all tokens add up to: attention as a recurrent network. + is
associative, so all prefixes come of one scan. q is a parameter of every head, not made from the token: what is
read does not depend on what is asked, so this averages by learnt importance and cannot look up a key.
Feng et al. 2024 (Attention as an RNN), paper 87.
"""

import torch
from torch import Tensor

from mnemic.recurrent.engine.associative import Associative, real_tokens, zeros
from mnemic.recurrent.engine.scan import Leaves, scan
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 87
CLAIM = Claim(
    says="a token costs attention with a learnt query the same however much was read",
    task="recurrent_speed",
    method="aaren",
    baseline="attention",
    sabotage="attention",
    metric="step_late_over_early",
    budget="the same text of 2,048 tokens, the same width",
    better="less",
)
NOTHING = -1e30  # the maximum of no tokens: finite, so that two of them can be subtracted


class LearntQuery(Associative):
    """Attention of one query a head."""

    def fresh(self, batch: int) -> Tensors:
        return {
            "maximum": zeros(self, batch, self.heads, 1, 1) + NOTHING,
            "denominator": zeros(self, batch, self.heads, 1, 1),
            "numerator": zeros(self, batch, self.heads, 1, self.value_dim),
        }

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        score = (q * k).sum(-1, keepdim=True) * self.key_dim**-0.5
        m = score.detach()  # what is divided out again needs no gradient
        u = torch.exp(score - m)
        w = u * v
        real = real_tokens(x, lengths)
        if real is not None:
            m, u, w = m.masked_fill(real == 0, NOTHING), u * real, w * real
        before = (memory["maximum"], memory["denominator"], memory["numerator"])
        m, u, w = added(before, scan(added, (m, u, w)))
        kept = zip(memory, (t[..., -1:, :].clone() for t in (m, u, w)), strict=True)
        return w / u.clamp_min(1e-30), dict(kept)


def added(a: Leaves, b: Leaves) -> Leaves:
    """Two stretches of tokens as one."""
    (m1, u1, w1), (m2, u2, w2) = a, b
    m = torch.maximum(m1, m2)
    left, right = torch.exp(m1 - m), torch.exp(m2 - m)
    return m, left * u1 + right * u2, left * w1 + right * w2


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4
) -> LearntQuery:
    """A layer; the arguments are those of `Associative`."""
    return LearntQuery("aaren", dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv, learnt_query=True)
