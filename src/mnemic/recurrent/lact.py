"""LaCT: fast weights updated rarely, by large chunks, beside a window of attention for what is recent.

    f(x) = W_2 (silu(W_0 x) * W_1 x),   loss -sum_i theta_i <f(k_i), v_i / |v_i|> over a chunk
    S <- eta S - grad,   W <- rescaled(R + keep (W - R) + muon(S)) at the end of the chunk
    o_t = norm(f(q_t)) + norm(window(q_t))

Tokens read the weights of the chunks before; `rescaled` gives the weights into every output their length back,
which stands in for forgetting in the paper; a gate that leads back to R, the initial weights, is added here. q,
k, v serve both the fast weights (q, k of length 1) and the window; the norms have weights of their own. eta is
what a chunk carries on, a token its C-th root for a chunk of C. `muon` keeps the Frobenius norm of S, so that
theta stays a step size (in the paper it only weighs tokens); for that, v has length 1 here: beside weights of a
fixed length, steps must not be as small as values happen to be.
Structure SwiGLU; attentional bias dot product; retention rescaling; learning rule Muon on large chunks.
Zhang et al. 2025, paper 234.
"""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.bias import dot
from mnemic.recurrent.engine.border import orthogonal_step_on_sphere
from mnemic.recurrent.engine.network import Gates, Network
from mnemic.recurrent.engine.parts import HeadNorm
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.structure import SwiGLU
from mnemic.recurrent.engine.windowed import attend, no_tokens
from mnemic.types import Claim

PAPER = 234
CLAIM = Claim(
    says="at equal state and parameters, writing in large chunks makes more of the machine than in small ones",
    task="recurrent_speed",
    method="lact, chunk 512",
    baseline="lact, chunk 16",
    sabotage="lact, chunk 512, by token",
    metric="tokens_per_second",
    budget="the same text of 2,048 tokens, the same width",
)


class LargeChunk(Plastic):
    """Fast weights and a window over the same queries, keys and values."""

    def __init__(
        self, dim: int, heads: int, *, chunk: int, window: int, expansion: int, max_rate: float,
        key_dim: int | None, value_dim: int | None, conv: int,
    ) -> None:  # fmt: skip
        if window < 1:
            raise ValueError(f"a window holds at least 1 token, not {window}")
        network = Network(
            SwiGLU(expansion), dot, chunk=chunk, momentum=True, border=orthogonal_step_on_sphere, stepwise=False
        )
        super().__init__(
            "lact", dim, heads, network, max_rate=max_rate, key_dim=key_dim, value_dim=value_dim, conv=conv
        )
        if self.key_dim % 2:
            raise ValueError(f"keys are rotated in pairs of channels; key_dim {self.key_dim} must be even")
        self.window = window
        self.near, self.far = HeadNorm(self.value_dim), HeadNorm(self.value_dim)
        momentum = self.gates["momentum"].bias
        assert isinstance(momentum, Tensor)
        nn.init.zeros_(momentum)

    def fresh(self, batch: int) -> Tensors:
        return super().fresh(batch) | no_tokens(self, batch, self.window)

    def asked(self, x: Tensor) -> Gates:
        gates = super().asked(x)
        assert gates.log_momentum is not None
        return replace(gates, log_momentum=gates.log_momentum / self.network.chunk)

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        recent, tokens = attend(q, k, v, memory, lengths, self.window)
        read, weights = super().remember(x, q, k, F.normalize(v, dim=-1), memory, lengths)
        return self.near(recent) + self.far(read), weights | tokens


def layer(
    dim: int, heads: int = 4, *, chunk: int = 64, window: int = 64, expansion: int = 1, max_rate: float = 1.0,
    key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
) -> LargeChunk:  # fmt: skip
    """A layer.

    Args:
        chunk: tokens written at once; what is nearer than a chunk only the window can recall.
        window: tokens the attention sees.
        expansion: width of the hidden layer, in keys.
        max_rate: the largest step theta, over the squared length of the hidden features.
    """
    return LargeChunk(
        dim, heads, chunk=chunk, window=window, expansion=expansion, max_rate=max_rate,
        key_dim=key_dim, value_dim=value_dim, conv=conv,
    )  # fmt: skip
