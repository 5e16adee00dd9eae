"""Recurrent layers as a Hugging Face causal model: generate(), save_pretrained(), a cache of fixed size.

The cache is the layers' states. It can be written to one file after reading a book and read on from later:

    model(book_ids).past_key_values.save("book.safetensors")
    model.generate(question_ids, past_key_values=RecurrentCache.load("book.safetensors"))

Where the ids given to `generate` begin with all that the cache has read (padded as it was), only the rest is
read, as in transformers; otherwise all of them are new. `RecurrentCache(cache.states)` takes any ids as new.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from mnemic import recipes
from mnemic.recurrent import build, names
from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.stack import Stack
from mnemic.recurrent.engine.state import State
from mnemic.recurrent.longmamba import Enlarged
from mnemic.types import MnemicError

TEXT = "text"
BASE = 6364136223846793005  # odd and large: no two texts that one meets have the same digest


class RecurrentConfig(PretrainedConfig):  # type: ignore[misc]
    """What the model is made of: `depth` blocks of the layer `layer`, built with `options`."""

    model_type = "mnemic-recurrent"
    attribute_map: ClassVar[dict[str, str]] = {"hidden_size": "dim", "num_hidden_layers": "depth"}

    def __init__(
        self, layer: str = "gated-delta-rule", vocab_size: int = 256, dim: int = 256, depth: int = 8,
        options: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.layer, self.vocab_size, self.dim, self.depth = layer, vocab_size, dim, depth
        self.options = {} if options is None else options
        super().__init__(**kwargs)


class RecurrentCache:
    """The states of all blocks, as `generate` hands them on.

    Attributes:
        text: which ids were read, as a count of columns and one number a row; None: not to be looked for in
            the ids given to `generate`, which are then all new.
    """

    is_compileable = False
    is_croppable = False

    def __init__(self, states: Sequence[State], text: State | None = None) -> None:
        self.states, self.text = list(states), text

    @property
    def nbytes(self) -> int:
        return sum(state.nbytes for state in self.states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns of ids that were read, padding among them."""
        return 0 if self.text is None else int(self.text.tensors["columns"].max())

    def begins(self, ids: Tensor, mask: Tensor | None) -> bool:
        """Whether the text read is how ids [batch, length] begin."""
        columns = self.get_seq_length()
        if self.text is None or ids.shape[1] < columns or (mask is not None and mask.shape != ids.shape):
            return False
        begin = told(None, ids[:, :columns], None if mask is None else mask[:, :columns])
        return torch.equal(begin.tensors["digest"], self.text.tensors["digest"])

    def rows(self, index: Tensor) -> RecurrentCache:
        """These rows of the batch, in this order."""
        text = None if self.text is None else self.text.rows(index)
        return RecurrentCache([state.rows(index) for state in self.states], text)

    def to(self, device: torch.device | str) -> RecurrentCache:
        text = None if self.text is None else self.text.to(device)
        return RecurrentCache([state.to(device) for state in self.states], text)

    def for_rows(self, ids: Tensor) -> RecurrentCache:
        """Every row n times, for ids [batch * n, length]: beams, or several questions about one text."""
        cache, held = self.to(ids.device), self.states[0].batch
        if ids.shape[0] == held or ids.shape[0] % held:
            return cache
        return cache.rows(torch.arange(held, device=ids.device).repeat_interleave(ids.shape[0] // held))

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order (beam search)."""
        kept = self.rows(rows)
        self.states, self.text = kept.states, kept.text

    def save(self, path: str | Path) -> None:
        """Write all states to one safetensors file."""
        parts = self.states if self.text is None else [*self.states, self.text]
        tensors = {f"{i}/{name}": t for i, part in enumerate(parts) for name, t in part.tensors.items()}
        State(",".join(part.layer for part in parts), tensors).save(path)

    @classmethod
    def load(cls, path: str | Path) -> RecurrentCache:
        """Read what `save` wrote.

        Raises:
            MnemicError: the file holds no states.
        """
        whole = State.load(path)
        layers = whole.layer.split(",")
        parts: list[dict[str, Tensor]] = [{} for _ in layers]
        for key, tensor in whole.tensors.items():
            part, _, name = key.partition("/")
            parts[int(part)][name] = tensor
        states = [State(layer, each) for layer, each in zip(layers, parts, strict=True)]
        return cls(states[:-1], states[-1]) if layers[-1] == TEXT else cls(states)


def told(text: State | None, ids: Tensor, mask: Tensor | None) -> State:
    """What was read after ids [batch, length] more: sum_t (id_t + 1) BASE^(n - t) mod 2^64, real tokens."""
    real = torch.ones_like(ids, dtype=torch.int64) if mask is None else mask.long()
    later = real.flip(1).cumsum(1).flip(1) - real
    powers = torch.cat([real.new_ones(1), real.new_full(ids.shape[1:], BASE).cumprod(0)])
    columns, digest = real.new_full(ids.shape[:1], ids.shape[1]), (real * (ids + 1) * powers[later]).sum(1)
    if text is not None:
        before = text.to(ids.device).tensors
        columns, digest = columns + before["columns"], digest + before["digest"] * powers[real.sum(1)]
    return State(TEXT, {"columns": columns, "digest": digest})


class RecurrentLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A causal language model of recurrent layers; `past_key_values` is a `RecurrentCache`.

    Raises:
        MnemicError: the config's layer is not a causal one.
    """

    config_class = RecurrentConfig
    base_model_prefix = "stack"
    _is_stateful = True
    _no_split_modules = ("Block",)

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        if config.layer in names("encoder") and not _causal(config.layer):
            raise MnemicError(
                f"{config.layer!r} is an encoder and sees what comes later: no language model is made of it; "
                f"build({config.layer!r}, dim) makes the layer, and causal ones are: {', '.join(names())}"
            )
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

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers; what layers were calibrated on is written to the config.

        Raises:
            ValueError: layers were calibrated on texts of different lengths.
        """
        layers = [block.layer for block in self.stack.blocks]
        trained = {layer.profile.shape[-1] for layer in layers if isinstance(layer, Enlarged)}
        if len(trained) > 1:
            raise ValueError(
                f"blocks were calibrated on texts of {sorted(trained)} tokens; calibrate all on one length"
            )
        if trained:
            self.config.options = self.config.options | {"trained": trained.pop()}
        super().save_pretrained(*args, **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: RecurrentCache | None = None,
        attention_mask: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """What `forward` is to read of the ids: those that the cache has not.

        Raises:
            ValueError: the cache has read all of them.
        """
        if past_key_values is not None and not is_first_iteration:
            input_ids = input_ids[:, -1:]
        elif past_key_values is not None:
            past_key_values = past_key_values.for_rows(input_ids)
            if past_key_values.begins(input_ids, attention_mask):
                input_ids = input_ids[:, past_key_values.get_seq_length() :]
            if not input_ids.shape[1]:
                raise ValueError("the cache has read all of these ids; give at least one more to go on from")
        if attention_mask is not None:
            attention_mask = attention_mask[:, -input_ids.shape[1] :]
        return {"input_ids": input_ids, "past_key_values": past_key_values, "attention_mask": attention_mask}

    def forward(
        self, input_ids: Tensor | None = None, past_key_values: RecurrentCache | None = None,
        attention_mask: Tensor | None = None, labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None, output_hidden_states: bool = False,
        num_items_in_batch: Tensor | int | None = None, **kwargs: Any,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        """Logits [batch, length, vocab] of the tokens given; labels (-100: ignored) are shifted here.

        Args:
            attention_mask: [batch, length], marks the real ones among these tokens; the cache has those before.
            inputs_embeds: [batch, length, dim] in place of ids.
            output_hidden_states: whether to return what goes into every block and, last, into the head.
            num_items_in_batch: what the sum of the losses is divided by; the labels here, if not given.

        Raises:
            ValueError: both ids and embeddings, or neither.
        """
        mask = None if attention_mask is None else attention_mask.bool()
        past = RecurrentCache([]) if past_key_values is None else past_key_values
        if input_ids is not None and inputs_embeds is None:
            x = self.stack.embed(input_ids)
        elif inputs_embeds is not None and input_ids is None:
            x = inputs_embeds
        else:
            raise ValueError("give either input_ids or inputs_embeds")
        between: list[Tensor] | None = [] if output_hidden_states else None
        hidden, states = self.stack.read(x, past.states or None, mask, between)
        text = None if input_ids is None else told(past.text, input_ids, mask)
        logits, loss = self.stack.logits(hidden), None
        if labels is not None:
            said, wanted = logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten()
            loss = F.cross_entropy(said, wanted, reduction="mean" if num_items_in_batch is None else "sum")
            loss = loss if num_items_in_batch is None else loss / num_items_in_batch
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=RecurrentCache(states, text),
            hidden_states=None if between is None else (*between, hidden),
        )  # fmt: skip


def _causal(name: str) -> bool:
    """Whether what is listed as an encoder is a causal layer too, to begin from what it read ahead (JRT)."""
    made = get_type_hints(recipes.load("recurrent", name).layer)["return"]
    return issubclass(made, Layer)
