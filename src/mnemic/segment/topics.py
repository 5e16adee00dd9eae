"""Topics: a stream is cut where what comes is about something else than what was.

Structural segmentation as topical change detection (paper 30) decides at every gap, on its own, whether the
blocks on its two sides share a topic. There a fine-tuned classifier decides; here, without training, the cosine
of the mean embeddings of the two blocks: a gap is a boundary where that similarity is a valley, deep against
the hills on both sides (Hearst's depth) by the mean plus `gamma` deviations of all depths.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnemic.types import Claim, Floats, Span, Stream

PAPER = 30

CLAIM = Claim(
    says="cuts where neighbouring blocks differ find where one text ends better than cuts at equal distances",
    task="segment",
    method="topics",
    baseline="topics, even",
    sabotage="topics, shuffled",
    metric="f1",
    budget="as many cuts",
)


@dataclass(frozen=True, slots=True)
class Topics:
    """Cuts a stream with embeddings by topic.

    Attributes:
        block: items compared on each side of a gap; gamma: deviations above the mean depth that make a cut.
        shortest: items of a topic.
    """

    block: int = 4
    gamma: float = 0.5
    shortest: int = 2

    def __call__(self, stream: Stream) -> list[Span]:
        """The topics, tiling the stream.

        Raises:
            ValueError: the stream has no embeddings.
        """
        n = len(stream)
        if n == 0:
            return []
        if stream.embeddings is None:
            raise ValueError("topics need a stream with embeddings; this one has none")
        depth = depths(coherence(stream.embeddings, self.block))
        cuts: list[int] = []
        if depth.size and depth.max() > 0:
            enough = depth.mean() + self.gamma * depth.std()
            for gap in np.argsort(-depth, kind="stable"):  # the deepest first
                cut = int(gap) + 1
                if depth[gap] <= enough:
                    break
                if all(abs(cut - other) >= self.shortest for other in (0, n, *cuts)):
                    cuts.append(cut)
        return [Span(start, stop) for start, stop in pairwise([0, *sorted(cuts), n])]


def coherence(embeddings: Floats, block: int) -> NDArray[np.float64]:
    """[n - 1] cosine of the means of the up to `block` items on both sides of each gap."""
    n = len(embeddings)
    sums = np.concatenate((np.zeros((1, embeddings.shape[1])), embeddings.cumsum(axis=0, dtype=np.float64)))
    gap = np.arange(1, n)
    before = sums[gap] - sums[np.maximum(0, gap - block)]
    after = sums[np.minimum(n, gap + block)] - sums[gap]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines: NDArray[np.float64] = (before * after).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines


def depths(coherence: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] how far each gap lies below the nearest hills: (left peak - value) + (right peak - value)."""

    def climb(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The height one reaches from each place by walking left as long as it does not go down."""
        peak = values.copy()
        for i in range(1, len(values)):
            peak[i] = peak[i - 1] if values[i - 1] >= values[i] else values[i]
        return peak

    return climb(coherence) + climb(coherence[::-1])[::-1] - 2 * coherence
