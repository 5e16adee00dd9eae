"""The model this project ships: small, trained here, and really retrieving (see CARD.md beside this file).

Weights, configuration and tokenizer lie here as transformers saves them; `mnemic train-reference` made them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemic.types import MnemicError

FOLDER = Path(__file__).parent


def load(folder: Path = FOLDER) -> tuple[Any, Any]:
    """The model (LlamaForCausalLM, float32; stored in bfloat16) and its tokenizer.

    Raises:
        MnemicError: transformers is not installed.
    """
    try:
        import torch
        from transformers import AutoTokenizer, LlamaForCausalLM
    except ImportError:
        raise MnemicError("the reference model needs transformers: pip install 'mnemic[hf]'") from None
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)
