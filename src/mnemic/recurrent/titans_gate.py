"""Titans, memory as a gate: a window of attention and a memory of everything, read side by side.

    y_t = window(q_t),   m_t = M_t(q_t),   g_t = sigmoid(W x_t)
    o_t = g_t * norm(y_t) + (1 - g_t) * norm(m_t)

M is Titans' memory, learnt while reading the whole text; attention over the last `window` tokens is exact about
what is near. Both share queries, keys and values; the norms have weights of their own. A token says, channel by
channel, which of the two it hears. The paper allows any gate and takes norm(y_t) * sigmoid(norm(m_t)),
but where the window found nothing that is noise whatever the memory knows, and it learns to recall less than
either part alone. The paper's persistent tokens, the same for every text, are left out ("titans-context" has
them).
Structure perceptron; attentional bias squared error; retention scalar gate; learning rule momentum.
Behrouz et al. 2024, paper 35 (MAG).
"""

from __future__ import annotations

from torch import Tensor

from mnemic.recurrent.engine.bias import squared
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.parts import GatedPair
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.recurrent.engine.windowed import attend, no_tokens
from mnemic.types import Claim

PAPER = 35
CLAIM = Claim(
    says="at equal state bytes a window gated by a memory recalls more than a window alone",
    task="recurrent",
    method="titans-gate",
    baseline="sliding-window",
    sabotage="titans-gate-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class MemoryAsGate(Plastic):
    """A window and a memory over the same queries, keys and values."""

    def __init__(
        self, dim: int, heads: int, network: Network, *, window: int, max_rate: float, key_dim: int | None,
        value_dim: int | None, conv: int,
    ) -> None:  # fmt: skip
        if window < 1:
            raise ValueError(f"a window holds at least 1 token, not {window}")
        super().__init__(
            "titans-gate", dim, heads, network, max_rate=max_rate,
            key_dim=key_dim, value_dim=value_dim, conv=conv,
        )  # fmt: skip
        if self.key_dim % 2:
            raise ValueError(f"keys are rotated in pairs of channels; key_dim {self.key_dim} must be even")
        self.window = window
        self.hears = GatedPair(dim, heads, self.value_dim)

    def fresh(self, batch: int) -> Tensors:
        return super().fresh(batch) | no_tokens(self, batch, self.window)

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        recent, tokens = attend(q, k, v, memory, lengths, self.window)
        read, weights = super().remember(x, q, k, v, memory, lengths)
        return self.hears(x, recent, read), weights | tokens


def layer(
    dim: int, heads: int = 4, *, window: int = 64, depth: int = 2, expansion: int = 4, chunk: int = 16,
    max_rate: float = 0.4, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
) -> MemoryAsGate:  # fmt: skip
    """A layer.

    Args:
        window: tokens the attention sees.
        depth, expansion, chunk, max_rate: of the memory, as in "titans".
    """
    network = Network(Perceptron(depth, expansion), squared, chunk=chunk, momentum=True)
    return MemoryAsGate(
        dim, heads, network, window=window, max_rate=max_rate, key_dim=key_dim, value_dim=value_dim, conv=conv
    )
