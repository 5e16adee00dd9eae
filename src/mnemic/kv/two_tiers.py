"""A near tier of slots, and files that hold what has left it: what every method that recalls builds on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mnemic.kv.around import Around
from mnemic.kv.mapped import Mapped
from mnemic.kv.slots import Slots


class TwoTiers(Around):
    """A near tier of slots, and files that hold what has left it, a block at a time.

    Attributes:
        far: what was written of each block, by name: [b, ...].
        tiers: that, and what else is in files with the batch first.
    """

    def __init__(self, near: Slots, folder: str | Path | None) -> None:
        self.near = near
        self.folder = folder
        self.block = near.block
        self.rotary = near.rotary
        self.reading = False
        self.far: dict[str, Mapped] = {}
        self.order: Tensor | None = None  # which row of the far tier each row is; None: the same
        near.leaving = self._offload

    @property
    def tiers(self) -> list[dict[str, Mapped]]:
        return [self.far]

    @property
    def blocks(self) -> int:
        """How many blocks have left."""
        return min(map(len, self.far.values()))

    def __len__(self) -> int:
        return len(self.near) + self.block * self.blocks

    def _offload(self, index: Tensor) -> None:
        """Write the leaving slots [b, 1, m], one block or several."""
        raise NotImplementedError

    @property
    def stride(self) -> int:
        return self.near.stride

    def tensors(self) -> dict[str, Tensor]:
        """The state in memory, by name."""
        return self.near.tensors() | ({} if self.order is None else {"order": self.order})

    def offloaded(self) -> dict[str, Tensor]:
        """The state on disk, by name."""
        return {name: file.rows for tier in self.tiers for name, file in tier.items() if len(file)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` and `offloaded` (names led by "far.") gave."""
        self.order = tensors.pop("order", None)
        for tier in self.tiers:
            for name, file in tier.items():
                for row in tensors.pop(f"far.{name}", ()):
                    file.append(row)
        self.near.restore(tensors)

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension; the far tier only notes it until it is next written."""
        if any(len(file) for tier in self.tiers for file in tier.values()):
            self.order = change(self.batch_rows())
        self.near.rows(change)

    def batch_rows(self) -> Tensor:
        """Which row of the far tier each row is: [b]."""
        keys = self.near.keys
        return torch.arange(keys.shape[0], device=keys.device) if self.order is None else self.order

    def _settle_order(self) -> None:
        """Rewrite the far tier for rows that were reordered."""
        if self.order is None:
            return
        for tier in self.tiers:
            for name, old in tier.items():
                new = Mapped(self.folder)
                for row in old.rows if len(old) else ():
                    new.append(row[self.order])
                tier[name] = new
        self.order = None
