"""Titans, memory as context: attention to the tokens of a segment and to what a memory recalls of older ones.

    h_t = M(q_t)                                      M as it was when the segment began
    y_t = attention of q_t to [P | h_1 .. h_t | x_1 .. x_t], the tokens of the segment up to t
    M learns u_t,   m_t = M_t(W_q u_t),   [W_q | W_k | W_v] u_t = [q_t | k_t | v_t] + W y_t
    o_t = g_t * norm(y_t) + (1 - g_t) * norm(m_t),   g_t = sigmoid(W_g x_t)

P are persistent tokens, parameters that stand for the task. The memory learns u_t, a token with what attention
made of it; its gradients are taken at the weights that the segment began with. W starts at zero: y_t is at
first much the same for all tokens, and a memory whose keys are made of it alone, as the paper has it, does not
learn to tell them apart. Who hears it is chosen as in "titans-gate". The paper lets a segment's tokens see what
is recalled for later ones; here h_j is seen from j on, so that no output depends on a later token.
Structure perceptron; attentional bias squared error; retention scalar gate; learning rule momentum.
Behrouz et al. 2024, paper 35 (MAC).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import zeros
from mnemic.recurrent.engine.bias import squared
from mnemic.recurrent.engine.network import Gates, Network, apply, listed
from mnemic.recurrent.engine.parts import GatedPair, Segments, last, wide
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.recurrent.engine.windowed import rotated
from mnemic.types import Claim

PAPER = 35
CLAIM = Claim(
    says="at equal state bytes attention to a segment and a memory of older ones recalls more than a window",
    task="recurrent",
    method="titans-context",
    baseline="sliding-window",
    sabotage="titans-context-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class MemoryAsContext(Plastic):
    """Attention in segments with a memory among its keys."""

    def __init__(
        self, dim: int, heads: int, network: Network, *, persistent: int, max_rate: float,
        key_dim: int | None, value_dim: int | None, conv: int,
    ) -> None:  # fmt: skip
        super().__init__(
            "titans-context", dim, heads, network, max_rate=max_rate,
            key_dim=key_dim, value_dim=value_dim, conv=conv,
        )  # fmt: skip
        if self.key_dim % 2:
            raise ValueError(f"keys are rotated in pairs of channels; key_dim {self.key_dim} must be even")
        if persistent < 1:
            raise ValueError(f"at least 1 persistent token is needed, not {persistent}")
        k, v = self.key_dim, self.value_dim
        self.persistent = nn.Parameter(torch.randn(heads, persistent, k + v))
        self.recalled_key = nn.Parameter(torch.zeros(heads, v, k))
        self.made = nn.Parameter(torch.zeros(heads, v, k + k + v))
        self.hears = GatedPair(dim, heads, v)

    def fresh(self, batch: int) -> Tensors:
        width = 2 * (self.key_dim + self.value_dim)
        return super().fresh(batch) | {"segment": zeros(self, batch, self.network.chunk - 1, self.heads, width)}

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        gates = self.asked(x)
        assert gates.log_keep is not None
        assert gates.log_momentum is not None
        asked = torch.stack([gates.rate, gates.log_keep, gates.log_momentum], -1)
        pieces = Segments(memory["phase"], lengths, q.shape[2], self.network.chunk)
        made, rest = wide(self.made), self.rest()
        near, far = [], []
        sizes = [self.key_dim, self.key_dim, self.value_dim]
        for i, (piece, _) in enumerate(pieces.cut(torch.cat([q, k, v, asked], -1))):
            token, ask = torch.split(piece, [sum(sizes), 3], -1)
            q, k, v = torch.split(token, sizes, -1)
            gate, counts = Gates(*ask.unbind(-1)), pieces.counts[i]
            y, segment = self.attended(q, k, v, memory, counts)
            q, k, v = torch.split(token + y @ made, sizes, -1)
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
            read, memory = self.network.read(q, k, v, gate, memory, counts, rest)
            memory = memory | {"segment": segment}
            near.append(y)
            far.append(read)
        return self.hears(x, pieces.join(near), pieces.join(far)), memory

    def attended(
        self, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, counts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """y of tokens [batch, heads, length, ...] that lie in one segment, and the segment's tokens so far."""
        frozen = listed(memory, "frozen")
        h = self.network.structure.read(partial(apply, frozen), F.normalize(q, dim=-1))
        new = torch.cat([k, v, h @ wide(self.recalled_key), h], -1)
        past = memory["segment"]
        before, length = past.shape[1], q.shape[2]
        place = torch.arange(before + length, device=q.device)
        tokens = torch.cat([past.transpose(1, 2), new], 2)
        sizes = [self.key_dim, self.value_dim]
        keys, values, recalled_keys, recalled = torch.split(tokens, sizes * 2, -1)
        fixed_keys, fixed = torch.split(wide(self.persistent), sizes, -1)
        seen = (place <= place[before:, None]) & (place >= before - memory["phase"][:, None, None])
        turned = rotated(q, place[before:])
        scores = [q @ fixed_keys.mT]  # what is persistent is at no distance
        for each in (recalled_keys, keys):
            scores.append((turned @ rotated(each, place).mT).masked_fill(~seen.unsqueeze(1), -torch.inf))
        weights = torch.softmax(torch.cat(scores, -1) * self.key_dim**-0.5, -1)
        parts = torch.split(weights, [fixed.shape[1], before + length, before + length], -1)
        y = parts[0] @ fixed + parts[1] @ recalled + parts[2] @ values
        return y, last(past, new.transpose(1, 2), counts)


def layer(
    dim: int, heads: int = 4, *, segment: int = 32, persistent: int = 4, depth: int = 2, expansion: int = 4,
    max_rate: float = 0.4, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
) -> MemoryAsContext:  # fmt: skip
    """A layer.

    Args:
        segment: tokens that see each other, and after which the memory is read anew.
        persistent: tokens that are parameters.
        depth, expansion, max_rate: of the memory, as in "titans".
    """
    network = Network(Perceptron(depth, expansion), squared, chunk=segment, momentum=True)
    return MemoryAsContext(
        dim, heads, network, persistent=persistent, max_rate=max_rate,
        key_dim=key_dim, value_dim=value_dim, conv=conv,
    )  # fmt: skip
