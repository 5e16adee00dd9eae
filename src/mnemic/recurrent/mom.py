"""Mixture of memories: several states, of which a router lets each token write and read only a few.

    p_t = softmax(W_r x_t),   m among the k largest:  S^m_t = gated delta rule(S^m_{t-1}; q_t, k_t, v_t)
    all others:  S^m_t = S^m_{t-1};   o_t = sum over the chosen m of p^m_t (S^m_t)^T q_t / sum of the chosen p

so that what is unlike does not interfere; one more memory is shared by all tokens. Queries, keys, values and
gates are common to all memories, which differ by their routing alone. For balanced use add 0.01 `balance_loss`
to the training loss.
Structure matrices with a router; attentional bias squared error; retention scalar gate; one gradient step.
Du et al. 2025, paper 64.
"""

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.matrix import Matrix
from mnemic.recurrent.engine.parts import wide
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 64
CLAIM = Claim(
    says="at equal state bytes a mixture of memories recalls more than one state",
    task="recurrent",
    options={"preset": "hour"},
    method="mom-quarter",
    baseline="gated-delta-rule-quarter",
    sabotage="mom-quarter-emptied",
    metric="accuracy",
    budget="1,020 to 1,220 bytes of state, the same steps of training",
)


class Mixture(Matrix):
    """Gated delta rules behind a router."""

    def __init__(
        self, dim: int, heads: int, *, memories: int, chosen: int,
        key_dim: int | None, value_dim: int | None, conv: int, chunk: int,
    ) -> None:  # fmt: skip
        super().__init__(
            "mom", dim, heads, bias="l2", retention="scalar",
            key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
        )  # fmt: skip
        if not 1 <= chosen <= memories:
            raise ValueError(f"{chosen} of {memories} memories cannot be chosen; choose from 1 to all")
        self.define(chosen=chosen)
        self.memories, self.chosen = memories, chosen
        self.router = nn.Linear(dim, memories, bias=False)

    def fresh(self, batch: int) -> Tensors:
        one = super().fresh(batch)["memory"]
        return {"memory": one.unsqueeze(1).expand(-1, self.memories + 1, -1, -1, -1).clone()}

    def shares(self, x: Tensor) -> Tensor:
        """[batch, length, dim] -> [batch, memories + 1, length]: weight of every memory, 0 if not chosen."""
        p = torch.softmax(wide(self.router(x)), -1)
        top = p.topk(self.chosen, -1)
        shares = torch.zeros_like(p).scatter(-1, top.indices, top.values / top.values.sum(-1, keepdim=True))
        return torch.cat([shares, torch.ones_like(p[..., :1])], -1).transpose(1, 2)

    def balance_loss(self, x: Tensor) -> Tensor:
        """memories * sum_m (share of tokens sent to m) (mean p of m): least when all are used alike."""
        sent = (self.shares(x)[:, :-1] > 0).to(torch.float32).mean((0, 2)) / self.chosen
        return self.memories * (sent * torch.softmax(wide(self.router(x)), -1).mean((0, 1))).sum()

    def recall(
        self,
        x: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: Tensor,
        log_decay: Tensor | None,
        rate: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        shares = self.shares(x).unsqueeze(2)
        used = (shares > 0).to(q.dtype)
        assert log_decay is not None
        assert rate is not None
        q, k, v = (each.unsqueeze(1) for each in (q, k, v))
        read, state = super().recall(x, q, k, v, state, log_decay.unsqueeze(1) * used, rate.unsqueeze(1) * used)
        return (read * shares.unsqueeze(-1)).sum(1), state


def layer(
    dim: int, heads: int = 4, *, memories: int = 4, chosen: int = 2, key_dim: int | None = None,
    value_dim: int | None = None, conv: int = 4, chunk: int = 32,
) -> Mixture:  # fmt: skip
    """A layer; `chosen` of the `memories` are written and read by a token, beside the shared one."""
    return Mixture(
        dim, heads, memories=memories, chosen=chosen,
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
