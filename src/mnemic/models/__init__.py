"""Embedders and language models: the ones this project ships or speaks to, behind two small contracts."""

from __future__ import annotations

from pathlib import Path

from mnemic.types import Embedder


def open_embedder(name: str | Path | None = "default") -> Embedder | None:
    """The embedder called `name`: "default" (all-MiniLM-L6-v2, offline) or None (no vectors).

    Nothing heavy is imported before the first text is encoded.

    Raises:
        MnemicError: it is not installed.
        ValueError: no embedder has this name.
    """
    if name is None:
        return None
    if name in ("default", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        from mnemic.models.minilm import MiniLM

        return MiniLM()
    raise ValueError(f"no embedder is called {name!r}; use 'default' or None")
