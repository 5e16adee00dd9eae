"""Recalls the blocks of the keys of largest inner product with the query, by an index that knows queries.

    lists      of each segment of the text: k-means of R k, R R = mean of q q^T over queries of the text
    estimate   = u·m + reach·|u|·s,   u = R^-1 q      m, s: mean of R k in a list, deviation of a channel of it
    searched   = the `probe` share of all lists, by estimate, and what is in no segment yet: every key of theirs
    recalled   = the blocks of the k largest max over the block's searched keys of q·k

Queries are distributed differently from keys, which misleads lists made from keys alone (`mnemic.index.sight`).
A found key brings its block, sinks and window stay at hand, and distances are capped, so that a model reads
past what it was trained on. Up to a segment the search is exact.

Departs from the paper: lists of keys that queries see alike, instead of a graph that links keys through
queries; queries are every `every`-th one of the text read, kept on disk beside its keys. (Paper 50.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemic.index.arrays import sum_rows, take_rows
from mnemic.index.kmeans import kmeans
from mnemic.index.sight import sight
from mnemic.kv.infllm import InfLLM
from mnemic.kv.mapped import Mapped
from mnemic.kv.recall import match_every_key
from mnemic.kv.slots import PAD, Slots
from mnemic.kv.tiered import Match, Represent, Tiered
from mnemic.kv.units import runs
from mnemic.types import Claim

PAPER = 50
CLAIM = Claim(
    says="blocks recalled by their best keys find what a window has lost",
    task="kv_claims",
    method="retrieval-attention 8K",
    baseline="streaming 8K",
    sabotage="retrieval-attention 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)
_ROUNDS = 4  # of k-means


class Searched(Tiered):
    """Two tiers, the far one sorted into lists of keys that queries see alike, a segment at a time.

    Args:
        segment: tokens that are sorted together, a whole number of blocks; lists: of a segment.
        every: so many tokens of the text to one whose query is kept.
        probe: share of the lists that is searched, but at least `least` of them.
        reach: deviations above its mean that the best key of a list is hoped for.

    Attributes:
        asked: queries of each kept token [b, g, h/g, d], zeros for padding.
        lists: of each segment its tokens sorted by list [b, g, segment], where lists end among them
            [b, g, lists], means [b, g, lists, d] and deviations [b, g, lists] of R k, and R^-1 [b, g, d, d].
    """

    def __init__(
        self, near: Slots, *, segment: int, lists: int, every: int, probe: float, least: int, reach: float,
        **far: Any,
    ) -> None:  # fmt: skip
        super().__init__(near, **far)
        self.segment, self.count, self.every = segment, lists, every
        self.probe, self.least, self.reach = probe, least, reach
        self.asked = {"queries": Mapped(self.folder)}
        names = ("sorted", "ends", "means", "deviations", "blind")
        self.lists = {name: Mapped(self.folder) for name in names}

    @property
    def tiers(self) -> list[dict[str, Mapped]]:
        return [*super().tiers, self.asked, self.lists]

    def step(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> Tensor:
        """Keep the new pairs and some of the queries, and attend; see `Slots.step`."""
        seen = torch.arange(len(self), len(self) + query.shape[2]) + 1
        kept = (seen % self.every == 0).nonzero()[:, 0]
        out = super().step(query, keys, values, columns)
        if len(kept):
            self._settle_order()
            asked = self.asking(query[:, :, kept], columns[:, kept])
            asked = torch.unflatten(asked, 2, (-1, len(kept))).masked_fill(
                (columns[:, kept] == PAD)[:, None, None, :, None], 0
            )
            self.asked["queries"].extend(asked.movedim(3, 0))
        return out

    def crop(self, count: int, seen: int) -> None:
        super().crop(count, seen)
        self.asked["queries"].cut((seen - count) // self.every)

    def scored(self, asking: Tensor, queries: int, rows: Tensor) -> Tensor:
        """What each unit is worth to each query, -inf for those without a searched key: [b, g, q, n]."""
        if not len(self.lists["means"]):
            return super().scored(asking, queries, rows)
        asking = torch.unflatten(asking, 2, (-1, queries))
        found = [self._searched(asking[:, :, :, i], rows) for i in range(queries)]
        return torch.cat(found, 2)

    def _searched(self, asking: Tensor, rows: Tensor) -> Tensor:
        """Of one query [b, g, h/g, d]: [b, g, 1, n]."""
        token, real = self._in_lists(asking, rows)  # [b, g, t]
        keys = self.far["keys"].rows
        listed, there = len(self.lists["means"]) * self.segment, len(keys) * self.block
        rest = torch.arange(listed, there).expand(*token.shape[:2], -1)
        token, real = torch.cat((token, rest), 2), torch.cat((real, torch.ones_like(rest).bool()), 2)
        batch, groups = keys.shape[1:3]
        line = (token // self.block * batch + rows.view(-1, 1, 1)) * groups + torch.arange(groups)[:, None]
        line = line * self.block + token % self.block
        near = keys.flatten(0, 3).index_select(0, line.flatten()).view(*line.shape, -1)
        scores = (asking @ near.transpose(-1, -2)).amax(2).masked_fill(~real, -torch.inf)
        return self.best_of_units(scores[:, :, None], token[:, :, None], rows)

    def _in_lists(self, asking: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of the most promising lists of a query [b, g, h/g, d], and which are real: [b, g, t]."""
        means, deviations, blind, ends = (
            self.lists[name].rows if self.order is None else self.lists[name].rows[:, rows]
            for name in ("means", "deviations", "blind", "ends")
        )  # [segments, b, g, ...]
        length = torch.diff(ends, dim=-1, prepend=torch.zeros_like(ends[..., :1]))
        best = estimates(asking.float(), means, deviations, blind, self.reach).amax(3)
        best = best.masked_fill(length == 0, -torch.inf)
        best, length, start = (x.movedim(0, 2).flatten(2) for x in (best, length, ends - length))
        probed = max(self.least, round(self.probe * best.shape[2]))
        found = rounded_topk(best, min(probed, best.shape[2]))
        start = start + torch.arange(best.shape[2]) // self.count * self.segment
        at, real = runs(start.gather(2, found), length.gather(2, found))
        row, head = rows.view(-1, 1, 1), torch.arange(best.shape[1]).view(1, -1, 1)
        token = self.lists["sorted"].rows[at // self.segment, row, head, at % self.segment]
        return token.long() + at // self.segment * self.segment, real

    def _offload(self, index: Tensor) -> None:
        super()._offload(index)
        done = len(self.lists["means"])
        for segment in range(done, len(self.far["keys"]) * self.block // self.segment):
            self._sort(segment)

    def _sort(self, segment: int) -> None:
        """Sort one segment into lists, each row by itself."""
        blocks = slice(segment * self.segment // self.block, (segment + 1) * self.segment // self.block)
        keys = self.far["keys"].rows[blocks].movedim(0, 2).flatten(2, 3).float()  # [b, g, n, d]
        real = (self.far["columns"].rows[blocks].movedim(0, 2).flatten(2) > PAD).expand(keys.shape[:3])
        sample = slice(segment * self.segment // self.every, (segment + 1) * self.segment // self.every)
        queries = self.asked["queries"].rows[sample].movedim(0, 3).flatten(2, 3).float()  # [b, g, h/g·m, d]
        for name, tensor in listed(keys, real, queries, self.count).items():
            self.lists[name].append(tensor)


def rounded_topk(x: Tensor, k: int) -> Tensor:
    """Indices of the k largest of x [..., n], rounded, the first of equals first: [..., k].

    The last digits of a score vary with how many queries come together; they never decide.
    """
    bits = x.to(torch.bfloat16).view(torch.int16).long()
    ordered = bits ^ ((bits >> 15) & 0x7FFF)  # integers in the order of the numbers
    place = torch.arange(x.shape[-1], device=x.device)
    return (ordered * 2**32 - place).topk(k).indices


def listed(keys: Tensor, real: Tensor, queries: Tensor, count: int) -> dict[str, Tensor]:
    """Sort the `real` [b, g, n] of keys [b, g, n, d] into lists of those that queries [b, g, m, d] see alike.

    Each row by itself. Returns what `Searched.lists` holds of one segment.
    """
    root, blind = sight(queries)
    some = real.int().argmax(2, keepdim=True)[..., None].expand_as(keys)
    seen = torch.where(real[..., None], keys, keys.gather(2, some)) @ root
    start = seen[:, :, torch.arange(count) * keys.shape[2] // count]
    label = torch.stack(
        [
            kmeans(row, count, seed=0, iterations=_ROUNDS, start=first)[1]
            for row, first in zip(seen, start, strict=True)
        ]
    )
    weight = real[..., None].float()
    size = sum_rows(weight, label, count)
    means = sum_rows(seen * weight, label, count) / size.clamp_min(1)
    off = (seen - take_rows(means, label)).square().mean(3, keepdim=True) * weight
    return {
        "sorted": label.masked_fill(~real, count).argsort(dim=2, stable=True).int(),
        "ends": size[..., 0].cumsum(2).int(),
        "means": means,
        "deviations": (sum_rows(off, label, count) / size.clamp_min(1))[..., 0].sqrt(),
        "blind": blind,
    }


def estimates(asking: Tensor, means: Tensor, deviations: Tensor, blind: Tensor, reach: float) -> Tensor:
    """What the best key of each list is hoped to score: queries [..., x, d] to [..., x, lists]."""
    asking = asking @ blind
    length: Tensor = asking.norm(dim=-1, keepdim=True)
    best: Tensor = asking @ means.transpose(-1, -2) + reach * length * deviations[..., None, :]
    return best


@dataclass(frozen=True, kw_only=True)
class RetrievalAttention(InfLLM):
    """Exact up to a segment, searched beyond.

    Attributes:
        segment: tokens sorted into lists together, whole blocks; lists: of a segment, at most its tokens.
        every: so many tokens to one whose query is kept, at most a segment.
        probe: share of the lists that is searched, but at least `least` of them.
        reach: deviations above its mean that the best key of a list is hoped for.
    """

    block: int = 16
    sinks: int = 128
    local: int = 512
    chosen: int = 32
    representatives: int = 0  # none are kept
    segment: int = 4096
    lists: int = 512
    every: int = 16
    probe: float = 0.02
    least: int = 128
    reach: float = 3.0

    watch = False

    def strategy(self) -> tuple[Represent | None, Match]:
        return None, match_every_key

    def tiered(self, near: Slots, far: dict[str, Any]) -> Tiered:
        segment = max(1, self.segment // self.block) * self.block
        return Searched(
            near, segment=segment, lists=min(self.lists, segment), every=min(self.every, segment),
            probe=self.probe, least=self.least, reach=self.reach, **far,
        )  # fmt: skip
