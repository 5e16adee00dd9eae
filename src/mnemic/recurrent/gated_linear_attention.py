"""Gated linear attention: every channel of the key forgets at its own pace, as the token asks.

    S_t = diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t / sqrt(key_dim)
    log a_t = logsigmoid(W2 W1 x_t + b) / 16 <= 0

Structure matrix; attentional bias dot product; retention diagonal gate; learning rule one gradient step.
Yang et al. 2024 (GLA).
"""

from mnemic.recurrent.engine.matrix import Matrix

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    chunk: int = 32,
) -> Matrix:  # fmt: skip
    """A layer; the arguments are those of `Associative` and `Matrix`."""
    return Matrix(
        "gated-linear-attention", dim, heads, retention="diagonal",
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
