"""Attentional biases: the loss by which a memory judges what it recalls, as its gradient at the output.

Every function takes (values, thresholds, outputs) and returns d loss / d output, of the outputs' shape.
"""

from __future__ import annotations

from torch import Tensor


def squared(values: Tensor, threshold: Tensor | None, outputs: Tensor) -> Tensor:
    """|y - v|^2 / 2."""
    return outputs - values
