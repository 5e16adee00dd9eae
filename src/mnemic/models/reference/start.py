"""The reference model before it was taught anything: a small Llama of random weights."""

from __future__ import annotations

from typing import Any

from mnemic.worlds import tokens

WINDOW = 512
LAYERS, HEADS, SHARED, HEAD = 4, 4, 2, 64  # query heads, key-value heads, channels of a head
WIDTH, INNER = 128, 256
BASE = 1e5  # of the rotary frequencies: the slowest pairs hardly turn within the window
SPREAD = 0.04  # standard deviation of the weights


def start(seed: int = 0) -> Any:
    """The model at step 0: a LlamaForCausalLM whose head is its embedding; weights from `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=tokens.VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=SHARED, head_dim=HEAD, max_position_embeddings=WINDOW,
        rope_parameters={"rope_type": "default", "rope_theta": BASE}, tie_word_embeddings=True,
        initializer_range=SPREAD, bos_token_id=tokens.START, eos_token_id=None, pad_token_id=tokens.PAD,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
