"""Sliding-window attention: exact recall of the last `window` tokens, nothing of what came before.

    o_t = sum_{t - window < j <= t} softmax_j(q_t . k_j / sqrt(key_dim)) v_j

The lower end of every comparison of recall against state bytes: it remembers by recency alone.
"""

from mnemic.recurrent.engine.windowed import Windowed

PAPER = 0


def layer(
    dim: int, heads: int = 4, *, window: int = 64, key_dim: int | None = None, value_dim: int | None = None,
    conv: int = 4,
) -> Windowed:  # fmt: skip
    """A layer; `window` counts the tokens a query sees, itself included."""
    return Windowed(
        "sliding-window", dim, heads, window=window, key_dim=key_dim, value_dim=value_dim, conv=conv
    )
