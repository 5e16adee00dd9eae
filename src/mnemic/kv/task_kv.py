"""Heads far from what those of a layer have in common keep everything, the others a sketch; chosen as it reads.

    v'_h   = sum over the `vital` tokens of largest C_hj of C_hj v_hj,   C_hj attention of the last queries
    centre = mean over heads of v'_h;   heads apart = the f_l of largest |v'_h - centre|
    f_l    = g·beta - (g·beta - fewest)·l/(L-1), of g heads in layer l of L

The others keep sinks, the last `recent` tokens, and in between the `middle` of largest pooled C. The heads are
chosen once, by each row for itself, when the text first outgrows the budget. (Paper 194.)

Departs from the paper: a text may go on after that, so that `middle` is given (there it follows from the length
of the prompt), the others choose anew at the end of each block, and heads apart that outgrow the budget lose
their oldest tokens; the few heads nearest to the centre that also keep everything there do not here (their
number is not given). Query heads that share a key count together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemic.attention.positions import Rotary
from mnemic.kv import score
from mnemic.kv.observe import Observed
from mnemic.kv.policy import Layer, Policy
from mnemic.kv.slots import Slots
from mnemic.kv.streaming import oldest_first
from mnemic.types import Claim, MnemicError

PAPER = 194
CLAIM = Claim(
    says="with everything kept by the heads that read apart more is recalled than by a window in all",
    task="kv_claims",
    method="task-kv 50%",
    baseline="streaming 50%",
    sabotage="task-kv 50%, scrambled",
    metric="needle",
    budget="half of the full cache's bytes",
)


class Parted:
    """All heads alike until the budget is full, then `count` of them apart from the others.

    Attributes:
        parts: the slots of all heads; of those that keep everything; of the others.
        order: the heads of each row [b, g], those that keep everything first; None: not yet parted.
    """

    def __init__(
        self, every: Slots, own: Slots, rest: Slots, count: int, far: Callable[[Slots], Tensor]
    ) -> None:
        self.parts = {"every": every, "own": own, "rest": rest}
        self.count = count
        self.far = far
        self.block = every.block
        self.rotary: Rotary | None = None
        self.reading = False
        self.stride = self.block
        self.order: Tensor | None = None

    @property
    def live(self) -> dict[str, Slots]:
        names = ("every",) if self.order is None else ("own", "rest")
        return {name: self.parts[name] for name in names}

    def __len__(self) -> int:
        return max(len(part) for part in self.live.values())

    @property
    def settled(self) -> int:
        return max(part.settled for part in self.live.values())

    @settled.setter
    def settled(self, column: int) -> None:
        for part in self.live.values():
            part.settled = column

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if self.order is None:
            return self.parts["every"].step(query, keys, values, columns)
        share = query.shape[1] // keys.shape[1]
        asking = (self.order[..., None] * share + torch.arange(share, device=query.device)).flatten(1)
        query, keys, values = heads(query, asking), heads(keys, self.order), heads(values, self.order)
        f = self.count
        own = self.parts["own"].step(query[:, : f * share], keys[:, :f], values[:, :f], columns)
        rest = self.parts["rest"].step(query[:, f * share :], keys[:, f:], values[:, f:], columns)
        return heads(torch.cat((own, rest), 1), asking.argsort(1))

    def settle(self, seen: int) -> None:
        every = self.parts["every"]
        if self.order is None and every.capacity is not None and len(every) > every.capacity - every.block:
            self._part(every)
        for part in self.live.values():
            part.settle(seen)

    def _part(self, every: Slots) -> None:
        """Find the heads that keep everything, and give each kind its slots."""
        rank = self.far(every).argsort(dim=1, descending=True, stable=True)
        self.order = torch.cat([x.sort(1).values for x in (rank[:, : self.count], rank[:, self.count :])], 1)
        assert every.queries is not None
        share = every.queries.shape[1] // self.order.shape[1]
        for name, chosen in (("own", self.order[:, : self.count]), ("rest", self.order[:, self.count :])):
            part = self.parts[name]
            part.keys, part.values = heads(every.keys, chosen), heads(every.values, chosen)
            part.columns = every.columns.expand(-1, chosen.shape[1] if part.headwise else 1, -1).contiguous()
            asking = (chosen[..., None] * share + torch.arange(share, device=chosen.device)).flatten(1)
            part.queries = heads(every.queries, asking) if part.watch else None
        del every.keys, every.values, every.columns
        every.queries = None

    def observe(self, seen: Observed) -> None:
        for part in self.live.values():
            part.observe(seen)

    def crop(self, count: int, seen: int) -> None:
        for part in self.live.values():
            part.crop(count, seen)

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name, led by that of the part."""
        named = ((name, part.tensors()) for name, part in self.live.items())
        state = {f"{name}.{key}": tensor for name, part in named for key, tensor in part.items()}
        return state if self.order is None else state | {"order": self.order}

    def offloaded(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        self.order = tensors.get("order")
        for name, part in self.live.items():
            part.restore({k.partition(".")[2]: t for k, t in tensors.items() if k.startswith(f"{name}.")})

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        self.order = None if self.order is None else change(self.order)
        for part in self.live.values():
            part.rows(change)


@dataclass(frozen=True, kw_only=True)
class TaskKV(Policy):
    """Heads chosen by what they read.

    Attributes:
        sinks, recent, middle: tokens the other heads keep at the start, at the end, and in between.
        beta: share of heads that keep everything in the lowest layer; fewest: their number in the highest.
        last: queries whose attention counts, at most a block; kernel: slots it is pooled over; vital: tokens of
            largest attention that a head's meaning is made of.
    """

    sinks: int = 16
    recent: int = 256
    middle: int = 256
    beta: float = 0.25
    fewest: int = 1
    last: int = 32
    kernel: int = 7
    vital: int = 256

    def apart(self, layer: Layer) -> int:
        """f: how many heads of that layer keep everything."""
        most = layer.groups * self.beta
        f = most - (most - self.fewest) * layer.index / max(1, layer.count - 1)
        return min(layer.groups, max(self.fewest, round(f)))

    def store(self, layer: Layer, nbytes: int | None) -> Parted | Slots:
        f = self.apart(layer)
        if layer.window is not None or nbytes is None or f == layer.groups:
            return oldest_first(layer, self.block, nbytes)
        pair, column = layer.pair_nbytes // layer.groups, 4 * layer.rows
        queries = self.block * layer.rows * layer.heads * layer.width * layer.dtype.itemsize
        window = self.sinks + self.recent + self.middle + self.block
        rest = (layer.groups - f) * window * (pair + column) + 8 * layer.rows * layer.groups
        every = (nbytes - queries) // (layer.pair_nbytes + column)
        own = (nbytes - queries - rest) // (f * pair + column)
        if own < window:
            need = layer.count * (queries + rest + window * (f * pair + column))
            raise MnemicError(
                f"TaskKV needs at least {need} bytes and was given {nbytes * layer.count}; raise the budget, "
                f"or keep fewer than {self.recent} recent and {self.middle} middle tokens"
            )
        kept: dict[str, Any] = {"scale": layer.scale, "block": self.block}
        return Parted(
            Slots(**kept, capacity=every, watch=True),
            Slots(**kept, capacity=own, score=self.age),
            Slots(**kept, capacity=window, score=self.score, watch=True, headwise=True),
            f, self.far,
        )  # fmt: skip

    def age(self, slots: Slots) -> Tensor:
        return score.protect(score.recency(slots.columns), slots.columns, self.sinks)

    def score(self, slots: Slots) -> Tensor:
        pooled = score.smooth(score.received(slots, self.last), slots.columns, self.kernel)
        return score.protect(pooled, slots.columns, self.sinks, self.recent)

    def far(self, slots: Slots) -> Tensor:
        """How far each head is from the centre of all [b, g]."""
        seen = score.smooth(score.received(slots, self.last), slots.columns, self.kernel)
        seen = seen * (slots.columns >= 0)
        share, vital = seen.topk(min(self.vital, len(slots)), 2)
        values = slots.values.gather(2, vital[..., None].expand(-1, -1, -1, slots.values.shape[3])).float()
        meaning = (share[..., None] * values).sum(2)
        distance: Tensor = (meaning - meaning.mean(1, keepdim=True)).norm(dim=2)
        return distance


def heads(x: Tensor, chosen: Tensor) -> Tensor:
    """Of x [b, h, n, d] the heads [b, k] of each row: [b, k, n, d]."""
    return x.gather(1, chosen[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3]))
