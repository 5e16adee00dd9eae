"""How tokens that have left the near tier become units of recall: blocks, events, sentences of any lengths.

A cutter looks at the tokens of one row that are in no finished unit yet, and says where units end. What it cuts
last may still change with the tokens to come: those units are open, can be recalled like any other, and are cut
anew when more tokens leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mnemic.segment.events import Measure, boundaries, refined, spaced


@dataclass(frozen=True)
class Tail:
    """The tokens of one row that are in no finished unit, oldest first: n of them.

    Attributes:
        keys: [n, g·d] without positions.
        noted: what was observed of each token [before + n], for a cutter that asks for it; else None.
        before: how many older tokens `noted` begins with.
    """

    keys: Tensor
    noted: Tensor | None
    before: int


class Cutter(Protocol):
    """Says where units end.

    Attributes:
        longest: tokens of a unit at most.
        asks: what it must know of each token: "", "surprise" or "ids".
        before: how many tokens before the tail it looks at.
    """

    @property
    def longest(self) -> int: ...
    @property
    def asks(self) -> str: ...
    @property
    def before(self) -> int: ...
    def __call__(self, tail: Tail) -> tuple[list[int], int]:
        """Where units end, the last at the end of the tail; and how many of them will not change."""
        ...


@dataclass(frozen=True)
class Blocks:
    """Units of equal length."""

    longest: int
    asks: str = ""
    before: int = 0

    def __call__(self, tail: Tail) -> tuple[list[int], int]:
        n = len(tail.keys)
        stops = [*range(self.longest, n, self.longest), n]
        return stops, n // self.longest


@dataclass(frozen=True)
class Surprises:
    """Events: cut where a token surprises, each cut moved to where the keys fall best apart (paper 60).

    The two newest stay open: a cut is moved between its neighbours, and the one after the last is not known.
    """

    gamma: float
    before: int  # tokens that say how much surprise is usual
    refine: Measure | None
    shortest: int
    longest: int
    asks: str = "surprise"

    def __call__(self, tail: Tail) -> tuple[list[int], int]:
        assert tail.noted is not None
        n, at = len(tail.keys), tail.before
        surprise = np.nan_to_num(tail.noted.float().numpy())
        cuts = [cut - at for cut in boundaries(surprise, self.gamma, self.before) if cut > at]
        cuts = spaced(cuts, surprise[at:], n, self.shortest, self.longest)
        if self.refine:
            cuts = refined(cuts, tail.keys.float().numpy(), self.refine, self.shortest, self.longest)
        return [*cuts, n], max(0, len(cuts) - 1)


@dataclass(frozen=True)
class Sentences:
    """Units that end with one of some tokens, or when they are long."""

    ends: Sequence[int]
    longest: int
    asks: str = "ids"
    before: int = 0

    def __call__(self, tail: Tail) -> tuple[list[int], int]:
        assert tail.noted is not None
        n = len(tail.keys)
        ends = torch.isin(tail.noted, torch.tensor(self.ends, dtype=tail.noted.dtype))
        cuts: list[int] = []
        for start, stop in pairwise([0, *(ends.nonzero()[:, 0] + 1).tolist(), n]):
            cuts += [*range(start + self.longest, stop, self.longest), stop] if stop > start else []
        finished = bool(n and (ends[-1] or cuts[-1] - (cuts[-2] if len(cuts) > 1 else 0) == self.longest))
        return cuts, len(cuts) - (not finished)


def runs(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The members of runs, side by side: start and length [..., n] to indices [..., t] and which are real."""
    ends = length.cumsum(-1)
    total = ends[..., -1:]
    place = torch.arange(int(total.max()), device=start.device).expand(*start.shape[:-1], -1).contiguous()
    run = torch.searchsorted(ends, place.to(ends.dtype), right=True).clamp_max(start.shape[-1] - 1)
    index = (start - ends + length).gather(-1, run) + place
    real = place < total
    return torch.where(real, index, 0), real
