"""Slots that stand for several tokens: pairs that leave are averaged into others instead of being dropped.

k̄ = sum n_j k_j / sum n_j,   v̄ likewise,   over a class of slots that stand for n_j tokens each
its logit = scale·q·k̄ (+ ln sum n_j, where a method lets it weigh as much as all of them)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mnemic.kv.policy import Layer, Scored
from mnemic.kv.slots import PAD, Slots, attend, visible

Classes = tuple[Tensor, Tensor]
"""The slots that stay [b, g, m], ascending, and into which of those each slot goes [b, g, n]; -1: none."""


class Merged(Slots):
    """Slots that are merged where others drop them.

    Attributes:
        counts: tokens that each slot stands for [b, g, n], of those there when last merged; float32.
        classes: from the slots, their scores and how many may stay, which become one.
        weigh: whether a slot weighs as much as all tokens it stands for.
    """

    counts: Tensor | None = None

    def __init__(self, *, classes: Callable[[Merged, Tensor, int], Classes], weigh: bool, **slots: Any) -> None:
        super().__init__(**slots)
        self.classes = classes
        self.weigh = weigh

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if self.counts is None or not self.weigh:
            return super().step(query, keys, values, columns)
        self.write(query, keys, values, columns)
        weight = self.stands_for().log().to(query.dtype)[:, :, None]
        seen = visible(columns, self.columns, self.window)
        bias = weight.masked_fill(~seen, -torch.inf)
        return attend(query, self.keys, self.values, bias, self.scale)

    def stands_for(self) -> Tensor:
        """How many tokens each slot stands for [b, g, n]: new ones for themselves."""
        counts = self.keys.new_ones(self.keys.shape[:3], dtype=torch.float32)
        if self.counts is not None:
            counts[:, :, : self.counts.shape[2]] = self.counts
        return counts

    def settle(self, seen: int) -> None:
        """At the end of a block: merge what does not fit, so that another block does."""
        assert self.score is not None
        scores = self.score(self)
        if self.capacity is not None and len(self) > self.capacity - self.block:
            self.merge(*self.classes(self, scores, self.capacity - self.block))
            self.settled = seen
        self.queries = None

    def merge(self, stay: Tensor, into: Tensor) -> None:
        """Average every slot into the class it goes to (see `Classes`)."""
        counts, m = self.stands_for(), stay.shape[2]
        weight = counts.masked_fill(into < 0, 0.0)
        target = into.clamp_min(0)
        total = torch.zeros_like(counts[:, :, :m]).scatter_add(2, target, weight)
        for name in ("keys", "values"):
            x = getattr(self, name)
            wide = target[..., None].expand_as(x)
            sums = torch.zeros_like(x[:, :, :m], dtype=torch.float32)
            sums = sums.scatter_add(2, wide, weight[..., None] * x.float())
            setattr(self, name, (sums / total.clamp_min(1)[..., None]).to(x.dtype))
        if self.marks is not None:
            kept = self.marks.masked_fill(into < 0, 0.0)
            self.marks = torch.zeros_like(total).scatter_add(2, target, kept)
        self.columns = self.columns.gather(2, stay)
        self.counts = total.clamp_min(1)

    def alive(self) -> Tensor:
        """Which slots a later query can still see [b, g, n]."""
        alive = self.columns > PAD
        if self.window is not None:
            alive &= self.columns > self.columns[..., -1:] - self.window + 1
        return alive


@dataclass(frozen=True, kw_only=True)
class Merging(Scored):
    """Merges what does not fit; a method says what becomes one."""

    weigh: ClassVar[bool]

    def classes(self, slots: Merged, scores: Tensor, count: int) -> Classes:
        """Which `count` slots stay, and which go into them."""
        raise NotImplementedError

    def sizes(self, layer: Layer, **kept: bool) -> tuple[int, int]:
        slot, fixed = super().sizes(layer, **kept)
        return slot + 4 * layer.rows * layer.groups, fixed  # the counts

    def store(self, layer: Layer, nbytes: int | None) -> Merged:
        plain = super().store(layer, nbytes)
        return Merged(
            scale=plain.scale, capacity=plain.capacity, block=plain.block, window=plain.window,
            score=self.score, watch=self.watch, headwise=True, classes=self.classes, weigh=self.weigh,
        )  # fmt: skip


def ranks(stay: Tensor, count: int) -> Tensor:
    """Of `count` slots the place of each among those that stay [b, g, m]; -1 for the others: [b, g, count]."""
    place = torch.arange(stay.shape[2], device=stay.device).expand_as(stay)
    return torch.full((*stay.shape[:2], count), -1, device=stay.device).scatter(2, stay, place)
