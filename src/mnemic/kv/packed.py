"""A store whose older pairs take fewer bytes: a window in full precision, blocks packed as they leave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary
from mnemic.kv import score
from mnemic.kv.observe import Observed
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.retire import Codes, quantise, restore
from mnemic.kv.slots import Slots, attend, visible
from mnemic.types import MnemicError


class Codec(Protocol):
    """How blocks are packed."""

    def pack(self, keys: Tensor, values: Tensor, columns: Tensor, near: Slots) -> dict[str, Tensor]:
        """What is kept [b, g, ...] of leaving keys and values [b, g, m, d], columns [b, g or 1, m]."""
        ...

    def unpack(self, codes: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [b, g, blocks, m, d] of what was kept [b, g, blocks, ...]."""
        ...


@dataclass(frozen=True)
class Bits:
    """Fewer bits: keys in groups of one channel over the tokens of a block, values of one token."""

    keys: int
    values: int

    def pack(self, keys: Tensor, values: Tensor, columns: Tensor, near: Slots) -> dict[str, Tensor]:
        codes = quantise(keys, self.keys, over=2).named("key")
        return codes | quantise(values, self.values, over=3).named("value")

    def unpack(self, codes: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return (
            restore(Codes.of("key", codes), self.keys, dtype),
            restore(Codes.of("value", codes), self.values, dtype),
        )


class Packed:
    """A window of slots, and blocks of codes before it.

    Attributes:
        near: the window; once full, whole blocks leave it.
        codec: how they are packed.
        most: blocks of codes that fit; the first to have left go first. None: no limit.
        codes: by name, [b, g or 1, blocks, ...].
    """

    def __init__(self, near: Slots, codec: Codec, most: int | None) -> None:
        self.near = near
        self.codec = codec
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
        """Keys and values [b, g, n, d] of the packed blocks, and their columns [b, g or 1, n]."""
        keys, values = self.codec.unpack(self.codes, dtype)
        return keys.flatten(2, 3), values.flatten(2, 3), self.codes["columns"].flatten(2)

    def _pack(self, index: Tensor) -> None:
        """Pack the leaving slots [b, g or 1, block]."""
        near = self.near
        rows = index.expand(-1, near.keys.shape[1], -1)[..., None]
        keys = near.keys.gather(2, rows.expand(-1, -1, -1, near.keys.shape[3]))
        values = near.values.gather(2, rows.expand(-1, -1, -1, near.values.shape[3]))
        columns = near.columns.gather(2, index)
        new = {"columns": columns} | self.codec.pack(keys, values, columns, near)
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


@dataclass(frozen=True, kw_only=True)
class Residual(Policy):
    """The last tokens in full precision, those before in packed blocks, of which a budget takes the oldest.

    Attributes:
        block: tokens packed together.
        residual: last tokens in full precision, at least; a multiple of `block`.
    """

    block: int = 32
    residual: int = 128

    watch = False  # whether the codec needs the queries of the last block

    def codec(self, layer: Layer) -> Codec:
        """How blocks are packed."""
        raise NotImplementedError

    def block_nbytes(self, layer: Layer) -> int:
        """Bytes of one packed block of one layer, columns too."""
        raise NotImplementedError

    def store(self, layer: Layer, nbytes: int | None) -> Packed:
        if self.residual % self.block:
            raise ValueError(
                f"{self.residual} tokens are no whole number of blocks of {self.block}; "
                "make residual a multiple of block"
            )
        near = Slots(
            scale=layer.scale, capacity=self.residual + self.block, block=self.block, window=layer.window,
            score=self.score, watch=self.watch,
        )  # fmt: skip
        slot, fixed = self.sizes(layer, headwise=False, watch=self.watch, marks=False)
        full, packed = fixed + slot * (self.residual + self.block), self.block_nbytes(layer)
        if nbytes is not None and nbytes < full + packed:
            raise MnemicError(
                f"{type(self).__name__} needs at least {(full + packed) * layer.count} bytes for "
                f"{self.residual + self.block} tokens in full precision and a block, and was given "
                f"{nbytes * layer.count}; raise the budget, or lower residual"
            )
        return Packed(near, self.codec(layer), None if nbytes is None else (nbytes - full) // packed)

    def score(self, slots: Slots) -> Tensor:
        return score.recency(slots.columns)
