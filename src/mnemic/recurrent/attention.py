"""Softmax attention: everything read is kept, so nothing is lost and the state grows without end.

    o_t = sum_{j <= t} softmax_j(q_t . k_j / sqrt(key_dim)) v_j

The upper end of every comparison of recall against state bytes. Vaswani et al. 2017.
"""

from mnemic.recurrent.engine.windowed import Windowed

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4
) -> Windowed:
    """A layer; the arguments are those of `Associative`."""
    return Windowed("attention", dim, heads, window=None, key_dim=key_dim, value_dim=value_dim, conv=conv)
