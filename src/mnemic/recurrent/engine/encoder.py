"""An encoder: sees all of its input at once and hands nothing on."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.parts import check_mask, pack, refuse_overflow, reorder


class Encoder(nn.Module, ABC):
    """x [batch, length, dim] -> y of the same shape, every token having seen every other."""

    def __init__(self, name: str, dim: int) -> None:
        super().__init__()
        self.name, self.dim = name, dim

    @abstractmethod
    def run(self, x: Tensor) -> Tensor:
        """Encode x [batch, length >= 1, dim]; zeros behind the tokens are padding and must change nothing."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            x: [batch, length, dim].
            mask: [batch, length] bool, True where a token is real. The others are skipped, wherever they stand,
                and answered with zeros.

        Raises:
            ValueError: shapes that do not fit, or numbers beyond float16's.
            TypeError: a mask that is not boolean.
        """
        if x.dim() != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"{self.name} reads [batch, length, {self.dim}], not {list(x.shape)}")
        check_mask(mask, x)
        if x.numel() == 0:
            return x
        if mask is None:
            y = self.run(x)
        else:
            order, lengths = pack(mask)
            real = (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).unsqueeze(-1)
            x = reorder(x, order).masked_fill(~real, 0)
            y = reorder(self.run(x).masked_fill(~real, 0), order.argsort(1))
        refuse_overflow(self.name, x, y)
        return y
