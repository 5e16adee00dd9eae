"""Angular hashing: which side of random hyperplanes a key lies on, in an order where neighbours are alike.

Charikar (2002), in the order of HyperAttention (paper 32) and MUVERA (paper 183). With hyperplanes w_1 to w_b

    bit_i(x) = [w_i . x > 0]        P(bit_i(x) = bit_i(y)) = 1 - angle(x, y) / pi

The b bits, read as a Gray code, are the bucket's number: buckets whose numbers follow each other differ in one
bit, so sorting by number lays similar keys beside each other.
"""

from __future__ import annotations

import numpy as np

from mnemic.index.arrays import Array, like, namespace


def hyperplanes(bits: int, keys: Array, seed: int) -> Array:
    """[d, bits] random directions for `keys` [..., n, d], in their library and type.

    Raises:
        ValueError: not 0 to 62 bits.
    """
    if not 0 <= bits <= 62:
        raise ValueError(f"a bucket number holds 0 to 62 bits, not {bits}")
    return like(np.random.default_rng(seed).standard_normal((keys.shape[-1], bits)), keys)


def codes(keys: Array, planes: Array) -> Array:
    """[..., n] int64 bucket numbers in [0, 2^bits) of `keys` [..., n, d], for `planes` [(...,) d, bits].

    No planes make one bucket of all.
    """
    xp = namespace(keys)
    signs = xp.asarray(keys @ planes > 0, dtype=xp.int64)
    number = signs[..., :1].sum(-1)
    for bit in range(1, signs.shape[-1]):
        number = (number << 1) + (signs[..., bit] ^ (number & 1))
    return number
