"""Recurrent layers as a Hugging Face causal model: generate(), save_pretrained(), a cache of fixed size.

The cache is the layers' states. It can be written to one file after reading a book and read on from later.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from mnemic.recurrent import build
from mnemic.recurrent.engine.stack import Stack
from mnemic.recurrent.engine.state import State


class RecurrentConfig(PretrainedConfig):  # type: ignore[misc]
    """What the model is made of: `depth` blocks of the layer `layer`, built with `options`."""

    model_type = "mnemic-recurrent"

    def __init__(
        self, layer: str = "gated-delta-rule", vocab_size: int = 256, dim: int = 256, depth: int = 8,
        options: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.layer, self.vocab_size, self.dim, self.depth = layer, vocab_size, dim, depth
        self.options = {} if options is None else options
        super().__init__(**kwargs)


class RecurrentCache:
    """The states of all blocks, as `generate` hands them on."""

    is_compileable = False

    def __init__(self, states: Sequence[State]) -> None:
        self.states = list(states)

    @property
    def nbytes(self) -> int:
        return sum(state.nbytes for state in self.states)

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order (beam search)."""
        self.states = [state.rows(rows) for state in self.states]

    def save(self, path: str | Path) -> None:
        """Write all states to one safetensors file."""
        tensors = {f"{i}/{name}": t for i, state in enumerate(self.states) for name, t in state.tensors.items()}
        State(",".join(state.layer for state in self.states), tensors).save(path)

    @classmethod
    def load(cls, path: str | Path) -> RecurrentCache:
        """Read what `save` wrote.

        Raises:
            MnemicError: the file holds no states.
        """
        whole = State.load(path)
        blocks: list[dict[str, Tensor]] = [{} for _ in whole.layer.split(",")]
        for key, tensor in whole.tensors.items():
            block, _, name = key.partition("/")
            blocks[int(block)][name] = tensor
        return cls([State(layer, each) for layer, each in zip(whole.layer.split(","), blocks, strict=True)])


class RecurrentLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A causal language model of recurrent layers; `past_key_values` is a `RecurrentCache`."""

    config_class = RecurrentConfig
    base_model_prefix = "stack"
    _is_stateful = True
    _no_split_modules = ("Block",)

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        layers = [build(config.layer, config.dim, **config.options) for _ in range(config.depth)]
        self.stack = Stack(config.vocab_size, layers)
        self.all_tied_weights_keys: dict[str, str] = {}

    def _init_weights(self, module: Any) -> None:
        """Layers are built with their own initial weights."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.stack.embed

    def set_input_embeddings(self, value: Any) -> None:
        self.stack.embed = value

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: RecurrentCache | None = None,
        attention_mask: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any,
    ) -> dict[str, Any]:  # fmt: skip
        if past_key_values is not None and not is_first_iteration:
            input_ids = input_ids[:, -1:]
        if attention_mask is not None:
            attention_mask = attention_mask[:, -input_ids.shape[1] :]
        return {"input_ids": input_ids, "past_key_values": past_key_values, "attention_mask": attention_mask}

    def forward(
        self, input_ids: Tensor, past_key_values: RecurrentCache | None = None,
        attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        """Logits [batch, length, vocab] of the tokens given; labels (-100: ignored) are shifted here.

        `attention_mask` [batch, length] marks the real ones among these tokens; the cache holds those before.
        """
        mask = None if attention_mask is None else attention_mask.bool()
        states = None if past_key_values is None else past_key_values.states
        logits, states = self.stack(input_ids, states, mask)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=RecurrentCache(states))
