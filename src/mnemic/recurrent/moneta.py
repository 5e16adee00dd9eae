"""Moneta: a memory that minds large errors more than small ones and is kept short in the 4-norm.

    A_t = R + alpha_t (A_{t-1} - R) - eta_t grad |M(k_t) - v_t|_3^3 / 3,   W = A / |A|_4^2,   y_t = M(W; q_t)

(p, q) = (3, 4); M(x) = x + LayerNorm(W_2 gelu(W_1 x)). W is renewed at the end of every chunk and read until
the next. Dividing by a square turns a scale round (a large A is a small W, on which a step weighs little), so A
starts as R, the one whose W is the initial memory, steps are short, and forgetting leads back to R (to zero in
the paper, where W then grows without end).
Structure perceptron; attentional bias L3; retention L4; learning rule one gradient step.
Behrouz et al. 2025 (Miras), paper 63.
"""

import torch

from mnemic.recurrent.engine.bias import cubic
from mnemic.recurrent.engine.border import quartic_norm
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.types import Claim

PAPER = 63
CLAIM = Claim(
    says="at equal state bytes a memory with an L3 bias and L4 retention recalls more than linear attention",
    task="recurrent",
    method="moneta",
    baseline="linear-attention",
    sabotage="moneta-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


def layer(
    dim: int, heads: int = 4, *, expansion: int = 4, chunk: int = 8, max_rate: float = 0.02,
    head_dim: int | None = None, conv: int = 4,
) -> Plastic:  # fmt: skip
    """A layer; values are as long as keys.

    Args:
        expansion: width of the memory's hidden layer, in keys.
        chunk: tokens whose gradients are taken together; part of the definition.
        max_rate: the largest step eta.
    """
    network = Network(Perceptron(2, expansion, residual=True), cubic, chunk=chunk, border=quartic_norm)
    memory = Plastic(
        "moneta", dim, heads, network, max_rate=max_rate, key_dim=head_dim, value_dim=head_dim, conv=conv
    )
    with torch.no_grad():  # the map from A to W is its own inverse
        for weight, accumulated in zip(memory.weights, quartic_norm(list(memory.weights), [])[1], strict=True):
            weight.copy_(accumulated)
    return memory
