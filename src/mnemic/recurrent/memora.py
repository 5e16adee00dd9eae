"""Memora: a memory whose weights stay on a simplex and move by their relative entropy.

    A_t = R + alpha_t (A_{t-1} - R) - eta_t grad |M(k_t) - v_t|^2 / 2
    P_t = softmax(A_t)   over the n inputs of every output

R makes the initial memory; without it this is the paper's softmax(alpha_t log P_{t-1} - eta_t grad), since
softmax does not see what is added to all (`network` says why forgetting leads back to R).
M(x) = x + LayerNorm(W_2 gelu(W_1 x)) with W = n P - 1: weights that are all positive have most in common, which
the norm would take out of the outputs anyway, at the cost of the digits that matter. W is renewed at the end of
every chunk and read until the next.
Structure perceptron; attentional bias squared error; retention relative entropy; learning rule one gradient
step. Behrouz et al. 2025 (Miras), paper 63.
"""

from mnemic.recurrent.engine.bias import squared
from mnemic.recurrent.engine.border import simplex
from mnemic.recurrent.engine.network import Network
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.types import Claim

PAPER = 63
CLAIM = Claim(
    says="at equal state bytes a memory with relative-entropy retention recalls more than linear attention",
    task="recurrent",
    method="memora",
    baseline="linear-attention",
    sabotage="memora-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


def layer(
    dim: int, heads: int = 4, *, expansion: int = 4, chunk: int = 8, max_rate: float = 0.25,
    head_dim: int | None = None, conv: int = 4,
) -> Plastic:  # fmt: skip
    """A layer; values are as long as keys.

    Args:
        expansion: width of the memory's hidden layer, in keys.
        chunk: tokens whose gradients are taken together; part of the definition.
        max_rate: the largest step eta.
    """
    network = Network(
        Perceptron(2, expansion, residual=True), squared, chunk=chunk, border=simplex, longest=1.0
    )
    return Plastic(
        "memora", dim, heads, network, max_rate=max_rate, key_dim=head_dim, value_dim=head_dim, conv=conv
    )
