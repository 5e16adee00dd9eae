"""Two tiers, the far one sorted into clusters of like keys: a query reads the centroids of a few, and of those
only the keys of the most promising.

    share of a key of cluster c = exp(scale·q·C_c) / sum over clusters of n·exp(scale·q·C)

taken twice, over coarse clusters of clusters and over the fine ones within the best coarse. Each block that
leaves is clustered by itself, so nothing is ever moved. Keys and values of a cluster lie side by side, and
so do centroids of one coarse cluster: a step reads a few runs of memory, found without a loop over heads.

Shapes: b rows, g key-value heads, h query heads, q queries, n blocks, m tokens of a block, k fine and c coarse
clusters of a block, x = n·c.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mnemic.index.kmeans import kmeans
from mnemic.kv.mapped import Mapped
from mnemic.kv.slots import PAD, Slots, fold, visible
from mnemic.kv.tiered import TwoTiers
from mnemic.kv.units import runs

_TOGETHER = 8  # queries that recall at a time: bounds what is gathered


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
        names = ("pairs", "centroids", "sizes", "starts", "heads", "spans", "weights")
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
        token, real = self.choose(query)
        pairs = (
            self.far["pairs"]
            .rows.flatten(0, 3)
            .index_select(0, token.flatten())
            .view(b, g, q, -1, d + near.values.shape[3])
        )
        asking = query.view(b, g, h // g, q, d).transpose(2, 3)  # [b, g, q, h/g, d]
        far = asking @ pairs[..., :d].transpose(-1, -2) * near.scale
        far = far.masked_fill_(~real[..., None, :], -torch.inf)
        here = self._near(query, columns)
        here = here.view(b, g, h // g, q, -1).transpose(2, 3)
        attention = torch.cat((here, far), -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        seen, recalled = torch.split(attention, [here.shape[-1], far.shape[-1]], -1)
        out = seen.transpose(2, 3).flatten(2, 3) @ near.values  # [b, g, (h/g)·q, dv]
        out = out.view(b, g, h // g, q, -1) + (recalled @ pairs[..., d:]).transpose(2, 3)
        return out.reshape(b, h, q, -1)

    def choose(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """What each query [b, h, q, d] recalls: rows of all pairs [b, g, q, t], and which are real."""
        (b, h, q, d), g, near = query.shape, self.near.keys.shape[1], self.near
        n, batch = self.blocks, self.far["pairs"].rows.shape[1]
        rows = self.batch_rows()
        scaled = query * near.scale
        # all heads' coarse centroids in one product: heads lie side by side in a row, queries on a diagonal
        diagonal = torch.einsum("bgxd,gf->gdbfx", fold(scaled, g), torch.eye(g, dtype=query.dtype))
        logits = self.far["heads"].rows.view(-1, g * d) @ diagonal.reshape(g * d, -1)
        logits = logits.view(n, batch, self.coarse, b, g, h // g, q)[:, rows, :, torch.arange(b)]
        logits = logits.flatten(1, 2).permute(0, 2, 4, 3, 1)  # [b, g, q, h/g, x]
        weight = self.far["weights"].rows[:, rows].permute(1, 2, 0, 3).flatten(2)  # [b, g, x] their tokens
        best = shares(logits, weight[:, :, None, None]).topk(min(self.wide, weight.shape[2])).indices
        # the fine clusters of those
        block, of = best // self.coarse, best % self.coarse
        row = rows.view(b, 1, 1, 1)
        head = torch.arange(g).view(1, g, 1, 1)
        line = (block * batch + row) * g + head  # of a block, row and head
        first, last = (self.far["spans"].rows.flatten(0, 2)[line, of + i] for i in (0, 1))
        which, there = runs(line * self.fine + first, last - first)
        centroids = (
            self.far["centroids"].rows.flatten(0, 3).index_select(0, which.flatten()).view(*which.shape, d)
        )
        size = self.far["sizes"].rows.view(-1)[which] * there
        asking = scaled.view(b, g, h // g, q, d).transpose(2, 3)
        score = shares(asking @ centroids.transpose(-1, -2), size[..., None, :])
        # the best of them, until their tokens fill the room
        order = score.argsort(dim=-1, descending=True, stable=True)
        size = size.gather(-1, order)
        fits = size.cumsum(-1) <= self.room
        which = which.gather(-1, order)
        starts = self.far["starts"].rows.view(-1)[which]
        return runs(which // self.fine * self.block + starts, size * fits)

    def _offload(self, index: Tensor) -> None:
        """Cluster the leaving slots [b, 1, m] and write them sorted; padding comes last, in no cluster."""
        near, g = self.near, self.near.keys.shape[1]
        self._settle_order()
        rows = index.expand(-1, g, -1)[..., None]
        keys = near.keys.gather(2, rows.expand(-1, -1, -1, near.keys.shape[3]))
        values = near.values.gather(2, rows.expand(-1, -1, -1, near.values.shape[3]))
        real = (near.columns.gather(2, index) > PAD).expand(-1, g, -1)
        for name, tensor in clustered(keys, values, real, self.fine, self.coarse).items():
            self.far[name].append(tensor)


def shares(logits: Tensor, size: Tensor) -> Tensor:
    """ln of the share of attention of one key of each cluster, the largest for any query head: [..., n].

    Args:
        logits: of centroids [..., h/g, n].
        size: tokens of each cluster [..., 1, n]; empty ones are worth nothing.
    """
    every = (logits + size.log()).logsumexp(-1, keepdim=True)
    return (logits - every).amax(-2).masked_fill(size[..., 0, :] == 0, -torch.inf)


def clustered(
    keys: Tensor, values: Tensor, real: Tensor, fine: int, coarse: int, iterations: int = 5
) -> dict[str, Tensor]:
    """One block sorted into clusters: keys [b, g, m, d], values [b, g, m, dv], real [b, g, m] (no padding).

    Clusters are those of the directions of keys (k-means); a centroid is the mean of the keys as they are.

    Returns:
        pairs [b, g, m, d + dv] by coarse and fine cluster, padding last; of fine clusters centroids
        [b, g, k, d], sizes and starts among the pairs [b, g, k]; of coarse ones mean keys heads [b, c, g·d],
        tokens weights [b, g, c], and spans [b, g, c + 1], where the fine clusters of each begin.
    """
    some = real.int().argmax(2, keepdim=True)[..., None].expand(-1, -1, -1, keys.shape[3])
    filled = torch.where(real[..., None], keys, keys.gather(2, some)).float()
    labels = _by_direction(filled, fine, iterations)
    member = torch.nn.functional.one_hot(labels, fine).float() * real[..., None]  # [b, g, m, k]
    sizes = member.sum(2)
    centroids = member.transpose(2, 3) @ filled / sizes.clamp_min(1)[..., None]
    of = _by_direction(centroids, coarse, iterations)
    by_coarse = of.argsort(dim=2, stable=True)
    rank = by_coarse.argsort(dim=2)  # of each fine cluster, when they are sorted
    order = rank.gather(2, labels).masked_fill(~real, fine).argsort(dim=2, stable=True)
    sizes = sizes.gather(2, by_coarse)
    centroids = centroids.gather(2, by_coarse[..., None].expand_as(centroids))
    belongs = torch.nn.functional.one_hot(of.gather(2, by_coarse), coarse).float()  # [b, g, k, c]
    weights = (belongs * sizes[..., None]).sum(2)
    heads = belongs.transpose(2, 3) @ (centroids * sizes[..., None]) / weights.clamp_min(1)[..., None]
    pairs = torch.cat((keys, values), 3)
    return {
        "pairs": pairs.gather(2, order[..., None].expand_as(pairs)),
        "centroids": centroids.to(keys.dtype),
        "sizes": sizes.int(),
        "starts": (sizes.cumsum(2) - sizes).int(),
        "heads": heads.to(keys.dtype).transpose(1, 2).flatten(2),
        "weights": weights.int(),
        "spans": torch.nn.functional.pad(belongs.sum(2).cumsum(2), (1, 0)).int(),
    }


def _by_direction(x: Tensor, k: int, iterations: int) -> Tensor:
    """Labels [b, g, n] of x [b, g, n, d]; every batch row by itself, so that no row shows in another."""
    unit = torch.nn.functional.normalize(x, dim=3)
    return torch.stack([kmeans(row, k, seed=0, iterations=iterations)[1] for row in unit])
