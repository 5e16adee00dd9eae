"""Two tiers: sinks and a window at hand, everything older in blocks on disk, of which each query recalls a few.

    out = softmax([q·k near | q·k of the k best blocks]) [v near | v of those blocks]

Keys carry no positions; every distance is capped, so that recalled tokens stand as far away as the farthest
the model was trained on. Each query token recalls for itself: what it sees never depends on the tokens after
it, nor on how the text was cut into chunks. While a text is only read (`mnemic.kv.read`) tokens see the near
tier alone, which makes reading linear; whatever is run through the model otherwise recalls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mnemic.kv.mapped import Mapped
from mnemic.kv.observe import Observed
from mnemic.kv.slots import PAD, Slots, best, fold

Represent = Callable[[Tensor, Tensor | None], Tensor]
Match = Callable[[Tensor, Tensor], Tensor]
_TOGETHER = 8  # queries that recall at a time: bounds what is gathered


class Tiered:
    """A store with a near tier of slots and a far tier of blocks.

    Args:
        near: sinks and window; its capacity is a whole number of blocks, so that whole blocks leave.
        chosen: blocks each query recalls per key-value head.
        represent: from a leaving block's keys and marks to what stands for it; None: the keys themselves.
        match: from queries [b, g, x, d] and all that stands for blocks [n, b, g, ...] to scores [b, g, x, n].
        folder: where the far tier is kept; the system's temporary folder if None.
    """

    def __init__(
        self, near: Slots, *, chosen: int, represent: Represent | None, match: Match, folder: str | Path | None
    ) -> None:
        self.near = near
        self.chosen = chosen
        self.represent = represent
        self.match = match
        self.folder = folder
        self.block = near.block
        self.rotary = near.rotary
        self.reading = False
        names = ("keys", "values", "columns") + (() if represent is None else ("stand",))
        self.far = {name: Mapped(folder) for name in names}
        self.order: Tensor | None = None  # which row of the far tier each row is; None: the same
        near.leaving = self._offload

    def __len__(self) -> int:
        return len(self.near) + self.block * len(self.far["keys"])

    @property
    def settled(self) -> int:
        return self.near.settled

    @settled.setter
    def settled(self, column: int) -> None:
        self.near.settled = column

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if self.reading or not len(self.far["keys"]):
            return self.near.step(query, keys, values, columns)
        self.near.write(query, keys, values, columns)
        pieces = zip(torch.split(query, _TOGETHER, 2), torch.split(columns, _TOGETHER, 1), strict=True)
        return torch.cat([self._recall(*piece) for piece in pieces], 2)

    def _recall(self, query: Tensor, columns: Tensor) -> Tensor:
        near, g, q = self.near, self.near.keys.shape[1], query.shape[2]
        assert near.rotary is not None
        assert near.cap is not None
        logits = near.logits(query, columns)
        far = near.rotary.place(fold(query, g), torch.full((1, 1, 1), near.cap, device=query.device))
        keys, values, mask = self._gather(self.choose(far, q))
        far = torch.unflatten(far, 2, (-1, q))  # [b, g, h/g, q, d]
        found = torch.einsum("bgsqd,bgqnd->bgsqn", far, keys) * near.scale
        found = found.masked_fill(~mask[:, :, None], -torch.inf).flatten(2, 3)
        attention = torch.cat((logits, found), -1).softmax(-1, dtype=torch.float32).to(values.dtype)
        seen, recalled = torch.split(attention, [logits.shape[-1], found.shape[-1]], -1)
        out = torch.einsum("bgsqn,bgqnd->bgsqd", torch.unflatten(recalled, 2, (-1, q)), values)
        return (seen @ near.values + out.flatten(2, 3)).reshape(*query.shape[:3], -1)

    def choose(self, far: Tensor, queries: int) -> Tensor:
        """The blocks for each query [b, g, q, chosen]: the best for any query head that shares the keys."""
        stand = self.far["keys" if self.represent is None else "stand"].rows
        last = self.far["columns"].rows[:, :, 0, -1]  # [n, b]
        if self.order is not None:
            stand, last = stand[:, self.order], last[:, self.order]
        scores = torch.unflatten(self.match(far, stand), 2, (-1, queries)).amax(2)
        scores = scores.masked_fill((last.T == PAD)[:, None, None], -torch.inf)  # padding ends before text
        # keys without positions tie wherever a token is repeated: rounded, and the newer first, so that neither
        # the order of a sum (it varies with how many queries come together) nor that of a sort decides
        return best(scores.to(torch.bfloat16), self.chosen)

    def _gather(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [b, g, q, chosen·m, d] of blocks [b, g, q, chosen], and which of them are real."""
        b, g = index.shape[:2]
        rows = torch.arange(b, device=index.device) if self.order is None else self.order
        rows = rows.view(b, 1, 1, 1)
        heads = torch.arange(g, device=index.device).view(1, g, 1, 1)
        keys = self.far["keys"].rows[index, rows, heads].flatten(3, 4)
        values = self.far["values"].rows[index, rows, heads].flatten(3, 4)
        columns = self.far["columns"].rows[index, rows, 0].flatten(3, 4)
        return keys, values, columns > PAD

    def _offload(self, index: Tensor) -> None:
        """Write the leaving slots [b, 1, m] as one block; keys as recall will use them, `cap` away."""
        near = self.near
        assert near.rotary is not None
        self._settle_order()
        rows = index.expand(-1, near.keys.shape[1], -1)
        keys = near.keys.gather(2, rows[..., None].expand(-1, -1, -1, near.keys.shape[3]))
        keys = near.rotary.place(keys, torch.zeros(1, 1, 1, device=keys.device))
        columns = near.columns.gather(2, index)
        marks = None if near.marks is None else near.marks.gather(2, rows)
        block = {
            "keys": keys,
            "values": near.values.gather(2, rows[..., None].expand(-1, -1, -1, near.values.shape[3])),
            "columns": columns,
        }
        if self.represent is not None:
            block["stand"] = self.represent(
                torch.where((columns > PAD)[..., None], keys, keys[:, :, -1:]), marks
            )
        for name, tensor in block.items():
            self.far[name].append(tensor)

    def observe(self, seen: Observed) -> None:
        self.near.observe(seen)

    def settle(self, seen: int) -> None:
        self.near.settle(seen)

    def crop(self, count: int, seen: int) -> None:
        self.near.crop(count, seen)

    def tensors(self) -> dict[str, Tensor]:
        """The state in memory, by name."""
        return self.near.tensors() | ({} if self.order is None else {"order": self.order})

    def offloaded(self) -> dict[str, Tensor]:
        """The state on disk, by name."""
        return {name: far.rows for name, far in self.far.items() if len(far)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` and `offloaded` (names led by "far.") gave."""
        self.order = tensors.pop("order", None)
        for name, far in self.far.items():
            for row in tensors.pop(f"far.{name}", ()):
                far.append(row)
        self.near.restore(tensors)

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension; the far tier only notes it until it is next written."""
        if len(self.far["keys"]):
            order = self.order
            if order is None:
                order = torch.arange(self.near.keys.shape[0], device=self.near.keys.device)
            self.order = change(order)
        self.near.rows(change)

    def _settle_order(self) -> None:
        """Rewrite the far tier for rows that were reordered."""
        if self.order is None:
            return
        for name, old in self.far.items():
            new = Mapped(self.folder)
            for row in old.rows:
                new.append(row[self.order])
            self.far[name] = new
        self.order = None
