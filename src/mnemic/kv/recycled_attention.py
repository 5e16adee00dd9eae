"""Searches everything once in a while, and in between attends again to what that search found.

    searched     at the first token of each block, and at every `check`-th one whose query has turned away:
                 cos(q, q of the last search) < similar, over all heads of the layer
    recycled     otherwise: the units found by the last search, with sinks and window

What is found are the units that hold the keys of largest q·k, as in retrieval-attention. Neighbouring tokens
mostly look at the same few places, so that one search serves many.

Departs from the paper: a token that searches attends to what it found, not to everything; new tokens stay in
the window and push nothing out of what was found; the clock is the block (there: any `block` tokens since the
last search), so that how a text was cut never shows. Whether queries are alike is asked of queries without
positions. (Paper 158.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from mnemic.kv.infllm import InfLLM
from mnemic.kv.policy import Layer
from mnemic.kv.recall import match_every_key
from mnemic.kv.slots import PAD, Slots
from mnemic.kv.tiered import Match, Recalled, Represent, Tiered
from mnemic.kv.units import Blocks, Cutter
from mnemic.types import Claim

PAPER = 158
CLAIM = Claim(
    says="blocks found by the last search, taken again, find what a window has lost",
    task="kv_claims",
    method="recycled-attention 8K",
    baseline="streaming 8K",
    sabotage="recycled-attention 8K, scrambled",
    metric="needle",
    budget="the bytes of 448 tokens at hand",
)


class Recycling(Tiered):
    """Two tiers, and the searches of the running block.

    Attributes:
        found: after each search the units found last [b, s, g, k], -1 for none.
        asked: the query they were found by [b, s, h, d].
        at: its column [b, s]; PAD for a row that has not searched yet.
    """

    def __init__(self, near: Slots, *, similar: float, check: int, **far: Any) -> None:
        super().__init__(near, **far)
        self.similar = similar
        self.check = check
        self.searches: dict[str, Tensor] = {}  # found, asked, at

    def recall(self, query: Tensor, columns: Tensor) -> Recalled:
        """What each query token recalls, one after the other."""
        pieces = zip(torch.split(query, 1, 2), torch.split(columns, 1, 1), strict=True)
        return self.gather(torch.cat([self._recycle(*piece) for piece in pieces], 2))

    def _recycle(self, query: Tensor, column: Tensor) -> Tensor:
        """The units of one query [b, h, 1, d], searched or recycled: whether [b, g, 1, n]."""
        b, g, n = len(query), self.near.keys.shape[1], len(self.units["start"])
        if not self.searches:
            self.searches = {
                "found": torch.full((b, 1, g, 1), -1, dtype=torch.int32, device=query.device),
                "asked": torch.zeros_like(query).transpose(1, 2),
                "at": torch.full_like(column, PAD),
            }
        found, asked, at = (self.searches[name][:, -1] for name in ("found", "asked", "at"))
        alike = cosine_similarity(query.flatten(1).float(), asked.flatten(1).float())
        turned = (column[:, 0] % self.check == 0) & (alike < self.similar)
        due = (column[:, 0] > PAD) & ((at == PAD) | turned)
        if due.any():
            new = _listed(self.choose(self.asking(query, column), 1)[:, :, 0])
            width = max(new.shape[2], found.shape[2])
            new, found = (pad(x, (0, width - x.shape[2]), value=-1) for x in (new, found))
            found = torch.where(due[:, None, None], new, found)
            asked = torch.where(due[:, None, None], query[:, :, 0], asked)
            self._note({"found": found, "asked": asked, "at": torch.where(due, column[:, 0], at)})
        index = torch.where(found < 0, n, found).long()
        taken = torch.zeros(b, g, n + 1, dtype=torch.bool, device=query.device).scatter(2, index, True)
        return taken[:, :, None, :n]

    def _note(self, search: dict[str, Tensor]) -> None:
        """Add one search."""
        before, width = self.searches["found"], search["found"].shape[2]
        self.searches["found"] = pad(before, (0, width - before.shape[3]), value=-1)
        self.searches = {
            name: torch.cat((old, search[name][:, None]), 1) for name, old in self.searches.items()
        }

    def settle(self, seen: int) -> None:
        self.searches = {}
        super().settle(seen)

    def crop(self, count: int, seen: int) -> None:
        super().crop(count, seen)
        if self.searches:
            left = int((self.searches["at"].amax(0) < seen - count).sum())
            self.searches = {name: x[:, :left].clone() for name, x in self.searches.items()} if left else {}

    def tensors(self) -> dict[str, Tensor]:
        """The state in memory, by name."""
        return super().tensors() | self.searches

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state that `tensors` and `offloaded` (names led by "far.") gave."""
        self.searches = {name: tensors.pop(name) for name in ("found", "asked", "at") if name in tensors}
        super().restore(tensors)

    def rows(self, change: Callable[[Tensor], Tensor]) -> None:
        """Apply a change of the batch dimension."""
        super().rows(change)
        self.searches = {name: change(x).contiguous() for name, x in self.searches.items()}


def _listed(taken: Tensor) -> Tensor:
    """The units taken [b, g, n], by number [b, g, k]; -1 where there are fewer than k."""
    count = taken.sum(2, keepdim=True)
    first = taken.int().argsort(dim=2, descending=True, stable=True)[..., : int(count.max())]
    return first.masked_fill(torch.arange(first.shape[2], device=taken.device) >= count, -1).int()


@dataclass(frozen=True, kw_only=True)
class RecycledAttention(InfLLM):
    """A search per block.

    Attributes:
        block: tokens from one search to the next.
        unit: tokens of a unit, at most a block.
        chosen: blocks' worth of tokens found by a search.
        check: every so many tokens a query is compared with the one that searched.
        similar: the least cosine that is still alike.
    """

    block: int = 64
    unit: int = 16
    local: int = 512
    chosen: int = 32
    representatives: int = 0  # none are kept
    check: int = 8
    similar: float = 0.8

    watch = False

    def cutter(self) -> Cutter:
        return Blocks(min(self.unit, self.block))

    def strategy(self) -> tuple[Represent | None, Match]:
        return None, match_every_key

    def sizes(self, layer: Layer, *, headwise: bool, watch: bool, marks: bool) -> tuple[int, int]:
        slot, fixed = super().sizes(layer, headwise=headwise, watch=watch, marks=marks)
        units = 4 * layer.groups * (1 + self.chosen * self.block // min(self.unit, self.block))
        search = layer.rows * (units + layer.heads * layer.width * layer.dtype.itemsize + 4)
        # the first entry found nothing yet; rows may begin one after the other
        return slot, fixed + search * (1 + layer.rows + self.block // self.check)

    def tiered(self, near: Slots, far: dict[str, Any]) -> Tiered:
        return Recycling(near, similar=self.similar, check=self.check, **far)
