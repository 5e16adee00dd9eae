"""Memory as a state: layers that read any length of text into a state of fixed size.

    layer = build("gated-delta-rule", dim=256, heads=4)
    y, state = layer(x)                     # x [batch, length, 256]
    y, state = layer(more, state)           # read on; any split of the text gives the same outputs
    y, state = layer.step(token, state)     # one token, [batch, 256]
    state.save("book.safetensors"); State.load("book.safetensors")

A layer is four choices (Miras, paper 63): structure, attentional bias, retention and learning rule.
"""

from __future__ import annotations

from typing import Any

from mnemic import recipes
from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.state import State

__all__ = ["Layer", "State", "build", "names"]


def names() -> list[str]:
    """Names of all layers."""
    return recipes.names("recurrent")


def build(name: str, dim: int, **options: Any) -> Layer:
    """A layer by name, on `dim` channels.

    Args:
        options: `heads`, and what else the layer's own `layer` function takes.

    Raises:
        MnemicError: no such layer.
        ValueError: sizes that do not fit.
        TypeError: an option the layer does not have.
    """
    layer: Layer = recipes.load("recurrent", name).layer(dim, **options)
    return layer
