"""Two tiers, the far one sorted into clusters of like keys: a query reads the centroids of a few, and of those
only the keys of the most promising.

    share of a key of cluster c = exp(l_c) / sum over clusters of n·exp(l),    l = scale·q·C + s·|scale·q|²/2

taken twice, over coarse clusters of clusters and over the fine ones within the best coarse. What is passed over
is not forgotten: a cluster that is not read, fine or coarse, is attended to as one key, its mean, as often as
it has keys, with its mean value; were its keys spread around their mean evenly, with variance s in each
channel, then

    sum over its keys of exp(scale·q·k)  =  n·exp(scale·q·C + s·|scale·q|²/2)

which is also what a cluster is chosen by: the share of attention that one of its keys may be expected to have.

Each block that leaves is clustered by itself, so nothing is ever moved. Keys and values of a cluster lie side
by side, and so do centroids of one coarse cluster: a step reads a few runs of memory, found without a loop over
heads.

Shapes: b rows, g key-value heads, h query heads, q queries, n blocks, m tokens of a block, k fine and c coarse
clusters of a block, x = n·c.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mnemic.index.kmeans import kmeans
from mnemic.kv.mapped import Mapped
from mnemic.kv.slots import PAD, Slots, fold, visible
from mnemic.kv.two_tiers import TwoTiers
from mnemic.kv.units import runs

_TOGETHER = 8  # queries that recall at a time: bounds what is gathered
_RUN = 512  # tokens in a row that one fine cluster may be of


class Chosen(NamedTuple):
    """What each query reads, and what stands for the rest.

    Attributes:
        token: rows of all pairs [b, g, q, t]; real: which of them are.
        fine: ln of what the fine clusters looked at but not read weigh [b, g, q, h/g, f]; those read: -inf.
        means: their mean values [b, g, q, f, dv].
        coarse: ln of what the coarse clusters not looked into weigh [b, g, q, h/g, n·c].
    """

    token: Tensor
    real: Tensor
    fine: Tensor
    means: Tensor
    coarse: Tensor


class Window(Slots):
    """Slots with room for as many as there may be, written in place: a decoding step copies none."""

    def write(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> None:
        """Keep the new pairs, at the end."""
        old, count = len(self), len(self) + keys.shape[2]
        if self.capacity is None or not old or count > self.capacity:
            super().write(query, keys, values, columns)
            self._seat()
            return
        for name, new in (("keys", keys), ("values", values)):
            held = getattr(self, name)
            wide = held.as_strided((*held.shape[:2], count, held.shape[3]), held.stride())
            wide[:, :, old:] = new
            setattr(self, name, wide)
        self.columns = torch.cat((self.columns, columns[:, None]), 2)

    def _seat(self) -> None:
        """Keys and values where more can be written behind them."""
        if self.capacity is None or len(self) > self.capacity:
            return
        for name in ("keys", "values"):
            held = getattr(self, name)
            space = held.new_empty(*held.shape[:2], self.capacity, held.shape[3])
            space[:, :, : held.shape[2]] = held
            setattr(self, name, space[:, :, : held.shape[2]])

    def keep(self, index: Tensor) -> None:
        """Only the slots of `index`; see `Slots.keep`."""
        super().keep(index)
        self._seat()

    def crop(self, count: int, seen: int) -> None:
        """Forget the last `count` tokens; the space they had is written again."""
        keys, values = self.keys, self.values
        super().crop(count, seen)
        self.keys, self.values = keys[:, :, : len(self)], values[:, :, : len(self)]

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` gave."""
        super().restore(tensors)
        self._seat()

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension to every tensor of the state."""
        super().rows(change)
        self._seat()


class Clustered(TwoTiers):
    """A near tier, and blocks of clustered pairs at their true positions.

    Args:
        near: sinks and window; its capacity is a whole number of blocks, so that whole blocks leave.
        room: tokens each query recalls per key-value head.
        fine, coarse: clusters of a block, and clusters of those.
        wide: coarse clusters whose fine ones a query looks at.
        exact: up to this many tokens in the far tier all are attended to, which is faster than choosing.
        folder: where the far tier is kept; the system's temporary folder if None.
    """

    def __init__(
        self, near: Slots, *, room: int, fine: int, coarse: int, wide: int, exact: int,
        folder: str | Path | None,
    ) -> None:  # fmt: skip
        super().__init__(near, folder)
        self.room = room
        self.fine = fine
        self.coarse = coarse
        self.wide = wide
        self.exact = exact
        names = (
            "pairs", "centroids", "sizes", "spreads", "starts", "heads", "head_values", "head_spreads", "spans",
            "weights",
        )  # fmt: skip
        self.far = {name: Mapped(folder) for name in names}  # see `clustered`

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and attend; see `Slots.step`."""
        if self.reading or not self.blocks:
            return self.near.step(query, keys, values, columns)
        self.near.write(query, keys, values, columns)
        if self.blocks * self.block <= self.exact:
            return self._attend_all(query, columns)
        pieces = zip(torch.split(query, _TOGETHER, 2), torch.split(columns, _TOGETHER, 1), strict=True)
        return torch.cat([self._attend_best(*piece) for piece in pieces], 2)

    def _near(self, query: Tensor, columns: Tensor) -> Tensor:
        """scale·q·k near, -inf where not visible: [b, g, (h/g)·q, slots]."""
        near, g = self.near, self.near.keys.shape[1]
        mask = visible(columns, near.columns, near.window).repeat(1, 1, query.shape[1] // g, 1)
        logits = fold(query, g) @ near.keys.transpose(-1, -2) * near.scale
        return logits.masked_fill_(~mask, -torch.inf)

    def _attend_all(self, query: Tensor, columns: Tensor) -> Tensor:
        """Attention over everything, block by block: what is recalled when it is little."""
        near, d = self.near, query.shape[3]
        pairs = (
            self.far["pairs"].rows[:, self.batch_rows()] if self.order is not None else self.far["pairs"].rows
        )
        sizes = self.far["sizes"].rows[:, self.batch_rows()].sum(-1)  # [n, b, g] real tokens, the first ones
        asking = fold(query, near.keys.shape[1])
        far = asking @ pairs[..., :d].transpose(-1, -2) * near.scale  # [n, b, g, x, m]
        real = torch.arange(self.block, device=query.device) < sizes[..., None, None]
        far = far.masked_fill_(~real, -torch.inf)
        here = self._near(query, columns)
        both = torch.cat((here, far.permute(1, 2, 3, 0, 4).flatten(3)), -1)
        attention = both.softmax(-1, dtype=torch.float32).to(query.dtype)
        seen, recalled = torch.split(attention, [here.shape[3], both.shape[3] - here.shape[3]], 3)
        recalled = torch.unflatten(recalled, 3, (len(pairs), self.block)).permute(3, 0, 1, 2, 4)
        out: Tensor = seen @ near.values + (recalled @ pairs[..., d:]).sum(0)
        return out.reshape(*query.shape[:3], -1)

    def _attend_best(self, query: Tensor, columns: Tensor) -> Tensor:
        """Attention of a few queries [b, h, q, d] over what is near and the best clusters."""
        near, (b, h, q, d), g = self.near, query.shape, self.near.keys.shape[1]
        chosen = self.choose(query)
        pairs = (
            self.far["pairs"]
            .rows.flatten(0, 3)
            .index_select(0, chosen.token.flatten())
            .view(b, g, q, -1, d + near.values.shape[3])
        )
        asking = query.view(b, g, h // g, q, d).transpose(2, 3)  # [b, g, q, h/g, d]
        far = asking @ pairs[..., :d].transpose(-1, -2) * near.scale
        far = far.masked_fill_(~chosen.real[..., None, :], -torch.inf)
        here = self._near(query, columns)
        here = here.view(b, g, h // g, q, -1).transpose(2, 3)
        parts = (here, far, chosen.fine, chosen.coarse)
        attention = torch.cat(parts, -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        seen, recalled, fine, coarse = torch.split(attention, [part.shape[-1] for part in parts], -1)
        out = seen.transpose(2, 3).flatten(2, 3) @ near.values  # [b, g, (h/g)·q, dv]
        rest = recalled @ pairs[..., d:] + fine @ chosen.means
        rest += (coarse.flatten(2, 3) @ self._coarse("head_values")).view(rest.shape)
        out = out.view(b, g, h // g, q, -1) + rest.transpose(2, 3)
        return out.reshape(b, h, q, -1)

    def _coarse(self, name: str) -> Tensor:
        """Means of all coarse clusters [b, g, x, d]; of one row of a batch of one a view of the file."""
        held, rows = self.far[name].rows, self.batch_rows()  # [n, batch, c, g·d]
        held = held if len(rows) == held.shape[1] == 1 else held[:, rows]
        by_head = torch.unflatten(held, 3, (self.near.keys.shape[1], -1))
        return by_head.permute(1, 3, 0, 2, 4).flatten(2, 3)

    def choose(self, query: Tensor) -> Chosen:
        """What each query [b, h, q, d] reads, and how much it would attend to the rest."""
        (b, h, q, d), g, near = query.shape, self.near.keys.shape[1], self.near
        batch = self.far["pairs"].rows.shape[1]
        rows = self.batch_rows()
        scaled = query * near.scale
        asking = scaled.view(b, g, h // g, q, d).transpose(2, 3)  # [b, g, q, h/g, d]
        logits = (asking.flatten(2, 3) @ self._coarse("heads").mT).view(b, g, q, h // g, -1)
        square = asking.square().sum(-1, keepdim=True) / 2
        weight, spread = (
            self.far[name].rows[:, rows].permute(1, 2, 0, 3).flatten(2)[:, :, None, None]
            for name in ("weights", "head_spreads")
        )  # [b, g, 1, 1, n·c]
        coarse = logits + spread * square + weight.log()
        best = one_key(coarse, weight).topk(min(self.wide, weight.shape[-1])).indices
        coarse = coarse.scatter(4, best[..., None, :].expand(*coarse.shape[:4], -1), -torch.inf)
        # the fine clusters of those
        block, of = best // self.coarse, best % self.coarse
        row = rows.view(b, 1, 1, 1)
        head = torch.arange(g).view(1, g, 1, 1)
        line = (block * batch + row) * g + head  # of a block, row and head
        first, last = (self.far["spans"].rows.flatten(0, 2)[line, of + i] for i in (0, 1))
        which, there = runs(line * self.fine + first, last - first)
        centroids = self.far["centroids"].rows.flatten(0, 3).index_select(0, which.flatten())
        centroids = centroids.view(*which.shape, -1)
        size = self.far["sizes"].rows.view(-1)[which] * there
        fine = asking @ centroids[..., :d].transpose(-1, -2)
        fine = fine + self.far["spreads"].rows.view(-1)[which][..., None, :] * square + size[..., None, :].log()
        # the best of them, until their tokens fill the room
        order = one_key(fine, size[..., None, :]).argsort(dim=-1, descending=True, stable=True)
        fits = size.gather(-1, order).cumsum(-1) <= self.room
        fits = torch.zeros_like(fits).scatter(-1, order, fits)
        starts = self.far["starts"].rows.view(-1)[which]
        token, real = runs(which // self.fine * self.block + starts, size * fits)
        return Chosen(token, real, fine.masked_fill(fits[..., None, :], -torch.inf), centroids[..., d:], coarse)

    def _offload(self, index: Tensor) -> None:
        """Cluster each leaving block of slots [b, 1, m] and write it sorted; padding is last, in no cluster."""
        self._settle_order()
        for block in torch.split(index, self.block, 2):
            self._write(block)

    def _write(self, index: Tensor) -> None:
        near, g = self.near, self.near.keys.shape[1]
        rows = index.expand(-1, g, -1)[..., None]
        keys = near.keys.gather(2, rows.expand(-1, -1, -1, near.keys.shape[3]))
        values = near.values.gather(2, rows.expand(-1, -1, -1, near.values.shape[3]))
        real = (near.columns.gather(2, index) > PAD).expand(-1, g, -1)
        for name, tensor in clustered(keys, values, real, self.fine, self.coarse).items():
            self.far[name].append(tensor)


def one_key(weight: Tensor, size: Tensor) -> Tensor:
    """ln of the share of attention of one key of each cluster, the largest for any query head: [..., n].

    Args:
        weight: ln of what each cluster weighs [..., h/g, n].
        size: its tokens [..., 1, n]; empty ones are worth nothing.
    """
    share = weight - weight.logsumexp(-1, keepdim=True) - size.log()
    return share.amax(-2).masked_fill(size[..., 0, :] == 0, -torch.inf)


def clustered(keys: Tensor, values: Tensor, real: Tensor, fine: int, coarse: int) -> dict[str, Tensor]:
    """One block sorted into clusters: keys [b, g, m, d], values [b, g, m, dv], real [b, g, m] (no padding).

    Clusters are those of the directions of keys (k-means); a centroid is the mean of the keys as they are. Fine
    ones are of tokens near each other, which costs little to find; coarse ones of fine ones all over the block.

    Returns:
        pairs [b, g, m, d + dv] by coarse and fine cluster, padding last; of fine clusters centroids
        [b, g, k, d + dv] of keys and values, sizes, spreads (variance of a channel of a key) and starts
        among the pairs [b, g, k]; of coarse ones mean keys heads [b, c, g·d] and values head_values
        [b, c, g·dv], tokens weights and head_spreads [b, g, c], and spans [b, g, c + 1], where the
        fine clusters of each begin.
    """
    d = keys.shape[3]
    some = real.int().argmax(2, keepdim=True)[..., None].expand(-1, -1, -1, d)
    labels = _in_runs(torch.where(real[..., None], keys, keys.gather(2, some)).float(), fine)
    pairs = torch.cat((keys, values), 3)
    counted = pairs.float().masked_fill(~real[..., None], 0.0)
    sizes, centroids, spreads = _moments(labels, fine, real, counted, d)
    of = _by_direction(centroids[..., :d], coarse)
    weights, heads, head_spreads = _moments(of.gather(2, labels), coarse, real, counted, d)
    by_coarse = of.argsort(dim=2, stable=True)
    rank = by_coarse.argsort(dim=2)  # of each fine cluster, when they are sorted
    order = rank.gather(2, labels).masked_fill(~real, fine).argsort(dim=2, stable=True)
    sizes = sizes.gather(2, by_coarse)
    spans = torch.nn.functional.one_hot(of, coarse).sum(2).cumsum(2)
    return {
        "pairs": pairs.gather(2, order[..., None].expand_as(pairs)),
        "centroids": centroids.gather(2, by_coarse[..., None].expand_as(centroids)).to(keys.dtype),
        "sizes": sizes.int(),
        "spreads": spreads.gather(2, by_coarse),
        "starts": (sizes.cumsum(2) - sizes).int(),
        "heads": heads[..., :d].to(keys.dtype).transpose(1, 2).flatten(2),
        "head_values": heads[..., d:].to(keys.dtype).transpose(1, 2).flatten(2),
        "head_spreads": head_spreads,
        "weights": weights.int(),
        "spans": torch.nn.functional.pad(spans, (1, 0)).int(),
    }


def _moments(labels: Tensor, k: int, real: Tensor, x: Tensor, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each cluster of x [b, g, m, e], 0 where not real: how many [b, g, k], their mean [b, g, k, e], and the
    variance of a channel, mean over the first `d` of them [b, g, k]; labels [b, g, m].
    """
    b, g, _, e = x.shape
    row = (labels + k * torch.arange(b * g).view(b, g, 1)).flatten()
    given = torch.cat((x, x[..., :d].square().sum(3, keepdim=True), real[..., None].float()), 3)
    sums = torch.zeros(b * g * k, e + 2).index_add_(0, row, given.flatten(0, 2)).view(b, g, k, e + 2)
    sizes = sums[..., e + 1]
    sums = sums / sizes.clamp_min(1)[..., None]
    means = sums[..., :e]
    return sizes, means, ((sums[..., e] - means[..., :d].square().sum(3)) / d).clamp_min(0)


def _in_runs(x: Tensor, k: int) -> Tensor:
    """Labels [b, g, n] of x [b, g, n, d]: each run of tokens by itself into its share of k clusters."""
    n = x.shape[2]
    runs = n // _RUN if n % _RUN == 0 and k % (n // _RUN) == 0 else 1
    labels = _by_direction(torch.unflatten(x, 2, (runs, -1)), k // runs, tight=True)  # [b, g, runs, n / runs]
    return (labels + k // runs * torch.arange(runs)[:, None]).flatten(2)


def _by_direction(x: Tensor, k: int, tight: bool = False) -> Tensor:
    """Labels [b, ..., n] of x [b, ..., n, d]; every batch row by itself, so that no row shows in another.

    Args:
        tight: clusters are small: they start from keys at equal distances, and settle soon.
    """
    unit = torch.nn.functional.normalize(x, dim=-1)
    start = unit[..., torch.arange(k) * x.shape[-2] // k, :] if tight else [None] * len(x)
    return torch.stack(
        [
            kmeans(row, k, seed=0, iterations=2 if tight else 5, start=first)[1]
            for row, first in zip(unit, start, strict=True)
        ]
    )
