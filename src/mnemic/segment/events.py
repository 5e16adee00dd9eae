"""Events: a stream is cut where it surprises, and the cuts are moved to where its parts hang together least.

Human-inspired episodic memory (EM-LLM, paper 60). Item t starts an event when

    surprise_t > mu + gamma * sigma            mu, sigma over the `window` items before t

and then each boundary b moves between its neighbours a < b < c to where the similarity graph A_ij of the items
a..c falls best into two communities, by the highest modularity (m = total weight, k_i = weight at item i)

    Q = 1/4m * sum over communities C, i, j in C, of (A_ij - k_i k_j / 2m)

or the lowest conductance (weight cut / weight at the smaller side). For tokens the surprise is -log p; for
records it is the error of the simplest prediction, that what comes is like what has just been: `novelty`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Claim, Floats, Span, Stream

PAPER = 60

CLAIM = Claim(
    says="cuts at surprise, refined, find where one text ends better than cuts at equal distances",
    task="segment",
    method="events",
    baseline="events, even",
    sabotage="events, shuffled",
    metric="f1",
    budget="as many cuts",
)

Measure = Literal["modularity", "conductance"]


@dataclass(frozen=True, slots=True)
class Events:
    """Cuts a stream into events; needs its `surprise` or its `embeddings`, for refinement the latter.

    Attributes:
        gamma: deviations above the mean that make a boundary; window: items the mean is taken over.
        refine: by which measure boundaries are moved; None leaves them.
        shortest, longest: items of an event; a boundary that would make a shorter one is dropped, a longer
            one is cut at its greatest surprise.
    """

    gamma: float = 1.0
    window: int = 32
    refine: Measure | None = "modularity"
    shortest: int = 2
    longest: int = 128

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest // 2:
            raise ValueError(f"longest must be at least twice shortest, not {self.longest} and {self.shortest}")

    def __call__(self, stream: Stream) -> list[Span]:
        """The events, tiling the stream.

        Raises:
            ValueError: the stream lacks the signal that is needed.
        """
        n = len(stream)
        if n == 0:
            return []
        surprise, embeddings = stream.surprise, stream.embeddings
        if surprise is None:
            if embeddings is None:
                raise ValueError("events need a stream with surprise or embeddings; this one has neither")
            surprise = novelty(embeddings)
        if self.refine and embeddings is None:
            raise ValueError(f"refining events by {self.refine} needs embeddings; give them, or refine=None")
        cuts = spaced(boundaries(surprise, self.gamma, self.window), surprise, n, self.shortest, self.longest)
        if self.refine and embeddings is not None:
            cuts = refined(cuts, embeddings, self.refine, self.shortest, self.longest)
        return [Span(start, stop) for start, stop in pairwise([0, *cuts, n])]


def novelty(embeddings: Floats, decay: float = 0.7) -> Floats:
    """[n] how unlike each item is to what came before: 1 - cos(e_t, running mean of e_<t); 0 for the first.

    The running mean forgets: r_t = decay * r_{t-1} + (1 - decay) * e_t.
    """
    error = np.zeros(len(embeddings), np.float32)
    if len(embeddings) == 0:
        return error
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    mean = unit[0].astype(np.float64)
    for t in range(1, len(unit)):
        error[t] = 1 - unit[t] @ mean / max(float(np.linalg.norm(mean)), 1e-12)
        mean = decay * mean + (1 - decay) * unit[t]
    return error


def boundaries(surprise: Floats, gamma: float = 1.0, window: int = 32) -> list[int]:
    """Items more surprising than the mean plus `gamma` deviations of the up to `window` items before them."""
    n = len(surprise)
    values = surprise.astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    t = np.arange(2, n)  # one item before is no distribution
    first = np.maximum(0, t - window)
    count = t - first
    mean = (sums[t] - sums[first]) / count
    spread = np.sqrt(np.maximum((squares[t] - squares[first]) / count - mean**2, 0.0))
    return [int(i) for i in t[values[t] > mean + gamma * spread + 1e-9]]


def spaced(cuts: list[int], surprise: Floats, n: int, shortest: int, longest: int) -> list[int]:
    """The boundaries without those that make too short an event, with more where one would be too long."""
    kept = [0]
    for cut in cuts:
        if cut - kept[-1] >= shortest and n - cut >= shortest:
            kept.append(cut)
    spaced: list[int] = []
    for start, stop in pairwise([*kept, n]):
        spaced.append(start)
        while stop - spaced[-1] > longest:
            first, last = spaced[-1] + max(1, shortest), min(spaced[-1] + longest, stop - shortest)
            spaced.append(first + int(np.argmax(surprise[first : last + 1])))
    return spaced[1:]


def refined(
    cuts: list[int], embeddings: Floats, measure: Measure, shortest: int = 1, longest: int | None = None
) -> list[int]:
    """Each boundary, from the first on, moved between its neighbours to the best split of what lies there."""
    moved = list(cuts)
    edges = [0, *cuts, len(embeddings)]
    for i in range(1, len(edges) - 1):
        start, stop = edges[i - 1], edges[i + 1]
        reach = longest or stop - start
        first, last = max(start + shortest, stop - reach), min(stop - shortest, start + reach)
        if first > last:
            continue
        quality = split_quality(similarity(embeddings[start:stop]), measure)
        edges[i] = moved[i - 1] = first + int(np.argmax(quality[first - start - 1 : last - start]))
    return moved


def similarity(embeddings: Floats) -> NDArray[np.float64]:
    """[n, n] cosines, negative ones and the diagonal zero: the weights of a graph without loops."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    graph: NDArray[np.float64] = np.maximum(unit @ unit.T, 0.0).astype(np.float64)
    np.fill_diagonal(graph, 0.0)
    return graph


def split_quality(graph: NDArray[np.float64], measure: Measure) -> NDArray[np.float64]:
    """[n - 1] how well a symmetric graph [n, n] falls apart before item s, s = 1 .. n - 1; more is better.

    All s at once from prefix sums: with P_rc the sum of A over rows < r and columns < c, the weight inside
    the first part is P_ss, inside the second P_nn - P_sn - P_ns + P_ss, across it P_sn - P_ss.
    """
    n = len(graph)
    prefix = np.zeros((n + 1, n + 1))
    prefix[1:, 1:] = graph.cumsum(axis=0).cumsum(axis=1)
    s = np.arange(1, n)
    total = prefix[n, n]  # 2m
    inside, volume = prefix[s, s], prefix[s, n]
    across = volume - inside
    if total <= 0:
        return np.zeros(n - 1)
    if measure == "conductance":
        smaller = np.minimum(volume, total - volume)
        return -np.where(smaller > 0, across / np.where(smaller > 0, smaller, 1.0), 1.0)
    within = inside + (total - 2 * volume + inside)
    expected = (volume**2 + (total - volume) ** 2) / total
    modularity: NDArray[np.float64] = (within - expected) / (2 * total)
    return modularity
