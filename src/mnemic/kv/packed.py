"""A store whose older pairs take fewer bytes: a window in full precision, blocks packed as they leave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary
from mnemic.kv import score
from mnemic.kv.around import Around
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


class Beside(Around):
    """A window of slots, and blocks of what is left of the pairs before it.

    Attributes:
        near: the window.
        most: blocks that fit; the first to have left go first. None: no limit.
        codes: by name, [b, g or 1, blocks, ...].
        prefix: what the names of codes begin with in a saved cache.
    """

    prefix = "packed."

    def __init__(self, near: Slots, most: int | None) -> None:
        self.near = near
        self.most = most
        self.block = near.block
        self.rotary: Rotary | None = None
        self.reading = False
        self.stride = self.block
        self.codes: dict[str, Tensor] = {}

    @property
    def before(self) -> dict[str, Tensor]:
        """The blocks that are attended to before the window."""
        return self.codes

    def unpack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [b, g, blocks, m, d] of `before`."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.near) + (self.before["columns"].shape[2] * self.block if self.before else 0)

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if not self.before:
            return self.near.step(query, keys, values, columns)
        near = self.near
        near.write(query, keys, values, columns)
        old_keys, old_values = (x.flatten(2, 3) for x in self.unpack(keys.dtype))
        old_columns = self.before["columns"].flatten(2)
        mask = visible(columns, torch.cat((old_columns, near.columns), 2), near.window)
        keys, values = torch.cat((old_keys, near.keys), 2), torch.cat((old_values, near.values), 2)
        return attend(query, keys, values, mask, near.scale)

    def grown(self, block: dict[str, Tensor]) -> dict[str, Tensor]:
        """`before` with one more block [b, g or 1, ...] at its end, and without what no longer fits."""
        last = {name: tensor[:, :, None] for name, tensor in block.items()}
        if not self.before:
            return {name: tensor.clone() for name, tensor in last.items()}
        new = {name: torch.cat((self.before[name], tensor), 2) for name, tensor in last.items()}
        if self.most is None or new["columns"].shape[2] <= self.most:
            return new
        return {name: tensor[:, :, -self.most :].clone() for name, tensor in new.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        return self.near.tensors() | {f"{self.prefix}{name}": tensor for name, tensor in self.codes.items()}

    def offloaded(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        codes = {name: tensor for name, tensor in tensors.items() if name.startswith(self.prefix)}
        self.codes = {name.removeprefix(self.prefix): tensor for name, tensor in codes.items()}
        self.near.restore({name: tensor for name, tensor in tensors.items() if name not in codes})

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        self.codes = {name: change(tensor).contiguous() for name, tensor in self.codes.items()}
        self.near.rows(change)


class Packed(Beside):
    """Whole blocks leave a full window and are packed by a codec."""

    def __init__(self, near: Slots, codec: Codec, most: int | None) -> None:
        super().__init__(near, most)
        self.codec = codec
        near.leaving = self._pack

    def unpack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [b, g, blocks, m, d] of the packed blocks."""
        return self.codec.unpack(self.codes, dtype)

    def _pack(self, index: Tensor) -> None:
        """Pack the leaving slots [b, g or 1, block]."""
        near = self.near
        rows = index.expand(-1, near.keys.shape[1], -1)[..., None]
        keys = near.keys.gather(2, rows.expand(-1, -1, -1, near.keys.shape[3]))
        values = near.values.gather(2, rows.expand(-1, -1, -1, near.values.shape[3]))
        columns = near.columns.gather(2, index)
        self.codes = self.grown({"columns": columns} | self.codec.pack(keys, values, columns, near))


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
