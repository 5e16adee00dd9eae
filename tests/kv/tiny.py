"""Tiny randomly initialised models of the architectures that caches are tested on."""

from __future__ import annotations

from typing import Any

import torch

VOCABULARY = 61
_MIXED = ("full_attention", "sliding_attention")


def build(name: str, **changes: Any) -> Any:
    import transformers as t

    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None,
    }  # fmt: skip
    configs = {
        "llama": lambda: t.LlamaConfig(**shape | changes),
        "mistral": lambda: t.MistralConfig(**shape | {"sliding_window": 24} | changes),
        "qwen3": lambda: t.Qwen3Config(**shape | changes),
        "gemma3": lambda: t.Gemma3TextConfig(
            **shape | {"sliding_window": 24, "layer_types": ["sliding_attention", *_MIXED]}
            | {"query_pre_attn_scalar": 8} | changes
        ),
        "phi3": lambda: t.Phi3Config(
            **{k: v for k, v in shape.items() if k != "head_dim"}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}
            | changes
        ),
        "gpt-neox": lambda: t.GPTNeoXConfig(
            **{k: v for k, v in shape.items() if k not in ("num_key_value_heads", "head_dim")} | changes
        ),
    }  # fmt: skip
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(configs[name](), attn_implementation="eager").eval()
    with torch.no_grad():  # sharper than initialisation leaves it, so that a wrong position or slot shows
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    return model


ARCHITECTURES = ("llama", "mistral", "qwen3", "gemma3", "phi3", "gpt-neox")


def ids(rows: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, count), generator=torch.Generator().manual_seed(seed))


# what makes a method's first look at a model quick
QUICK: dict[str, dict[str, Any]] = {"duo-attention": {"steps": 2, "length": 64}}
_SMALL = {
    "recent": 4,
    "sinks": 4,
    "chosen": 2,
    "local": 20,
    "residual": 16,
    "block": 8,
    "middle": 8,
    "room": 16,
    "exact": 0,
    "lookahead": 2,
}


def quick(method: str) -> dict[str, Any]:
    return QUICK.get(method.partition(" over ")[0], {})


def small(method: str) -> dict[str, Any]:
    """Hyper-parameters for texts of a hundred tokens."""
    from mnemic import kv

    return {k: v for k, v in _SMALL.items() if hasattr(kv.policy(method), k)} | quick(method)
