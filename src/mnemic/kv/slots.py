"""What some heads of one layer keep: pairs of key and value in order of time, and attention over them.

A slot is one kept pair. `columns` says where in the text it came from: the index of its token counted from
the start, padding included, or -1 for padding, which nothing ever sees. All masks are made from columns, so
rows and heads may keep different tokens.

Shapes: b rows, g key-value heads, h query heads, q queries, n slots, d channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakMethod

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mnemic.types import MnemicError

if TYPE_CHECKING:
    from mnemic.attention.positions import Rotary
    from mnemic.kv.observe import Observed

PAD = -1
_AHEAD = 128  # tokens read at a time where what leaves is known ahead


def visible(queries: Tensor, columns: Tensor, window: int | None = None) -> Tensor:
    """Which slots each query sees [b, g or 1, q, n]: those at or before it, within the model's own window.

    Args:
        queries: columns of the queries [b, q]; a query that is padding sees everything, so that nothing is NaN.
        columns: of the slots [b, g or 1, n].
        window: a sliding-window layer sees this many tokens, itself included.
    """
    asking, slots = queries[:, None, :, None], columns[:, :, None, :]
    seen = (slots > PAD) & (slots <= asking)
    if window is not None:
        seen &= slots > asking - window
    return seen | (asking == PAD)


def fold(x: Tensor, groups: int) -> Tensor:
    """[b, h, q, ...] to [b, g, (h/g)·q, ...]: the query heads of one key-value head side by side."""
    b, h, q = x.shape[:3]
    return x.reshape(b, groups, h // groups * q, *x.shape[3:])


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """softmax(scale·q·k)·v over visible slots: query [b, h, q, d], mask [b, g or 1, q, n]; [b, h, q, dv]."""
    g = keys.shape[1]
    share = query.shape[1] // g
    folded = scaled_dot_product_attention(
        fold(query, g), keys, values, attn_mask=mask.repeat(1, 1, share, 1), scale=scale
    )
    return folded.reshape(*query.shape[:3], values.shape[-1])


def products(query: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    """scale·q·k, -inf where not visible: [b, h, q, n], in float32."""
    g = keys.shape[1]
    logits = fold(query.float(), g) @ keys.float().transpose(-1, -2) * scale
    logits = logits.masked_fill(~mask.repeat(1, 1, query.shape[1] // g, 1), -torch.inf)
    return logits.reshape(*query.shape[:3], keys.shape[2])


def weights(query: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The attention each slot receives [b, h, q, n], in float32."""
    return products(query, keys, mask, scale).softmax(-1)


class Slots:
    """Kept pairs that only their policy takes away.

    Every tensor attribute is state with the batch first: bytes, reordering, saving need no more than that.

    Attributes:
        keys: [b, g, n, d], as the model rotated them, or with positions taken off where `rotary` is given.
        values: [b, g, n, dv].
        columns: [b, g or 1, n].
        marks: [b, g, n] a running score per slot, for policies that keep one.
        queries: [b, h, up to block, d] of the running block, for policies that score by them.
        ids, surprise: [b, g or 1, n] what was observed of each slot, for policies that ask for it; the tokens
            of a pass are observed when it is over.
        sinks: given: slots leave oldest first, a block at a time, but for so many first tokens; so what queries
            of several blocks see is known before any slot leaves, where nothing is padding.
        settled: the column up to which slots may have been taken away.
        leaving: is told the index of the slots about to be taken away; a method of what owns these slots, held
            weakly, so that all of it is freed as soon as it is let go of.
    """

    keys: Tensor
    values: Tensor
    columns: Tensor

    def __init__(
        self,
        *,
        scale: float,
        capacity: int | None = None,
        block: int,
        window: int | None = None,
        score: Callable[[Slots], Tensor] | None = None,
        watch: bool = False,
        headwise: bool = False,
        rotary: Rotary | None = None,
        cap: int | None = None,
        observes: tuple[str, ...] = (),
        sinks: int | None = None,
    ) -> None:
        self.scale = scale
        self.capacity = capacity
        self.block = block
        self.window = window
        self.score = score
        self.watch = watch
        self.headwise = headwise
        self.rotary = rotary
        self.cap = cap
        self.sinks = sinks
        self.settled = 0
        self.reading = False
        self._leaving: WeakMethod[Callable[[Tensor], None]] | None = None
        self.marks: Tensor | None = None
        self.queries: Tensor | None = None
        self.observes = observes
        self.ids: Tensor | None = None
        self.surprise: Tensor | None = None

    @property
    def leaving(self) -> Callable[[Tensor], None] | None:
        return None if self._leaving is None else self._leaving()

    @leaving.setter
    def leaving(self, told: Callable[[Tensor], None]) -> None:
        self._leaving = WeakMethod(told)

    def __len__(self) -> int:
        return self.keys.shape[2] if hasattr(self, "keys") else 0

    @property
    def stride(self) -> int:
        """Tokens of a step at most while a text is only read."""
        return self.block if self.sinks is None else max(1, _AHEAD // self.block) * self.block

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend over all: query [b, h, q, d], columns [b, q]; returns [b, h, q, dv]."""
        self.write(query, keys, values, columns)
        mask = self.sees(columns)
        if self.rotary is None:
            return attend(query, self.keys, self.values, mask, self.scale)
        if self.cap is None:
            return self._read_compact(query, mask)
        attention = self.logits(query, columns).softmax(-1, dtype=torch.float32).to(query.dtype)
        return (attention @ self.values).reshape(*query.shape[:3], -1)

    def write(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> None:
        """Keep the new pairs, at the end."""
        new = columns[:, None].expand(-1, keys.shape[1] if self.headwise else 1, -1)
        if len(self):
            keys, values = torch.cat((self.keys, keys), 2), torch.cat((self.values, values), 2)
            new = torch.cat((self.columns, new), 2)
        self.keys, self.values, self.columns = keys.contiguous(), values.contiguous(), new.contiguous()
        if self.watch:
            self.queries = query.clone() if self.queries is None else torch.cat((self.queries, query), 2)

    def sees(self, columns: Tensor) -> Tensor:
        """Which slots each of the newest queries sees [b, g or 1, q, n]: none that leaves before its block."""
        seen = visible(columns, self.columns, self.window)
        if self.sinks is None or self.capacity is None or columns.shape[1] <= self.block:
            return seen
        window = self.capacity - self.block - self.sinks
        first = (columns // self.block * self.block - window)[:, None, :, None]
        slots = self.columns[:, :, None]
        return seen & ((slots < self.sinks) | (slots >= first))

    def observe(self, seen: Observed) -> None:
        """Note what the newest slots are."""
        for name in self.observes:
            new = getattr(seen, name)
            new = new.to(torch.int32) if name == "ids" else new
            new = new[:, None].expand(-1, self.columns.shape[1], -1)
            old = getattr(self, name)
            setattr(self, name, new.contiguous() if old is None else torch.cat((old, new), 2))

    def logits(self, query: Tensor, columns: Tensor) -> Tensor:
        """scale·q·k, -inf where not visible, no slot farther than `cap`: [b, g, (h/g)·q, n]."""
        assert self.rotary is not None
        assert self.cap is not None
        mask = self.sees(columns)
        found = capped(self.rotary, self.cap, query, self.keys, columns, self.columns).mul_(self.scale)
        return found.masked_fill_(~mask.repeat(1, 1, query.shape[1] // self.keys.shape[1], 1), -torch.inf)

    def _read_compact(self, query: Tensor, mask: Tensor) -> Tensor:
        """Every slot at its rank among those kept: distances never exceed the number of slots."""
        assert self.rotary is not None
        rank = ((self.columns > PAD).cumsum(2) - 1).clamp_min(0)
        share = query.shape[1] // rank.shape[1] if rank.shape[1] > 1 else 1
        asking = rank[:, :, -query.shape[2] :].repeat_interleave(share, 1)
        query, keys = self.rotary.place(query, asking), self.rotary.place(self.keys, rank)
        return attend(query, keys, self.values, mask, self.scale)

    def settle(self, seen: int) -> None:
        """At the end of a block: score what is kept and let the rest go, so that another block fits."""
        if self.score is not None:
            scores = self.score(self)
            if self.capacity is not None and len(self) > self.capacity - self.block:
                self.keep(best(scores, self.capacity - self.block))
                self.settled = seen
        elif self.window is not None and len(self) > self.window - 1:
            self.keep(torch.arange(len(self) - self.window + 1, len(self), device=self.keys.device))
            self.settled = seen
        self.queries = None

    def keep(self, index: Tensor) -> None:
        """Only the slots of `index`, ascending: [b, g or 1, m] or [m]."""
        index = index.expand(self.keys.shape[0], index.shape[-2] if index.ndim == 3 else 1, -1)
        if (leaving := self.leaving) is not None:
            leaving(others(index, len(self)))
        rows = index.expand(-1, self.keys.shape[1], -1)
        self.keys = self.keys.gather(2, rows[..., None].expand(-1, -1, -1, self.keys.shape[3]))
        self.values = self.values.gather(2, rows[..., None].expand(-1, -1, -1, self.values.shape[3]))
        for name in ("columns", *self.observes):
            column = getattr(self, name)
            setattr(self, name, column.gather(2, index.expand(-1, column.shape[1], -1)))
        if self.marks is not None:
            self.marks = self.marks.gather(2, rows)

    def crop(self, count: int, seen: int) -> None:
        """Forget the last `count` tokens.

        Raises:
            MnemicError: slots were taken away since then, so what was there cannot be had back.
        """
        if seen - count < self.settled:
            raise MnemicError(
                f"cannot go back {count} tokens from {seen}: older slots were let go at token {self.settled}; "
                "read the text again up to there, or give the cache a larger budget"
            )
        stop = len(self) - count
        self.keys, self.values = self.keys[:, :, :stop].clone(), self.values[:, :, :stop].clone()
        for name in ("columns", *self.observes):
            setattr(self, name, getattr(self, name)[:, :, :stop].clone())
        if self.queries is not None:
            left = self.queries.shape[2] - count
            self.queries = self.queries[:, :, :left].clone() if left > 0 else None

    def tensors(self) -> dict[str, Tensor]:
        """The state, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def offloaded(self) -> dict[str, Tensor]:
        """What is kept on disk: nothing."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        for name, tensor in tensors.items():
            setattr(self, name, tensor)

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension to every tensor of the state."""
        for name, tensor in self.tensors().items():
            setattr(self, name, change(tensor).contiguous())


def others(index: Tensor, count: int) -> Tensor:
    """Of `count` slots those that `index` [b, g, m] leaves out, ascending: [b, g, count - m]."""
    left = torch.ones(*index.shape[:2], count, dtype=torch.bool, device=index.device).scatter(2, index, False)
    return left.nonzero()[:, 2].view(*index.shape[:2], count - index.shape[2])


def best(scores: Tensor, count: int) -> Tensor:
    """The `count` highest by score [b, g or 1, n], in order of time; the newer of two equals."""
    newest_first = scores.flip(-1)
    index = scores.shape[-1] - 1 - newest_first.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return index.sort(-1).values


def capped(rotary: Rotary, cap: int, query: Tensor, keys: Tensor, asking: Tensor, columns: Tensor) -> Tensor:
    """q·k with no distance above `cap`; query and keys have their positions taken off; [b, g, (h/g)·q, n].

    logit = <R_{i-j} q, k> for i - j < cap, <R_cap q, k> beyond
    """
    g = keys.shape[1]
    share = query.shape[1] // g
    base = asking.amin(1, keepdim=True) - cap  # any slot before that is farther than cap from every query
    near = rotary.place(fold(query, g), (asking - base).repeat(1, share)[:, None])
    near = near @ rotary.place(keys, (columns - base[:, None]).clamp_min(0)).transpose(-1, -2)
    old = int((columns <= asking.amax() - cap).any(1).any(0).sum())  # slots are in order of time
    if old:
        distance = (asking[:, None, :, None] - columns[:, :, None, :old]).repeat(1, 1, share, 1)
        far = faraway(rotary, cap, query, keys[:, :, :old])
        near[..., :old] = torch.where(distance < cap, near[..., :old], far)
    return near


def faraway(rotary: Rotary, cap: int, query: Tensor, keys: Tensor) -> Tensor:
    """q·k with every key `cap` tokens before its query: [b, g, (h/g)·q, n]."""
    start = torch.zeros(1, 1, 1, device=keys.device)
    return rotary.place(fold(query, keys.shape[1]), start + cap) @ rotary.place(keys, start).transpose(-1, -2)
