"""An embedder that needs no model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mnemic.index.words import terms
from mnemic.types import Floats, Part


class HashEmbedder:
    """Each stemmed word is a random direction, a text their normalised sum: near when words are shared."""

    def __init__(self, name: str = "hash", dim: int = 64) -> None:
        self.name = name
        self.dim = dim
        self.fingerprint = f"{name}:{dim}"

    def encode(self, texts: Sequence[str]) -> Floats:
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in terms(text) or [text]:
                seed = int.from_bytes(hashlib.sha256(f"{self.name} {word}".encode()).digest()[:8], "little")
                row += np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
            row /= np.linalg.norm(row)
        return out

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        return [[Part(0, len(text), row)] for text, row in zip(texts, self.encode(texts), strict=True)]
