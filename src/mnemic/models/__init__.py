"""Embedders and language models: the ones this project ships or speaks to, behind two small contracts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mnemic.types import Embedder, LanguageModel

__all__ = ["load_llama2c", "load_reference", "open_embedder", "open_language_model"]


def open_embedder(name: str | Path | None = "default") -> Embedder | None:
    """The embedder called `name`; None gives none: words alone.

    "default" is all-MiniLM-L6-v2, offline, which imports nothing heavy before its first text; every other name
    or folder is a sentence-transformers model.

    Raises:
        MnemicError: it is not installed or does not load.
    """
    if name is None:
        return None
    if name in ("default", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        from mnemic.models.minilm import MiniLM

        return MiniLM()
    from mnemic.models.sentence import SentenceEmbedder

    return SentenceEmbedder(name)


def open_language_model(spec: str | Path | None = None) -> LanguageModel | None:
    """The language model at `spec`: a folder with a Hugging Face causal model, or an address "http://.../v1".

    None asks the environment: the server of OPENAI_BASE_URL if that is set, else no model.

    Raises:
        MnemicError: it is not installed, does not load, or lacks its name (OPENAI_MODEL).
    """
    address = str(spec).startswith(("http://", "https://"))
    if address or (spec is None and os.environ.get("OPENAI_BASE_URL")):
        from mnemic.models.openai import OpenAIModel

        return OpenAIModel(str(spec) if spec else None)
    if spec is None:
        return None
    from mnemic.models.hf import HuggingFaceModel

    return HuggingFaceModel(spec)


def load_reference() -> tuple[Any, Any]:
    """The model this project ships and its tokenizer (`mnemic.models.reference`); both of transformers.

    Raises:
        MnemicError: transformers is not installed.
    """
    from mnemic.models import reference

    return reference.load()


def load_llama2c(folder: str | Path) -> tuple[Any, Any]:
    """A Llama in the llama2.c format and its tokenizer (`mnemic.models.llama2c`); both of transformers.

    Raises:
        MnemicError: the folder holds none.
    """
    from mnemic.models import llama2c

    return llama2c.load_llama2c(folder)
