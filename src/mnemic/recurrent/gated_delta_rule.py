"""Gated delta rule: fade everything a little, then replace what this key held.

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,   o_t = S_t^T q_t / sqrt(key_dim)

with a_t in (0, 1] per head and |k_t| = |q_t| = 1: the decay comes before the error is formed.
Structure matrix; attentional bias squared error; retention scalar gate; learning rule one gradient step.
Yang et al. 2024 (Gated DeltaNet).
"""

from mnemic.recurrent.engine.matrix import Matrix

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    chunk: int = 32,
) -> Matrix:  # fmt: skip
    """A layer; the arguments are those of `Associative` and `Matrix`."""
    return Matrix(
        "gated-delta-rule", dim, heads, bias="l2", retention="scalar",
        key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
    )  # fmt: skip
