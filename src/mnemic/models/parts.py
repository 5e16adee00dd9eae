"""Long texts in parts: where to cut them, and one vector out of several."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mnemic.types import Floats

_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？]|\n\s*\n""")


def cuts(text: str, starts: Sequence[int], words: Sequence[int | None], room: int) -> list[int]:
    """Token positions [0, ..., n] between which `text` falls into parts of at most `room` tokens.

    A part ends with the last sentence that fills at least half of it, else with a word, else where it is full.

    Args:
        starts: [n] the character every token starts at.
        words: [n] the number of the word it belongs to.
    """
    positions = [0]
    sentences: Sequence[int] = ()
    if len(starts) > room:
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        sentences = np.searchsorted(np.asarray(starts), ends).tolist()
    while len(starts) - positions[-1] > room:
        first, full = positions[-1], positions[-1] + room
        at = sentences[i - 1] if (i := int(np.searchsorted(sentences, full, "right"))) else 0
        if at < first + room // 2:
            at = full
            while at > first and words[at] == words[at - 1]:
                at -= 1
        positions.append(at if at > first else full)
    if len(starts):
        positions.append(len(starts))
    return positions


def mean_by_tokens(vectors: Floats, sizes: Sequence[Sequence[int]]) -> Floats:
    """[n, dim] unit rows: the vectors of the parts of each text, weighted by their tokens.

    Args:
        vectors: [sum of len(sizes[i]), dim] the parts' vectors, text after text.
        sizes: tokens of every part of every text; every text has at least one part.
    """
    counts = [len(parts) for parts in sizes]
    if all(count == 1 for count in counts):
        return vectors
    weights = np.array([size for parts in sizes for size in parts], np.float32)
    first = np.cumsum([0, *counts[:-1]])
    sums: Floats = np.add.reduceat(vectors * weights[:, None], first, axis=0)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    return sums
