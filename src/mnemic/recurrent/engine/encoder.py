"""An encoder: sees all of its input at once and hands nothing on."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.parts import pack, reorder


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
            ValueError: shapes that do not fit.
        """
        if x.dim() != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"{self.name} reads [batch, length, {self.dim}], not {list(x.shape)}")
        if x.numel() == 0:
            return x
        if mask is None:
            return self.run(x)
        if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            raise ValueError(
                f"the mask is {mask.dtype} {list(mask.shape)} but the tokens are {list(x.shape[:2])}; give one "
                "boolean a token"
            )
        order, lengths = pack(mask)
        real = (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).unsqueeze(-1)
        y = self.run(reorder(x, order).masked_fill(~real, 0))
        return reorder(y.masked_fill(~real, 0), order.argsort(1))
