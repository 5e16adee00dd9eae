"""Delta rule: a key's old value is replaced, not added to.

    S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,   o_t = S_t^T q_t / sqrt(key_dim)

is one gradient step of size beta_t = sigmoid(W x_t) on |S^T k_t - v_t|^2 / 2, with |k_t| = |q_t| = 1.
Structure matrix; attentional bias squared error; retention none; learning rule one gradient step.
Schlag et al. 2021; parallel form Yang et al. 2024 (DeltaNet).
"""

from mnemic.recurrent.engine.matrix import Matrix

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    chunk: int = 32,
) -> Matrix:  # fmt: skip
    """A layer; the arguments are those of `Associative` and `Matrix`."""
    return Matrix(
        "delta-rule", dim, heads, bias="l2", key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk
    )
