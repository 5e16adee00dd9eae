"""Pictures of outlines, whole or with a gap, and sets of links: what must be seen from all sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Ints

SIDES = (4, 7)
"""Places along an outline, from and below: at least two by two are inside."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of rectangles drawn by their edges, some of which lack one place.

    Attributes:
        marks: [n, side, side] bool, the edges.
        inside: [n, side, side] bool, the places that are asked: those within an outline, whole or not.
        closed: [n, side, side] bool, of these, the ones whose outline is whole.
    """

    marks: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    closed: NDArray[np.bool_]


def outlines(n: int, *, seed: int, side: int = 10, most: int = 3) -> Pictures:
    """Pictures of one to `most` outlines that do not touch; half of all outlines have a gap, not at a corner.

    Raises:
        ValueError: pictures too small for an outline.
    """
    if side < SIDES[1] - 1 or most < 1:
        raise ValueError(f"a side of {side} and {most} outlines: need at least {SIDES[1] - 1} and 1")
    random = np.random.default_rng(seed)
    made = Pictures(*np.zeros((3, n, side, side), np.bool_))
    for marks, inside, closed in zip(made.marks, made.inside, made.closed, strict=True):
        taken = np.zeros((side + 2, side + 2), np.bool_)  # the picture with a margin: a place beside each mark
        for _ in range(most):
            height, width = random.integers(*SIDES, size=2)
            top, left = random.integers(side - height + 1), random.integers(side - width + 1)
            around = slice(top, top + height + 2), slice(left, left + width + 2)
            whole, place, edge = random.random() < 0.5, random.random(), random.integers(4)
            if taken[around].any():
                continue
            taken[top + 1 :, left + 1 :][:height, :width] = True
            outline, within = marks[top:, left:][:height, :width], (slice(1, -1), slice(1, -1))
            outline[:] = True
            outline[within] = False
            inside[top:, left:][:height, :width][within] = True
            closed[top:, left:][:height, :width][within] = whole
            if not whole:
                along = (outline[0], outline[-1], outline[:, 0], outline[:, -1])[edge][1:-1]
                along[int(place * len(along))] = False
    return made


@dataclass(frozen=True, slots=True)
class Links:
    """Sets of links from symbol to symbol, one chain of which starts at symbol 0.

    Attributes:
        links: [n, members, 2] the symbols a link leads from and to.
        wanted: [n, members] bool, the links of that chain.
        symbols: number of different symbols.
    """

    links: Ints
    wanted: NDArray[np.bool_]
    symbols: int


def chains(n: int, *, seed: int, length: int = 5, others: int = 6) -> Links:
    """The links of a chain of `length` from symbol 0 among `others` that no chain from 0 reaches, in any order.

    No symbol is led to twice or from twice, so that no link tells by itself whether it is wanted.

    Raises:
        ValueError: no links.
    """
    if length < 1 or others < 0:
        raise ValueError(f"a chain of {length} among {others} links: need at least 1 and 0")
    random = np.random.default_rng(seed)
    members = length + others
    symbols = members + 2
    names = 1 + random.permuted(np.tile(np.arange(symbols - 1), (n, 1)), axis=1)
    names = np.concatenate([np.zeros((n, 1), np.int64), names], 1)
    places: Any = [[i, i + 1] for i in range(length)]  # 0 -> 1 -> ... -> length, and another chain beyond it
    places += [[length + 1 + i, length + 2 + i] for i in range(others)]
    links = names[:, np.array(places[:members])]
    order = random.permuted(np.tile(np.arange(members), (n, 1)), axis=1)
    return Links(np.take_along_axis(links, order[:, :, None], 1), order < length, symbols)
