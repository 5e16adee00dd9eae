"""A store whose older pairs have fewer bits: a window in full precision, blocks quantised as they leave."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary
from mnemic.kv.observe import Observed
from mnemic.kv.retire import Codes, quantise, restore
from mnemic.kv.slots import Slots, attend, visible


class Packed:
    """A window of slots, and blocks of codes before it.

    Attributes:
        near: the window; its capacity is a whole number of blocks, so that whole blocks leave.
        key_bits, value_bits: 1, 2, 4 or 8.
        most: blocks of codes that fit; the oldest go first. None: no limit.
        codes: by name, [b, g, blocks, ...].
    """

    def __init__(self, near: Slots, *, key_bits: int, value_bits: int, most: int | None) -> None:
        self.near = near
        self.key_bits = key_bits
        self.value_bits = value_bits
        self.most = most
        self.block = near.block
        self.rotary: Rotary | None = None
        self.reading = False
        self.codes: dict[str, Tensor] = {}
        near.leaving = self._pack

    def __len__(self) -> int:
        return len(self.near) + (self.codes["columns"].shape[2] * self.block if self.codes else 0)

    @property
    def settled(self) -> int:
        return self.near.settled

    @settled.setter
    def settled(self, column: int) -> None:
        self.near.settled = column

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if not self.codes:
            return self.near.step(query, keys, values, columns)
        near = self.near
        near.write(query, keys, values, columns)
        old_keys, old_values, old_columns = self.unpack(keys.dtype)
        mask = visible(columns, torch.cat((old_columns, near.columns), 2), near.window)
        keys, values = torch.cat((old_keys, near.keys), 2), torch.cat((old_values, near.values), 2)
        return attend(query, keys, values, mask, near.scale)

    def unpack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [b, g, n, d] of the quantised blocks, and their columns [b, 1, n]."""
        keys, values = (
            Codes(*(self.codes[f"{name}_{part}"] for part in Codes._fields)) for name in ("key", "value")
        )
        return (
            restore(keys, self.key_bits, dtype).flatten(2, 3),
            restore(values, self.value_bits, dtype).flatten(2, 3),
            self.codes["columns"].flatten(2),
        )

    def _pack(self, index: Tensor) -> None:
        """Quantise the leaving slots [b, 1, block]: keys by channel, values by token."""
        near = self.near
        rows = index.expand(-1, near.keys.shape[1], -1)[..., None]
        keys = near.keys.gather(2, rows.expand(-1, -1, -1, near.keys.shape[3]))
        values = near.values.gather(2, rows.expand(-1, -1, -1, near.values.shape[3]))
        new = {"columns": near.columns.gather(2, index)}
        new |= {f"key_{k}": v for k, v in quantise(keys, self.key_bits, over=2)._asdict().items()}
        new |= {f"value_{k}": v for k, v in quantise(values, self.value_bits, over=3)._asdict().items()}
        new = {name: tensor[:, :, None] for name, tensor in new.items()}  # one block
        if self.codes:
            new = {name: torch.cat((self.codes[name], tensor), 2) for name, tensor in new.items()}
        if self.most is not None:
            new = {name: tensor[:, :, -self.most :].clone() for name, tensor in new.items()}
        self.codes = new

    def observe(self, seen: Observed) -> None:
        self.near.observe(seen)

    def settle(self, seen: int) -> None:
        self.near.settle(seen)

    def crop(self, count: int, seen: int) -> None:
        self.near.crop(count, seen)

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        return self.near.tensors() | {f"packed.{name}": tensor for name, tensor in self.codes.items()}

    def offloaded(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        packed = {name: tensor for name, tensor in tensors.items() if name.startswith("packed.")}
        self.codes = {name.removeprefix("packed."): tensor for name, tensor in packed.items()}
        self.near.restore({name: tensor for name, tensor in tensors.items() if name not in packed})

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        self.codes = {name: change(tensor).contiguous() for name, tensor in self.codes.items()}
        self.near.rows(change)
