"""A second key for a short text: the sentence least like the whole.

People slip a fact into a turn about something else ("... by the way, I moved to Leeds last week"); the vector v
of the whole turn says what it is about and drowns the fact. Of the vectors s_j of its sentences one is kept
beside v, that of the sentence said in passing, and the record is found by the nearer of the two:

    second key = s_j with the least s_j . v

It costs one vector a record, and once more the time to embed, so long texts, which the embedder cuts into parts
anyway, keep only those.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnemic.segment.sentences import sentences
from mnemic.types import Embedder, Floats, Part

SHORT = 200  # words: a longer text gets no second key
LEAST = 3  # words of a sentence worth a key


class SecondKey:
    """`inner`, an `Embedder`, that gives short texts of several sentences a second key as their last part."""

    def __init__(self, inner: Embedder) -> None:
        self.name, self.dim = inner.name, inner.dim
        self.fingerprint = f"{inner.fingerprint}+second-key"
        self._inner = inner

    def encode(self, texts: Sequence[str]) -> Floats:
        """As `inner.encode`."""
        return self._inner.encode(texts)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """The parts `inner` gives, and after them the sentence least like all of them together."""
        cuts = [_sentences(text) for text in texts]
        said = [text[a:b] for text, some in zip(texts, cuts, strict=True) for a, b in some]
        found = self._inner.parts([*texts, *said])  # one pass of the model for both
        spoken = iter(found[len(texts) :])
        return [
            [*parts, *_passing(parts, [(cut, next(spoken)) for cut in some])]
            for parts, some in zip(found, cuts, strict=False)
        ]


def _sentences(text: str) -> list[tuple[int, int]]:
    """Characters of the sentences that may be a key; none of a long text or of a single sentence."""
    if len(text.split()) > SHORT:
        return []
    cuts = [(s.start, s.stop) for s in sentences(text) if len(text[s.start : s.stop].split()) >= LEAST]
    return cuts if len(cuts) > 1 else []


def _passing(parts: Sequence[Part], said: Sequence[tuple[tuple[int, int], Sequence[Part]]]) -> list[Part]:
    """The sentence with the least similarity to the sum of the parts, the earliest of equal ones.

    None where no sentence was given; one without any token is passed over.
    """
    whole = np.sum([part.vector for part in parts], axis=0)
    keys = []
    for (start, end), own in said:
        if own:
            vector: Floats = np.sum([part.vector for part in own], axis=0)
            keys.append(Part(start, end, vector / np.linalg.norm(vector)))
    return [min(keys, key=lambda key: float(key.vector @ whole))] if keys else []
