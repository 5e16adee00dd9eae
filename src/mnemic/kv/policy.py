"""What a method of cache memory decides, and the budget it decides within.

A method is a frozen dataclass whose fields are its hyper-parameters. It makes one store per layer; the store
keeps pairs and is told when a block of the text is over. Blocks are counted from the start of the text, so the
pieces in which a text arrives never show in what is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary, rotary_of
from mnemic.kv.observe import Observed, check_head
from mnemic.kv.slots import Slots
from mnemic.types import MnemicError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: int | str) -> int:
    """An amount of memory: an int, or "64MiB", "1.5 GB".

    Raises:
        ValueError: not an amount, or none at all.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f'{text!r} is not an amount of memory; write bytes as an int, or "64MiB", "1.5GB"')
    nbytes = int(float(match[1]) * _UNITS[match[2].upper()])
    if nbytes <= 0:
        raise ValueError(f"a budget of {text!r} keeps nothing; leave it out for no limit")
    return nbytes


@dataclass(frozen=True)
class Layer:
    """One attention layer, as a store meets it.

    Attributes:
        index, count: which layer, of how many.
        rows, heads, groups: batch rows, query heads, key-value heads.
        width, value_width: channels of a key and of a value.
        scale: what q·k is multiplied by.
        window: the model's own sliding window in tokens, or None.
        kind: the model's name for the type of layer ("full_attention").
        model: the model.
        below: the store of the layer before.
    """

    index: int
    count: int
    rows: int
    heads: int
    groups: int
    width: int
    value_width: int
    dtype: torch.dtype
    scale: float
    window: int | None
    kind: str
    model: Any
    below: Store | None = None

    @property
    def pair_nbytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return self.rows * self.groups * (self.width + self.value_width) * self.dtype.itemsize

    def rotary(self) -> Rotary:
        return rotary_of(self.model, self.kind)


class Store(Protocol):
    """Keeps the pairs of one layer; see `mnemic.kv.slots.Slots`, the plain one."""

    block: int
    rotary: Rotary | None  # given: keys and queries come with their positions taken off
    reading: bool  # nothing is asked of this text yet: recall may wait
    settled: int  # the column up to which what was kept may have been taken away

    @property
    def stride(self) -> int:
        """Tokens of a step at most while a text is only read: several blocks where it is known what leaves."""
        ...

    def __len__(self) -> int: ...
    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor: ...
    def observe(self, seen: Observed) -> None: ...
    def settle(self, seen: int) -> None: ...
    def crop(self, count: int, seen: int) -> None: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def offloaded(self) -> dict[str, Tensor]: ...
    def restore(self, tensors: dict[str, Tensor]) -> None: ...
    def rows(self, change: Callable[[Tensor], Tensor]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Keeps everything; methods build on it.

    Attributes:
        block: tokens between two looks at what to keep.
    """

    block: int = 64

    observes: ClassVar[tuple[str, ...]] = ()  # what stores are told of each token: "ids", "surprise"
    together: ClassVar[bool] = False  # whether layers settle together, when all of them have read a block

    @property
    def blockwise(self) -> bool:
        """Whether a block goes through all layers before the next one starts."""
        return self.together or bool(self.observes)

    def prepared(self, model: Any) -> Policy:
        """This policy with what it must know about the model, found once when attached."""
        if "surprise" in self.observes:
            check_head(model)
        return self

    def allocate(self, layer: Layer, nbytes: int) -> int:
        """Which of `nbytes` for all layers this one may own; equal shares unless a method says otherwise."""
        return nbytes // layer.count

    def store(self, layer: Layer, nbytes: int | None) -> Store:
        """What keeps the pairs of one layer within `nbytes` (None: no limit)."""
        raise NotImplementedError

    def look(self, cache: Any, hidden: Tensor, mask: Tensor | None, positions: Tensor | None) -> None:
        """What to do with all layers when a block has gone through them and before they settle: nothing.

        Called for policies that are `blockwise`; the arguments are those of `MemoryCache.observe`.
        """

    def trail_nbytes(self, layer: Layer) -> int:
        """A layer's share of the hidden states that the next tokens are predicted from."""
        width = int(layer.model.config.get_text_config(decoder=True).hidden_size)
        return -(-(self.block + 1) * layer.rows * width * layer.dtype.itemsize // layer.count)

    def sizes(self, layer: Layer, *, headwise: bool, watch: bool, marks: bool) -> tuple[int, int]:
        """Bytes of a slot with what is kept beside it, and of what is kept whatever their number."""
        column = 4 * layer.rows * (layer.groups if headwise else 1) * (1 + len(self.observes))
        slot = layer.pair_nbytes + column + 4 * layer.rows * layer.groups * marks
        fixed = self.block * layer.rows * layer.heads * layer.width * layer.dtype.itemsize * watch
        return slot, fixed + (self.trail_nbytes(layer) if self.observes else 0)

    def capacity(
        self, layer: Layer, nbytes: int | None, *, least: int, headwise: bool, watch: bool, marks: bool
    ) -> int | None:
        """How many slots fit into `nbytes` with what is kept beside them.

        Raises:
            MnemicError: fewer than `least` and a block.
        """
        if nbytes is None:
            return None
        slot, fixed = self.sizes(layer, headwise=headwise, watch=watch, marks=marks)
        slots = (nbytes - fixed) // slot
        if slots < least + self.block:
            need = (least + self.block) * slot + fixed
            raise MnemicError(
                f"{type(self).__name__} needs {need} bytes in each layer, at least "
                f"{need * layer.count} in all, and was given {nbytes * layer.count}; "
                f"raise the budget, or choose a smaller block than {self.block}"
            )
        return slots


@dataclass(frozen=True, kw_only=True)
class Scored(Policy):
    """Keeps the slots of highest score: a method says what a slot is worth.

    Attributes:
        sinks: first tokens that always stay.
        recent: last tokens that always stay.
    """

    sinks: int = 4
    recent: int = 32

    headwise = True  # whether every key-value head keeps its own tokens
    watch = False  # whether the score needs the queries of the last block
    marks = False  # whether a running score is kept

    def score(self, slots: Slots) -> Tensor:
        """The worth of each slot [b, g or 1, n]; the highest are kept."""
        raise NotImplementedError

    @property
    def fewest(self) -> int:
        """The fewest slots that must stay when a block is over."""
        return self.sinks + self.recent + 1

    def least(self, layer: Layer) -> int:
        """The fewest bytes a layer needs."""
        slot, fixed = self.sizes(layer, headwise=self.headwise, watch=self.watch, marks=self.marks)
        return fixed + slot * (self.fewest + self.block)

    def store(self, layer: Layer, nbytes: int | None) -> Slots:
        capacity = self.capacity(
            layer, nbytes, least=self.fewest, headwise=self.headwise, watch=self.watch, marks=self.marks
        )
        return Slots(
            scale=layer.scale, capacity=capacity, block=self.block, window=layer.window, score=self.score,
            watch=self.watch, headwise=self.headwise, observes=self.observes,
        )  # fmt: skip
