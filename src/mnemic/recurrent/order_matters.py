"""Read, process, write: a set is read without order and written in the order that comes easiest.

    read      m_i = W x_i
    process   q_t = LSTM(q*_{t-1}),  a = softmax_i(m_i . q_t),  r_t = sum_i a_i m_i,  q*_t = [q_t, r_t]
    write     a pointer: LSTM from q*_P, p(next = i) = softmax_i(u . tanh(W_1 m_i + W_2 d_t)) over what is left

q*_P is the same for every order of the x_i. Where the wanted output is itself a set, its order is not given:
the loss is the least over orders, and the order trained on is drawn step by step from the model's own
probabilities (`search`), which finds good orders without giving up all others as the likeliest alone would. For
the first thousand steps or so draw it uniformly (`temperature` infinite).
Vinyals et al. 2016, paper 67.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.parts import check_mask
from mnemic.types import Claim

PAPER = 67
CLAIM = Claim(
    says="in as many steps, orders that the model itself finds likely teach a set that any orders do not",
    task="recurrent_encoders",
    options={"task": "sets"},
    method="order-matters",
    baseline="order-matters-uniform",
    sabotage="order-matters-emptied",
    metric="accuracy",
    budget="the same parameters, sets and steps of training",
)
KIND = "encoder"


class SetReader(nn.Module):
    """x [batch, n, dim] -> the summary q* [batch, 2 width]; `write` and `search` point at members.

    Raises:
        ValueError: fewer than no processing steps, or no width.
    """

    def __init__(self, dim: int, *, width: int, steps: int) -> None:
        super().__init__()
        if steps < 0 or width < 1:
            raise ValueError(f"steps {steps}, width {width}: at least 0 and 1")
        self.dim, self.width, self.steps = dim, width, steps
        self.embed = nn.Linear(dim, width)
        self.process = nn.LSTMCell(2 * width, width)
        self.begin = nn.Linear(2 * width, 2 * width)
        self.writer = nn.LSTMCell(width, width)
        self.first = nn.Parameter(torch.zeros(width))
        self.member, self.asked = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.point = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The summary of the members marked in mask [batch, n] (None: all).

        Raises:
            ValueError: another width, a mask that does not fit, or a set without members.
            TypeError: a mask that is not boolean.
        """
        return self.read(x, mask)[1]

    def read(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Members [batch, n, width], summary [batch, 2 width], mask [batch, n]."""
        if x.dim() != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"order-matters reads [batch, n, {self.dim}], not {list(x.shape)}")
        check_mask(mask, x)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        if not mask.any(1).all():
            raise ValueError("a set without members has no summary; leave its row out")
        members = self.embed(x.masked_fill(~mask.unsqueeze(-1), 0))
        summary = members.new_zeros(x.shape[0], 2 * self.width)
        q = cell = members.new_zeros(x.shape[0], self.width)
        for _ in range(self.steps):
            q, cell = self.process(summary, (q, cell))
            scores = (members @ q.unsqueeze(-1)).squeeze(-1).masked_fill(~mask, -torch.inf)
            summary = torch.cat([q, (scores.softmax(-1).unsqueeze(-1) * members).sum(1)], -1)
        return members, summary, mask

    def write(self, x: Tensor, order: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p [batch, k] of pointing at order [batch, k], one after the other, given those before."""
        members, summary, mask = self.read(x, mask)
        state, given, left, said = *self.start(summary), mask, []
        for pointed in order.unbind(1):
            log, state = self.next(members, given, state, left)
            said.append(log.gather(1, pointed[:, None]))
            given, left = self.after(members, left, pointed)
        return torch.cat(said, 1)

    @torch.no_grad()
    def search(
        self, x: Tensor, wanted: Tensor, mask: Tensor | None = None, *, temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """An order of each row's wanted members, drawn step by step from the model restricted to what is left.

        Args:
            wanted: [batch, n] bool, equally many in every row.
            mask: [batch, n] bool, the members there are (None: all).
            temperature: 0: the likeliest at every step; infinite: all orders alike.

        Returns:
            [batch, k] indices into the n members.

        Raises:
            ValueError: rows that want different numbers of members, none, or some that are not there.
        """
        check_mask(wanted, x)
        counts = wanted.sum(1)
        if not len(counts) or int(counts.min()) != int(counts.max()) or not counts.any():
            raise ValueError(f"rows want {counts.tolist()} members; search for equally many at a time")
        members, summary, left = self.read(x, mask)
        if (wanted & ~left).any():
            raise ValueError("members are wanted that the mask leaves out; want only those that it marks")
        state, given = self.start(summary)
        order: list[Tensor] = []
        for _ in range(int(counts[0])):
            log, state = self.next(members, given, state, left)
            log = log.masked_fill(~(wanted & left), -torch.inf)
            if temperature == 0:
                pointed = log.argmax(1)
            else:
                odds = (
                    (wanted & left).to(log.dtype) if math.isinf(temperature) else (log / temperature).softmax(1)
                )
                pointed = torch.multinomial(odds, 1, generator=generator).squeeze(1)
            order.append(pointed)
            given, left = self.after(members, left, pointed)
        return torch.stack(order, 1)

    def start(self, summary: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, cell = self.begin(summary).chunk(2, -1)
        return (h, cell), self.first.expand(summary.shape[0], -1)

    def next(
        self, members: Tensor, given: Tensor, state: tuple[Tensor, Tensor], left: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """log p [batch, n] of what is pointed at next, among what is left."""
        h, cell = self.writer(given, state)
        scores = self.point(torch.tanh(self.member(members) + self.asked(h)[:, None])).squeeze(-1)
        return scores.masked_fill(~left, -torch.inf).log_softmax(1), (h, cell)

    def after(self, members: Tensor, left: Tensor, pointed: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(pointed), device=pointed.device)
        return members[rows, pointed], left.scatter(1, pointed[:, None], False)


def layer(dim: int, *, width: int = 64, steps: int = 5) -> SetReader:
    """A reader of sets of vectors of size `dim`; `steps` P of processing, all members attended to at each."""
    return SetReader(dim, width=width, steps=steps)
