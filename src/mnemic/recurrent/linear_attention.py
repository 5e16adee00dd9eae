"""Linear attention: a matrix of summed key-value products, read as attention without a softmax.

    S_t = S_{t-1} + phi(k_t) v_t^T,  z_t = z_{t-1} + phi(k_t),  o_t = S_t^T phi(q_t) / z_t^T phi(q_t)

with phi(x) = elu(x) + 1. Nothing is ever forgotten or overwritten: the baseline of all others.
Structure matrix; attentional bias dot product; retention none; learning rule one gradient step.
Katharopoulos et al. 2020.
"""

from mnemic.recurrent.engine.matrix import Matrix
from mnemic.recurrent.engine.parts import elu_plus_one

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    chunk: int = 32,
) -> Matrix:  # fmt: skip
    """A layer; the arguments are those of `Associative` and `Matrix`."""
    return Matrix(
        "linear-attention", dim, heads, features=elu_plus_one, normalised=True,
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
