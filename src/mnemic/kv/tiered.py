"""Two tiers: sinks and a window at hand, everything older on disk in units, of which each query recalls a few.

    out = softmax([q·k near | q·k of the best units, as many as there is room for]) [v near | v of those units]

A unit is a run of tokens: a block, an event, a sentence (see `mnemic.kv.units`). Keys carry no positions; where
a recalled token seems to stand is the method's choice:

    capped     all as far away as the farthest the model was trained on, their order unseen
    compact    in order, side by side, between the sinks and the window: no gap, no distance beyond their number
    true       where they stood

Each query token recalls for itself: what it sees never depends on the tokens after it, nor on how the text was
cut into chunks. While a text is only read (`mnemic.kv.read`) tokens see the near tier alone, which makes
reading linear; whatever is run through the model otherwise recalls.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mnemic.kv.mapped import Mapped
from mnemic.kv.slots import PAD, Slots, fold, visible
from mnemic.kv.two_tiers import TwoTiers
from mnemic.kv.units import Cutter, Tail, runs

Represent = Callable[[Tensor, Tensor | None], Tensor]
Match = Callable[[Tensor, Tensor], Tensor]
Positions = Literal["capped", "compact", "true"]
_TOGETHER = 8  # queries that recall at a time: bounds what is gathered


class Recalled(NamedTuple):
    """Tokens that queries recall, in order of time: keys and values [b, g, q, n, d].

    Attributes:
        columns: where they stood [b, g, q, n], PAD for none; the real ones come first.
    """

    keys: Tensor
    values: Tensor
    columns: Tensor


class Tiered(TwoTiers):
    """A store with a near tier of slots and a far tier of units.

    Args:
        near: sinks and window; its capacity is a whole number of blocks, so that whole blocks leave.
        room: tokens each query recalls per key-value head.
        cut: how tokens become units.
        represent: from a unit's keys and marks to what stands for it; None: all keys, in blocks.
        match: from queries [b, g, x, d] and all that stands for units [n, b, g, ...] to scores [b, g, x, n], or
            from the keys [n, b, g, m, d] to scores of tokens [b, g, x, n·m].
        folder: where the far tier is kept; the system's temporary folder if None.
        nearby: share of the room that goes to the neighbours of recalled units (contiguity).
        positions: where recalled tokens seem to stand.
        sinks: how many first tokens the near tier keeps.
    """

    def __init__(
        self, near: Slots, *, room: int, cut: Cutter, represent: Represent | None, match: Match,
        folder: str | Path | None, nearby: float = 0.0, positions: Positions = "capped", sinks: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(near, folder)
        self.room = room
        self.cut = cut
        self.represent = represent
        self.match = match
        self.nearby = nearby
        self.positions = positions
        self.sinks = sinks
        names = ["keys", "values", "columns", *([cut.asks] if cut.asks else []), *(["marks"] * near.watch)]
        self.far = {name: Mapped(folder) for name in names}  # tokens, a block a row [b, g or 1, m, ...]
        names = ["start", "length", *(["stand"] if represent is not None else [])]
        self.units = {name: Mapped(folder) for name in names}  # a unit of each batch row a row
        self.open = 0  # units at the end that may still change

    @property
    def tiers(self) -> list[dict[str, Mapped]]:
        return [self.far, self.units]

    @property
    def stride(self) -> int:
        return self.near.stride if self.positions == "capped" else self.block

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        alone = self.reading or not len(self.units["start"])
        if alone and self.positions == "capped":
            return self.near.step(query, keys, values, columns)
        self.near.write(query, keys, values, columns)
        if alone:
            return self._attend(query, columns, None)
        pieces = zip(torch.split(query, _TOGETHER, 2), torch.split(columns, _TOGETHER, 1), strict=True)
        return torch.cat([self._attend(*piece, self.recall(*piece)) for piece in pieces], 2)

    def recall(self, query: Tensor, columns: Tensor) -> Recalled:
        """What each query token recalls."""
        return self.gather(self.choose(self.asking(query, columns), query.shape[2]))

    def _attend(self, query: Tensor, columns: Tensor, found: Recalled | None) -> Tensor:
        """Attention of a few queries [b, h, q, d] over what is near and what they recall."""
        near, far = self._logits(query, columns, found)
        attention = torch.cat((near, far), -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        seen, recalled = torch.split(attention, [near.shape[-1], far.shape[-1]], -1)
        out = seen @ self.near.values
        if found is not None:
            recalled = torch.unflatten(recalled, 2, (-1, query.shape[2]))
            out = out + torch.einsum("bgsqn,bgqnd->bgsqd", recalled, found.values).flatten(2, 3)
        return out.reshape(*query.shape[:3], -1)

    def asking(self, query: Tensor, columns: Tensor) -> Tensor:
        """What units are matched with, for each query head and token: [b, g, (h/g)·q, d]."""
        if self.positions == "capped":
            assert self.near.cap is not None
            return self._turn(query, torch.full_like(columns[:, None], self.near.cap))
        return fold(query, self.near.keys.shape[1])

    def _logits(self, query: Tensor, columns: Tensor, found: Recalled | None) -> tuple[Tensor, Tensor]:
        """scale·q·k near [b, g, (h/g)·q, n] and recalled [b, g, (h/g)·q, room]; -inf where not seen."""
        near, q = self.near, query.shape[2]
        assert near.rotary is not None
        count = 0 if found is None else (found.columns > PAD).sum(3)  # [b, g, q]
        if self.positions == "capped":
            here = near.logits(query, columns)
            there, keys = self.asking(query, columns), None if found is None else found.keys
        else:
            here, there, keys = self._placed(query, columns, found, count)
        if found is None or keys is None:
            return here, here[..., :0]
        far = torch.einsum("bgsqd,bgqnd->bgsqn", torch.unflatten(there, 2, (-1, q)), keys) * near.scale
        return here, far.masked_fill((found.columns == PAD)[:, :, None], -torch.inf).flatten(2, 3)

    def _placed(
        self, query: Tensor, columns: Tensor, found: Recalled | None, count: Tensor | int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits near, queries [b, g, (h/g)·q, d] and keys for what is recalled, true or compact."""
        near, rotary, g = self.near, self.rotary, self.near.keys.shape[1]
        assert rotary is not None
        share = query.shape[1] // g
        real = near.columns > PAD
        sink = real & (real.cumsum(2) <= self.sinks)  # [b, 1, n]
        window = real & ~sink
        last = near.columns.amax(2, keepdim=True)  # [b, 1, 1]
        first = torch.where(window, near.columns, last + 1).amin(2, keepdim=True)
        if self.positions == "true":
            first = torch.where(real, near.columns, last).amin(2, keepdim=True)
            place, shift = near.columns - first, torch.zeros_like(first)
        else:
            sinks = sink.sum(2, keepdim=True)
            place = torch.where(window, near.columns - first, real.cumsum(2) - 1)
            shift = sinks + count
        asking = (columns[:, None] - first).expand(-1, g, -1)
        keys = rotary.place(near.keys, place.clamp_min(0))
        to_window = self._turn(query, asking)
        to_others = self._turn(query, asking + shift)
        logits = torch.where(
            sink[:, :, None], to_others @ keys.transpose(-1, -2), to_window @ keys.transpose(-1, -2)
        )
        mask = visible(columns, near.columns, near.window).repeat(1, 1, share, 1)
        logits = (logits * near.scale).masked_fill(~mask, -torch.inf)
        if found is None:
            return logits, to_others, None
        n = found.columns.shape[3]
        if self.positions == "true":
            at = found.columns - first[..., None]
        else:
            at = (sinks[..., None] + torch.arange(n, device=query.device)).expand_as(found.columns)
        b, q = found.keys.shape[0], found.keys.shape[2]
        turned = rotary.place(found.keys.flatten(2, 3), at.flatten(2, 3))
        return logits, to_others, turned.view(b, g, q, n, -1)

    def _turn(self, query: Tensor, positions: Tensor) -> Tensor:
        """Queries at positions [b, 1 or g, q]: [b, g, (h/g)·q, d]."""
        g = self.near.keys.shape[1]
        assert self.rotary is not None
        return self.rotary.place(fold(query, g), positions.repeat(1, 1, query.shape[1] // g))

    def choose(self, asking: Tensor, queries: int) -> Tensor:
        """The units for each query: whether [b, g, q, n]."""
        rows = self.batch_rows()
        length = self.units["length"].rows[:, rows].T[:, None, None]  # [b, 1, 1, n]
        scores = self.scored(asking, queries, rows)
        # keys without positions tie wherever a token is repeated: rounded, and the newer first, so that neither
        # the order of a sum (it varies with how many queries come together) nor that of a sort decides
        scores = scores.to(torch.bfloat16).float().masked_fill(length == 0, -torch.inf)
        room, reserved = self.room_for(scores, length), int(self.nearby * self.room)
        taken = _fill(scores, length, room - reserved)
        if reserved:
            beside = _beside(scores.masked_fill(~taken, -torch.inf), length).masked_fill(taken, -torch.inf)
            left = room - torch.where(taken, length, 0).sum(3, keepdim=True)
            taken = taken | _fill(beside, length, left)
        return taken

    def room_for(self, scores: Tensor, length: Tensor) -> int | Tensor:
        """Tokens each query may recall, by the scores of units [b, g, q, n]: a number, or [b, g, q, 1]."""
        return self.room

    def scored(self, asking: Tensor, queries: int, rows: Tensor) -> Tensor:
        """What each unit is worth to each query: [b, g, q, n]."""
        stand = self.far["keys"].rows if self.represent is None else self.units["stand"].rows
        found = self.match(asking, stand if self.order is None else stand[:, rows])
        scores = torch.unflatten(found, 2, (-1, queries)).amax(2)
        if self.represent is not None:
            return scores
        every = torch.arange(scores.shape[3]).expand(len(scores), 1, 1, -1)
        return self.best_of_units(scores, every, rows)

    def best_of_units(self, scores: Tensor, token: Tensor, rows: Tensor) -> Tensor:
        """The largest score of a token of each unit: scores [b, g, q, t] of tokens [b, g or 1, q or 1, t] to
        [b, g, q, n].
        """
        row = rows.view(-1, 1, 1, 1)
        real = self.far["columns"].rows[token // self.block, row, 0, token % self.block] > PAD
        ends = (self.units["start"].rows + self.units["length"].rows)[:, rows].T.cummax(1).values.contiguous()
        unit = torch.searchsorted(ends, token.flatten(1).contiguous(), right=True).view(token.shape)
        unit = unit.clamp_max(ends.shape[1] - 1)  # of rows that are padding so far
        best = torch.full((*scores.shape[:3], ends.shape[1]), -torch.inf, dtype=scores.dtype)
        scores = scores.masked_fill(~real, -torch.inf)
        return best.scatter_reduce(3, unit.expand_as(scores), scores, "amax")

    def gather(self, taken: Tensor) -> Recalled:
        """The tokens of units taken [b, g, q, n], side by side in order of time."""
        b, g = taken.shape[:2]
        rows = self.batch_rows()
        start, length = (self.units[name].rows[:, rows].T[:, None, None] for name in ("start", "length"))
        token, real = runs(start.expand_as(taken), torch.where(taken, length, 0))
        block, at = token // self.block, token % self.block
        rows = rows.view(b, 1, 1, 1)
        heads = torch.arange(g, device=taken.device).view(1, g, 1, 1)
        columns = self.far["columns"].rows[block, rows, 0, at].masked_fill(~real, PAD)
        keys, values = (self.far[name].rows[block, rows, heads, at] for name in ("keys", "values"))
        return Recalled(keys, values, columns)

    def _offload(self, index: Tensor) -> None:
        """Write the leaving slots [b, 1, m]; keys without positions."""
        near = self.near
        assert near.rotary is not None
        self._settle_order()
        rows = index.expand(-1, near.keys.shape[1], -1)
        for name, far in self.far.items():
            slots = getattr(near, name)
            kept = (rows if slots.shape[1] == rows.shape[1] else index)[(...,) + (None,) * (slots.ndim - 3)]
            leaving = slots.gather(2, kept.expand(-1, -1, -1, *slots.shape[3:]))
            leaving = self._as_used(leaving) if name == "keys" else leaving
            far.extend(torch.unflatten(leaving, 2, (-1, self.block)).movedim(2, 0))
        self._cut()

    def _as_used(self, keys: Tensor) -> Tensor:
        """Keys as a match wants them: where distances are capped, at the place of all."""
        if self.positions != "capped":
            return keys
        assert self.rotary is not None
        return self.rotary.place(keys, torch.zeros(1, 1, 1, device=keys.device))

    def _cut(self) -> None:
        """Cut what is in no finished unit yet; every batch row gets as many units, some of them empty."""
        for units in self.units.values():
            units.cut(len(units) - self.open)
        b = self.near.keys.shape[0]
        ends = [0] * b
        if len(self.units["start"]):
            ends = (self.units["start"].rows[-1] + self.units["length"].rows[-1]).tolist()
        oldest = min(ends) // self.block
        columns = self.far["columns"].rows[oldest:, :, 0].transpose(0, 1).flatten(1)  # [b, tokens]
        finished: list[list[tuple[int, int]]] = [[] for _ in range(b)]
        unfinished: list[list[tuple[int, int]]] = [[] for _ in range(b)]
        for row in range(b):
            real = (columns[row, ends[row] - oldest * self.block :] > PAD).nonzero()
            if not len(real):
                continue
            at = ends[row] + int(real[0])  # behind padding at the start of a text
            stops, done = self.cut(self._tail(row, at))
            spans = [(at + start, stop - start) for start, stop in pairwise([0, *stops])]
            finished[row], unfinished[row] = spans[:done], spans[done:]
        ends = self._add(finished, ends)
        before = len(self.units["start"])
        self._add(unfinished, ends)
        self.open = len(self.units["start"]) - before

    def _tail(self, row: int, start: int) -> Tail:
        first = start // self.block
        keys = self.far["keys"].rows[first:, row].transpose(1, 2).flatten(0, 1).flatten(1)
        keys = keys[start - first * self.block :]
        if not self.cut.asks:
            return Tail(keys, None, 0)
        oldest = max(0, start - self.cut.before) // self.block
        noted, columns = (
            self.far[name]
            .rows[oldest:, row, 0]
            .flatten()[max(0, start - self.cut.before) - oldest * self.block :]
            for name in (self.cut.asks, "columns")
        )
        before = noted[: -len(keys)][columns[: -len(keys)] > PAD]
        return Tail(keys, torch.cat((before, noted[-len(keys) :])), len(before))

    def _add(self, spans: list[list[tuple[int, int]]], ends: list[int]) -> list[int]:
        """Write the spans (start, length) of each row as units, with what stands for them.

        A row with fewer gets empty ones, where its last unit ended: so the last units say where each row is.

        Args:
            ends: where the units of each row end before, returned as they are then.
        """
        count = max(map(len, spans))
        if not count:
            return ends
        ends = [sum(row[-1]) if row else end for row, end in zip(spans, ends, strict=True)]
        filled = [row + [(end, 0)] * (count - len(row)) for row, end in zip(spans, ends, strict=True)]
        start, length = torch.tensor(filled).permute(2, 1, 0)  # [count, b] each
        self.units["start"].extend(start)
        self.units["length"].extend(length)
        if self.represent is not None:
            for unit in zip(*filled, strict=True):
                stand = [self._stand(r, *(one if one[1] else (0, 0))) for r, one in enumerate(unit)]
                self.units["stand"].append(torch.stack(stand))
        return ends

    def _stand(self, row: int, start: int, length: int) -> Tensor:
        """What stands for one unit of one row: [g, ...]."""
        assert self.represent is not None
        first, last = start // self.block, max(start, start + length - 1) // self.block + 1
        inside = slice(start - first * self.block, start - first * self.block + max(1, length))
        keys = self.far["keys"].rows[first:last, row].transpose(0, 1).flatten(1, 2)[:, inside]
        real = self.far["columns"].rows[first:last, row, 0].flatten()[inside] > PAD
        if not real.all():
            keys = torch.where(
                real[:, None], keys, keys[:, int(real.nonzero()[-1]) if real.any() else 0][:, None]
            )
        marks = None
        if "marks" in self.far:
            marks = self.far["marks"].rows[first:last, row].transpose(0, 1).flatten(1, 2)[None, :, inside]
        return self.represent(keys[None], marks)[0]

    def offloaded(self) -> dict[str, Tensor]:
        """The state on disk, by name."""
        return super().offloaded() | ({"open": torch.tensor([self.open])} if self.open else {})

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` and `offloaded` (names led by "far.") gave."""
        self.open = int(tensors.pop("far.open", torch.zeros(1)))
        super().restore(tensors)


def _fill(scores: Tensor, length: Tensor, room: int | Tensor) -> Tensor:
    """The highest of scores [..., n], newer of two equals first, until their lengths fill the room: whether."""
    order = scores.shape[-1] - 1 - scores.flip(-1).argsort(dim=-1, descending=True, stable=True)
    used = length.expand_as(scores).gather(-1, order).cumsum(-1)
    fits = (used <= room) & (scores.gather(-1, order) > -torch.inf)
    return torch.zeros_like(fits).scatter(-1, order, fits)


def _beside(scores: Tensor, length: Tensor) -> Tensor:
    """The better score of the unit before and the one after, units of length 0 not counting: [b, g, q, n]."""
    in_time = (length == 0).int().argsort(dim=3, stable=True).expand_as(scores)  # empty ones last
    scores = scores.gather(3, in_time)
    edge = torch.full_like(scores[..., :1], -torch.inf)
    found = torch.cat((edge, scores[..., :-1]), 3).maximum(torch.cat((scores[..., 1:], edge), 3))
    return torch.empty_like(found).scatter(3, in_time, found).masked_fill(length == 0, -torch.inf)
