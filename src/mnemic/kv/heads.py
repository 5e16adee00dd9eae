"""Heads of one layer that remember differently: each part of the key-value heads has a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary
from mnemic.kv import score
from mnemic.kv.observe import Observed
from mnemic.kv.policy import Layer, Policy, Store
from mnemic.kv.slots import Slots, attend, visible
from mnemic.kv.streaming import Streaming, oldest_first
from mnemic.types import MnemicError


class Heads:
    """Stores side by side; all have the same block.

    Args:
        parts: key-value heads and the store that keeps them; together every head once.
        groups: key-value heads of the layer.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], Store]], groups: int) -> None:
        self.parts = [(torch.tensor(heads), store) for heads, store in parts if heads]
        self.groups = groups
        self.block = self.parts[0][1].block
        self.rotary: Rotary | None = None
        self.reading = False
        self.stride = self.block

    def __len__(self) -> int:
        return max(len(store) for _, store in self.parts)

    @property
    def settled(self) -> int:
        return max(store.settled for _, store in self.parts)

    @settled.setter
    def settled(self, column: int) -> None:
        for _, store in self.parts:
            store.settled = column

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        share = query.shape[1] // self.groups
        out = query.new_empty(*query.shape[:3], values.shape[3])
        for heads, store in self.parts:
            asking = (heads[:, None] * share + torch.arange(share)).flatten()
            out[:, asking] = store.step(query[:, asking], keys[:, heads], values[:, heads], columns)
        return out

    def observe(self, seen: Observed) -> None:
        for _, store in self.parts:
            store.observe(seen)

    def settle(self, seen: int) -> None:
        for _, store in self.parts:
            store.settle(seen)

    def crop(self, count: int, seen: int) -> None:
        for _, store in self.parts:
            store.crop(count, seen)

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name, led by the number of the part."""
        named = ((i, store.tensors()) for i, (_, store) in enumerate(self.parts))
        return {f"{i}.{name}": tensor for i, part in named for name, tensor in part.items()}

    def offloaded(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        for i, (_, store) in enumerate(self.parts):
            store.restore({n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{i}.")})

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        for _, store in self.parts:
            store.rows(change)


class Compensated(Slots):
    """Slots that leave are summed up in one: their mean key and value, weighing as much as all of them.

        its logit = scale·q·mean k + ln N,  N slots having left

    Attributes:
        total_keys, total_values: sums over what left [b, g, d], float32.
        left: how many did [b, g], float32.
    """

    total_keys: Tensor
    total_values: Tensor
    left: Tensor | None = None

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        self.leaving = self._sum_up
        if self.left is None:
            return super().step(query, keys, values, columns)
        self.write(query, keys, values, columns)
        count = self.left.clamp_min(1)[..., None]
        key, value = ((x / count).to(keys.dtype)[:, :, None] for x in (self.total_keys, self.total_values))
        seen = visible(columns, self.columns, self.window)
        seen = seen.expand(-1, key.shape[1], -1, -1)
        bias = torch.zeros(seen.shape, dtype=query.dtype, device=query.device).masked_fill(~seen, -torch.inf)
        weight = self.left.log().to(query.dtype)[..., None, None].expand(-1, -1, query.shape[2], 1)
        bias = torch.cat((weight, bias), 3)
        return attend(
            query, torch.cat((key, self.keys), 2), torch.cat((value, self.values), 2), bias, self.scale
        )

    def _sum_up(self, index: Tensor) -> None:
        rows = index.expand(-1, self.keys.shape[1], -1)
        real = (self.columns.expand(-1, self.keys.shape[1], -1).gather(2, rows) >= 0).float()
        sums = []
        for x in (self.keys, self.values):
            leaving = x.gather(2, rows[..., None].expand(-1, -1, -1, x.shape[3])).float()
            sums.append((leaving * real[..., None]).sum(2))
        if self.left is None:
            self.total_keys, self.total_values, self.left = *sums, real.sum(2)
        else:
            self.total_keys, self.total_values = self.total_keys + sums[0], self.total_values + sums[1]
            self.left = self.left + real.sum(2)


@dataclass(frozen=True, kw_only=True)
class Headwise(Policy):
    """Retrieval heads remember the text by a method of their own, the others its beginning and its end.

    Attributes:
        sinks, local: tokens the other heads keep at the start and at the end.
        retrieval: (layer, key-value head) of the retrieval heads.
        over: what the retrieval heads do; as it is, what a budget cannot hold leaves oldest first.
    """

    sinks: int = 4
    local: int = 256
    retrieval: tuple[tuple[int, int], ...] | None = None
    over: Policy = field(default_factory=lambda: Streaming(positions="true"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "over", replace(self.over, block=self.block))
        object.__setattr__(self, "observes", self.over.observes)

    def rest(self, **kept: Any) -> Slots:
        """What keeps the other heads' pairs."""
        return Slots(**kept)

    def rest_nbytes(self, layer: Layer) -> int:
        """Bytes an other head keeps beside its slots."""
        return 0

    def store(self, layer: Layer, nbytes: int | None) -> Slots | Heads:
        if layer.window is not None:
            return oldest_first(layer, self.block, nbytes)
        full = [head for index, head in self.retrieval or () if index == layer.index]
        others = [head for head in range(layer.groups) if head not in full]
        window = self.sinks + self.local + self.block
        spare = None
        if nbytes is not None:
            slot = layer.pair_nbytes // layer.groups
            needed = len(others) * (window * slot + self.rest_nbytes(layer))
            needed += 4 * layer.rows * window if others else 0
            spare = nbytes - needed
            if spare < 0:
                raise MnemicError(
                    f"{type(self).__name__} needs at least {needed * layer.count} bytes and was given "
                    f"{nbytes * layer.count}; raise the budget, or keep fewer than {self.local} local tokens"
                )
        kept = {"scale": layer.scale, "block": self.block, "score": self.score, "capacity": window}
        return Heads([(full, self._retrieval(layer, full, spare)), (others, self.rest(**kept))], layer.groups)

    def _retrieval(self, layer: Layer, heads: Sequence[int], nbytes: int | None) -> Store:
        share = layer.heads // layer.groups
        part = replace(layer, groups=max(1, len(heads)), heads=max(1, len(heads)) * share)
        try:
            store = self.over.store(part, nbytes if heads else None)
        except MnemicError as error:
            raise MnemicError(
                f"what other heads leave to the retrieval heads is too little: {error}"
            ) from error
        if store.rotary is not None:
            raise ValueError(
                f"{type(self.over).__name__} moves keys, which methods over single heads cannot; "
                "choose one that leaves them where they are"
            )
        return store

    def score(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)


def highest(scores: Tensor, share: float) -> set[tuple[int, int]]:
    """The (layer, head) of the highest `share` of scores [layers, heads]."""
    order = scores.flatten().argsort(descending=True)[: ceil(share * scores.numel())]
    return {divmod(int(i), scores.shape[1]) for i in order}
