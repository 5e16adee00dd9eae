"""Any sentence-transformers model as an embedder, by name or folder (needs the extra `sentence`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.models.parts import cuts, mean_by_tokens
from mnemic.types import Floats, MnemicError, Part


class SentenceEmbedder:
    """A sentence-transformers model; texts longer than it reads are split as the default embedder splits them.

    Raises:
        MnemicError: sentence-transformers is not installed, or it cannot load the model.
    """

    def __init__(self, name: str | Path) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MnemicError(
                f"the embedder {str(name)!r} needs sentence-transformers: pip install 'mnemic[sentence]'"
            ) from None
        try:
            self._model = SentenceTransformer(str(name))
        except Exception as error:  # whatever a foreign model's loading raises
            raise MnemicError(
                f"no sentence-transformers model could be loaded from {str(name)!r}: {error}"
            ) from error
        self.name = str(name)
        self.dim = int(self._model.get_embedding_dimension())
        self.fingerprint = f"{Path(name).name}@{_digest(self._model)}"
        self._room = self._limit()

    def _limit(self) -> int | None:
        """Tokens of text the model reads at once; None if it reads any number."""
        if self._model.max_seq_length is None:
            return None
        tokenizer = self._model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise MnemicError(
                f"the tokenizer of {self.name!r} does not say where its tokens lie in the text, so long texts "
                "could not be split; choose a model with a fast tokenizer"
            )
        return int(self._model.max_seq_length) - int(tokenizer.num_special_tokens_to_add())

    def encode(self, texts: Sequence[str]) -> Floats:
        """[n, dim] unit rows, in order; a text of several parts is their mean by tokens, normalised."""
        split = [self._split(text) for text in texts]
        spans = [list(pairwise(borders)) for borders, _ in split]
        return mean_by_tokens(self._vectors(texts, spans), [sizes for _, sizes in split])

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """The parts of each text, which tile its characters; a text of spaces only has none."""
        spans = [list(pairwise(self._split(text)[0])) if text.strip() else [] for text in texts]
        vectors = iter(self._vectors(texts, spans))
        return [[Part(a, b, next(vectors)) for a, b in own] for own in spans]

    def _split(self, text: str) -> tuple[list[int], list[int]]:
        """The characters at which parts begin and the last one ends, and the tokens of each part."""
        if self._room is None:
            return [0, len(text)], [1]
        found = self._model.tokenizer(
            text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False
        )
        starts = [start for start, _ in found["offset_mapping"]]
        positions = cuts(text, starts, found.word_ids(), self._room)
        if len(positions) <= 2:
            return [0, len(text)], [max(len(starts), 1)]
        return [0, *(starts[at] for at in positions[1:-1]), len(text)], [b - a for a, b in pairwise(positions)]

    def _vectors(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> Floats:
        pieces = [text[a:b] for text, own in zip(texts, spans, strict=True) for a, b in own]
        vectors = self._model.encode(pieces, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32).reshape(len(pieces), self.dim)


def _digest(model: Any) -> str:
    """16 hex digits over every weight, and over what else decides a vector."""
    digest = hashlib.sha256(f"{model.max_seq_length}{model.prompts}{model.default_prompt_name}{model}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
