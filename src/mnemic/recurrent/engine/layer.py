"""A causal layer: reads tokens, hands on a state. Any split of the text gives the same outputs.

A subclass says what a fresh state is (`initial`) and how real tokens are read (`run`); this class deals with
everything a caller may do: masks, empty input, a state of another layer, gradients through a reused state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.parts import check_mask, pack, refuse_overflow, reorder
from mnemic.recurrent.engine.state import State, Tensors

PIECE = 4096  # tokens read at once without gradients, so that a book needs no more memory than a chapter


class Layer(nn.Module, ABC):
    """x [batch, length, dim] -> (y of the same shape, state).

    Attributes:
        name: what it is built by.
        maker: whose states it accepts: the name, and the options that `define` names.
        growing: names of state tensors whose second dimension grows with what was read (attention only).
    """

    growing: frozenset[str] = frozenset()

    def __init__(self, name: str, dim: int) -> None:
        super().__init__()
        self.name, self.maker, self.dim = name, name, dim

    def define(self, **options: float) -> None:
        """Name options that change what is remembered but not its shapes: states of others are refused."""
        self.maker = " ".join([self.maker, *(f"{option}={value:.9g}" for option, value in options.items())])

    @abstractmethod
    def initial(self, batch: int) -> Tensors:
        """The state before anything was read: tensors [batch, ...]."""

    @abstractmethod
    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        """Read x [batch, length >= 1, dim]; in row b only the first lengths[b] tokens are real (None: all).

        The others are zeros, must change nothing and must be answered with zeros.
        """

    def forward(
        self, x: Tensor, state: State | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read on from a state.

        Args:
            x: [batch, length, dim].
            state: what an earlier call returned; None: nothing was read yet.
            mask: [batch, length] bool, True where a token is real. The others change nothing, wherever they
                stand, and their outputs are zero.

        Returns:
            y [batch, length, dim] and the state after the last real token.

        Raises:
            ValueError: shapes that do not fit, a state made by a different layer, or numbers beyond float16's.
            TypeError: a mask that is not boolean.
        """
        if x.dim() != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"{self.name} reads [batch, length, {self.dim}], not {list(x.shape)}")
        check_mask(mask, x)
        if x.shape[1] > PIECE and not torch.is_grad_enabled():
            whole = x.new_empty(0)
            for start in range(0, x.shape[1], PIECE):
                piece = slice(start, start + PIECE)
                y, state = self(x[:, piece], state, None if mask is None else mask[:, piece])
                whole = whole if start else y.new_empty(x.shape)
                whole[:, piece] = y
            assert state is not None
            return whole, state
        tensors = self.initial(x.shape[0]) if state is None else self._accept(state, x.shape[0])
        if x.shape[0] == 0 or x.shape[1] == 0:
            return torch.zeros_like(x), State(self.maker, tensors)
        if torch.is_autocast_enabled(x.device.type):  # gates are made outside of it, where types must agree
            x = x.to(next(self.parameters()).dtype)
        if mask is None:
            y, tensors = self.run(x, tensors, None)
        else:
            order, lengths = pack(mask)
            real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            x = reorder(x, order).masked_fill(~real.unsqueeze(-1), 0)
            y, tensors = self.run(x, tensors, lengths)
            y = reorder(y, order.argsort(1))
        refuse_overflow(self.name, x, y, *tensors.values())
        return y, State(self.maker, tensors)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read one token, x [batch, dim] -> (y [batch, dim], state); its cost does not grow with the text."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def state_bytes(self) -> int:
        """Bytes of the state of one sequence (of an empty one, where the state grows)."""
        with torch.no_grad():
            return State(self.maker, self.initial(1)).nbytes

    def _accept(self, state: State, batch: int) -> Tensors:
        return state.accepted(self.maker, self.initial(batch), batch, self.growing)
