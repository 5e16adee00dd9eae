"""Vectors rounded to one byte a number: a quarter of the memory, read in less time, and a known error.

    x_i ~ s c_i    s = max |x_i| / 127, c_i in -127..127    |x . q - s c . q| <= s/2 sum |q_i|

A row is its d codes and, in the last four bytes, the float32 scale s, so that a row moves as one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Floats

Codes = NDArray[np.int8]

BLOCK = 1024  # rows made float at a time: they stay in the processor's cache
SHARED = 50_000  # rows from which two threads share them


def rounded(vectors: Floats) -> Codes:
    """[n, d + 4] the rows of `vectors` [n, d] in bytes."""
    scales = np.abs(vectors).max(1, initial=1e-12).astype(np.float32) / np.float32(127)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    return np.concatenate([codes, scales[:, None].view(np.int8)], axis=1)


def products(rows: Codes, query: Floats) -> Floats:
    """[n] the inner product of every row of `rows` [n, d + 4] with `query` [d]."""
    out = np.empty(len(rows), np.float32)
    if len(rows) < SHARED:
        _fill(out, rows, query)
        return out
    half = len(rows) // 2
    with ThreadPoolExecutor(1) as other:
        rest = other.submit(_fill, out[half:], rows[half:], query)
        _fill(out[:half], rows[:half], query)
        rest.result()
    return out


def _fill(out: Floats, rows: Codes, query: Floats) -> None:
    block = np.empty((BLOCK, len(query)), np.float32)
    for at in range(0, len(rows), BLOCK):
        some = rows[at : at + BLOCK]
        np.copyto(block[: len(some)], some[:, :-4])
        out[at : at + BLOCK] = (block[: len(some)] @ query) * some[:, -4:].view(np.float32)[:, 0]
