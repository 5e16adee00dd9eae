"""HAX: a selective state space, and beside it attention to tokens found by hashing and by their own importance.

    y_t = mamba(x)_t + E * sum_j softmax_j(Q_t.K_j / sqrt(N) + log sigmoid(s_j)) x_j
    j among:  the r latest tokens j <= t in the bucket of Q_t         buckets: signs of random projections
              the m tokens j <= t of highest score s_j                s_j = MLP(K_j, mean of Q up to j)

Q, K = W x from the convolved input, centred by their means so far and made unit length before they are hashed;
the projections are fixed, those of `mnemic.index.hashing`. What is attended to depends on the text, as with no
fixed pattern, and what is held is bounded: r tokens a bucket and m more.
The paper's code centres by means over the whole text, which tells of its future, keeps all tokens, draws new
projections at every call and trains the score by a ranking loss; here the score is part of the attention, so
that the model's own loss trains it. Zhan et al. 2025, paper 90.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.index.hashing import codes, hyperplanes
from mnemic.recurrent.engine.associative import real_tokens, zeros
from mnemic.recurrent.engine.chosen import compact, higher, later, stays
from mnemic.recurrent.engine.parts import wide
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.mamba import Selective
from mnemic.types import Claim

PAPER = 90
CLAIM = Claim(
    says="at equal state bytes tokens kept for what they say recall more of keys in contexts than the latest",
    task="recurrent",
    options={"task": "joint"},
    method="hax",
    baseline="hax-window",
    sabotage="hax-emptied",
    metric="accuracy",
    budget="8,840 bytes of state in 2 blocks, the same steps of training",
)


class Hashed(Selective):
    """A selective state space beside sparse attention over its input."""

    planes: Tensor

    def __init__(
        self, dim: int, heads: int, *, bits: int, bucket: int, selected: int, size: int, expand: int, conv: int,
        chunk: int,
    ) -> None:  # fmt: skip
        if bits < 0:
            raise ValueError(f"a hash has 0 bits or more, not {bits}")
        super().__init__("hax", dim, heads, size=size, expand=expand, decay="scalar", conv=conv, chunk=chunk)
        if bucket < 0 or selected < 0 or bucket + selected < 1:
            raise ValueError(f"bucket {bucket}, selected {selected}: need at least one token to attend to")
        self.define(bits=bits, bucket=bucket, selected=selected)
        self.bucket, self.selected = bucket, selected
        self.slots = (bucket << bits) + selected
        self.branch = nn.Linear(self.inner, 2 * size, bias=False)
        self.score = nn.Sequential(
            nn.Linear(2 * size, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 1)
        )
        self.scale = nn.Parameter(torch.ones(heads, 1, self.inner // heads))
        self.register_buffer("planes", hyperplanes(bits, torch.zeros(1, size), 0))

    def initial(self, batch: int) -> Tensors:
        return super().initial(batch) | {
            "sums": zeros(self, batch, 1, 2 * self.size),
            "read": zeros(self, batch, 1, 1),
            "kept": zeros(self, batch, self.slots, self.size + self.inner + 3),
        }

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        y, memory = super().remember(q, k, v, steps, memory, lengths)
        x = v.transpose(1, 2).flatten(2)
        real = real_tokens(x, lengths)
        there = torch.ones_like(x[..., :1]) if real is None else real[:, 0].to(x.dtype)
        both = F.linear(x, wide(self.branch.weight)) * there
        read = memory["read"] + there.cumsum(1)
        sums = memory["sums"] + both.cumsum(1)
        means = sums / read.clamp_min(1)
        asked, key = both.chunk(2, -1)
        place, bucket = (self.hashed(each) for each in (both - means).chunk(2, -1))
        given = torch.cat([key, means[..., : self.size]], -1).detach()
        score = self.scored(given)
        new = torch.cat([key, x, score, bucket.to(x.dtype).unsqueeze(-1), there], -1)
        kept, out = memory["kept"], []
        pieces = (torch.split(each, self.chunk, 1) for each in (asked, place, new))
        for ask, at, tokens in zip(*pieces, strict=True):
            found, kept = self.attend(ask, at, tokens, kept)
            out.append(found)
        found = torch.cat(out, 1).reshape(len(x), x.shape[1], self.heads, -1).transpose(1, 2)
        tail = {"sums": sums[:, -1:].clone(), "read": read[:, -1:].clone(), "kept": kept}
        return y + wide(self.scale) * found, memory | tail

    def hashed(self, x: Tensor) -> Tensor:
        """Bucket numbers [batch, length] of x [batch, length, size]."""
        found: Tensor = codes(F.normalize(x.detach(), dim=-1), self.planes.to(x.dtype))
        return found

    def scored(self, x: Tensor) -> Tensor:
        for part in self.score:
            x = F.linear(x, wide(part.weight), wide(part.bias)) if isinstance(part, nn.Linear) else F.relu(x)
        return x

    def attend(self, asked: Tensor, place: Tensor, new: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Queries of new tokens [batch, length, ...], to those held and themselves."""
        length, tokens = new.shape[1], torch.cat([kept, new], 1)
        keys, x, *rest = torch.split(tokens, [self.size, self.inner, 1, 1, 1], -1)
        score, bucket, there = (each.squeeze(-1) for each in rest)
        when = torch.arange(tokens.shape[1], device=new.device) - kept.shape[1]
        arrived = (when <= torch.arange(length, device=new.device)[:, None]) & (there > 0).unsqueeze(1)
        orders = [(later(bucket), self.bucket), (higher(score.detach()), self.selected)]
        recent, important = (stays(arrived, order, room) for order, room in orders)
        seen = (recent & (bucket.unsqueeze(1) == place.unsqueeze(2))) | important
        logits = asked @ keys.mT * self.size**-0.5 + F.logsigmoid(score).unsqueeze(1)
        weights = torch.softmax(logits.masked_fill(~seen, -1e30), -1) * seen
        end = (there > 0).unsqueeze(1)
        left = torch.stack([stays(end, order, room) for order, room in orders]).any(0).squeeze(1)
        return weights @ x, compact(tokens, left, self.slots)


def layer(
    dim: int, heads: int = 4, *, bits: int = 4, bucket: int = 4, selected: int = 32, size: int = 64,
    expand: int = 1, conv: int = 4, chunk: int = 64,
) -> Hashed:  # fmt: skip
    """A layer.

    Args:
        bits: of a hash; there are 2^bits buckets. With none and nothing selected: a window of r tokens.
        bucket: r, latest tokens of a bucket that are held.
        selected: m, tokens held for their score.
        size, expand, conv, chunk: as in `Selective`.
    """
    return Hashed(
        dim,
        heads,
        bits=bits,
        bucket=bucket,
        selected=selected,
        size=size,
        expand=expand,
        conv=conv,
        chunk=chunk,
    )
