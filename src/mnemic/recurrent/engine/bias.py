"""Attentional biases: the loss by which a memory judges what it recalls, as its gradient at the output.

Every function takes (values, thresholds, outputs) and returns d loss / d output, of the outputs' shape.
"""

from __future__ import annotations

from torch import Tensor


def squared(values: Tensor, threshold: Tensor | None, outputs: Tensor) -> Tensor:
    """|y - v|^2 / 2."""
    return outputs - values


def cubic(values: Tensor, threshold: Tensor | None, outputs: Tensor) -> Tensor:
    """sum |y - v|^3 / 3: large errors count for more."""
    error = outputs - values
    return error * error.abs()


def huber(values: Tensor, threshold: Tensor | None, outputs: Tensor) -> Tensor:
    """|e|^2 / 2 for an error e = y - v up to the token's threshold in length, beyond it threshold * |e|."""
    assert threshold is not None
    error = outputs - values
    norm = error.norm(dim=-1, keepdim=True)
    scale: Tensor = (threshold / norm.clamp_min(1e-12)).clamp_max(1)
    return error * scale


def dot(values: Tensor, threshold: Tensor | None, outputs: Tensor) -> Tensor:
    """-<y, v>: agreement is sought without end, whatever is recalled already."""
    return -values
