"""A key for every sentence of a short text, beside the key of the whole.

People slip a fact into a turn about something else ("... by the way, I moved to Leeds last week"); the vector
of the whole turn says what it is about and drowns the fact. With a vector per sentence beside it, a record is
found by the best of them. It costs a vector per sentence and once more the time to embed, so long texts, which
`inner` cuts into parts anyway, keep only those.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mnemic.segment.sentences import sentences
from mnemic.types import Embedder, Floats, Part

SHORT = 200  # words: longer texts get no sentence keys
LEAST = 3  # words of a sentence worth a key


class SentenceKeys:
    """`inner`, an `Embedder`, whose parts of a short text of several sentences are also its sentences."""

    def __init__(self, inner: Embedder) -> None:
        self.name, self.dim = inner.name, inner.dim
        self.fingerprint = f"{inner.fingerprint}+sentences"
        self._inner = inner

    def encode(self, texts: Sequence[str]) -> Floats:
        """As `inner.encode`."""
        return self._inner.encode(texts)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """The parts `inner` gives, then one per sentence of at least `LEAST` words."""
        found = [_sentences(text) for text in texts]
        said = [text[a:b] for text, cuts in zip(texts, found, strict=True) for a, b in cuts]
        vectors = iter(self._inner.encode(said)) if said else iter(())
        keys = [[Part(a, b, next(vectors)) for a, b in cuts] for cuts in found]
        return [list(chain(*both)) for both in zip(self._inner.parts(texts), keys, strict=True)]


def _sentences(text: str) -> list[tuple[int, int]]:
    """Characters of the sentences that get a key; none of a long text or of a single sentence."""
    if len(text.split()) > SHORT:
        return []
    cuts = [(s.start, s.stop) for s in sentences(text) if len(text[s.start : s.stop].split()) >= LEAST]
    return cuts if len(cuts) > 1 else []
