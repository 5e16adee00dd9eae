"""What a memory learnt at test time looks like: small networks of linear maps, and their errors layer by layer.

A structure is written once, over a function `linear(i, x)` that applies its i-th weights. Reading passes the
weights as they are at each token; learning passes the weights frozen at the chunk's start and returns, for
every linear map, its input and the loss's gradient at its output: their outer product is the gradient of the
weights, so one token changes every map by a matrix of rank one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mnemic.recurrent.engine import slopes

Linear = Callable[[int, Tensor], Tensor]
Error = Callable[[Tensor], Tensor]


class Structure(Protocol):
    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear map."""
        ...

    def scales(self, key_dim: int, value_dim: int) -> list[float]:
        """Standard deviation that the initial weights of every linear map are drawn with."""
        ...

    def gain(self, key_dim: int) -> float:
        """How much a step of size 1 on a key moves what is recalled of it, by the last map, at the start."""
        ...

    def read(self, linear: Linear, x: Tensor) -> Tensor:
        """The network's output at x [..., key_dim]."""
        ...

    def learn(self, weights: Sequence[Tensor], x: Tensor, error: Error) -> list[tuple[Tensor, Tensor]]:
        """(input, gradient at the output) of every linear map; `error` is the loss's gradient at the output.

        weights [rows, inputs, outputs], x [rows, tokens, key_dim].
        """
        ...


@dataclass(frozen=True)
class Perceptron:
    """f(x) = W_d gelu(... W_2 gelu(W_1 x)); with `residual`, x + LayerNorm of that.

    depth 1 is a matrix; hidden layers are `expansion` times as wide as a key.
    """

    depth: int = 2
    expansion: int = 4
    residual: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1 or self.expansion < 1:
            raise ValueError(f"depth {self.depth} and expansion {self.expansion} must be at least 1")

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        if self.residual and key_dim != value_dim:
            raise ValueError(
                f"a residual memory adds keys to values; key_dim {key_dim} must equal value_dim {value_dim}"
            )
        sizes = [key_dim, *[self.expansion * key_dim] * (self.depth - 1), value_dim]
        return list(pairwise(sizes))

    def scales(self, key_dim: int, value_dim: int) -> list[float]:
        """The last map starts at zero, so that only what was written is read, unless a norm follows it.

        The first is such that keys of length 1 make hidden features of size 1: smaller ones are all but linear
        and hold next to nothing.
        """
        fair = [rows**-0.5 for rows, _ in self.shapes(key_dim, value_dim)]
        return [*[1.0][: self.depth - 1], *fair[1:-1], fair[-1] if self.residual else 0.0]

    def gain(self, key_dim: int) -> float:
        """The squared length of the hidden features; gelu leaves 0.43 of a normal number's square."""
        return 1.0 if self.residual or self.depth == 1 else 0.43 * self.expansion * key_dim

    def read(self, linear: Linear, x: Tensor) -> Tensor:
        h = linear(0, x)
        for i in range(1, self.depth):
            h = linear(i, F.gelu(h))
        return x + F.layer_norm(h, h.shape[-1:]) if self.residual else h

    def learn(self, weights: Sequence[Tensor], x: Tensor, error: Error) -> list[tuple[Tensor, Tensor]]:
        inputs, outputs = [x], [torch.bmm(x, weights[0])]
        for weight in weights[1:]:
            inputs.append(F.gelu(outputs[-1]))
            outputs.append(torch.bmm(inputs[-1], weight))
        h = outputs[-1]
        if self.residual:
            gradient = slopes.layer_norm(error(x + F.layer_norm(h, h.shape[-1:])), h)
        else:
            gradient = error(h)
        gradients = [gradient]
        for weight, h in zip(reversed(weights[1:]), reversed(outputs[:-1]), strict=True):
            gradients.append(slopes.gelu(torch.bmm(gradients[-1], weight.mT), h))
        return list(zip(inputs, reversed(gradients), strict=True))


@dataclass(frozen=True)
class SwiGLU:
    """f(x) = W_2 (silu(W_0 x) * W_1 x), hidden layer `expansion` times as wide as a key."""

    expansion: int = 1

    def __post_init__(self) -> None:
        if self.expansion < 1:
            raise ValueError(f"expansion {self.expansion} must be at least 1")

    def shapes(self, key_dim: int, value_dim: int) -> list[tuple[int, int]]:
        hidden = self.expansion * key_dim
        return [(key_dim, hidden), (key_dim, hidden), (hidden, value_dim)]

    def scales(self, key_dim: int, value_dim: int) -> list[float]:
        """The first two are such that keys of length 1 make hidden features of size 1, as in `Perceptron`."""
        return [1.0, 1.0, (self.expansion * key_dim) ** -0.5]

    def gain(self, key_dim: int) -> float:
        """The squared length of the hidden features; silu leaves 0.36 of a normal number's square."""
        return 0.36 * self.expansion * key_dim

    def read(self, linear: Linear, x: Tensor) -> Tensor:
        return linear(2, F.silu(linear(0, x)) * linear(1, x))

    def learn(self, weights: Sequence[Tensor], x: Tensor, error: Error) -> list[tuple[Tensor, Tensor]]:
        gate, up = torch.bmm(x, weights[0]), torch.bmm(x, weights[1])
        hidden, sigmoid = F.silu(gate) * up, torch.sigmoid(gate)
        out = error(torch.bmm(hidden, weights[2]))
        back = torch.bmm(out, weights[2].mT)
        gate_gradient = back * up * sigmoid * (1 + gate * (1 - sigmoid))
        return [(x, gate_gradient), (x, back * F.silu(gate)), (hidden, out)]
