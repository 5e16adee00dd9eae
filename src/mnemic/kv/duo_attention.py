"""Half of the heads keep everything, the others sinks and a window: which, is learned on passkeys.

    out  = alpha·attention over all + (1 - alpha)·attention over sinks and window     one alpha in [0, 1] a head
    loss = mean (h - h_all)² over the last hidden states that answers come from + penalty·mean |alpha|
    retrieval heads = those of alpha above its `sparsity` quantile, over all layers

The model stays as it is; only the gates learn, from 1 on, when it is attached, or they are read from a file
that `save_gates` wrote. A key-value head and the query heads that share it have one gate. `over` says how
retrieval heads keep everything ("duo-attention over kivi": in two bits). (Paper 51.)

Departs from the paper: passkeys are the facts of `mnemic.worlds.tokens`, in a text no longer than the model was
trained on; for another vocabulary each of its tokens stands for one drawn at random.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from mnemic.kv.heads import Headwise, highest
from mnemic.types import Claim, MnemicError
from mnemic.worlds import tokens

PAPER = 51
CLAIM = Claim(
    says="heads whose learned gates ask for it keep everything and recall more than a window in all of them",
    task="kv_claims",
    method="duo-attention 50%",
    baseline="streaming 50%",
    sabotage="duo-attention 50%, scrambled",
    metric="needle",
    budget="half of the full cache's bytes",
)
_GATED = "mnemic-gated"


@dataclass(frozen=True, kw_only=True)
class DuoAttention(Headwise):
    """Gates learned head by head.

    Attributes:
        sparsity: share of heads that keep sinks and a window only.
        gates: a file of gates; None: they are learned when attached.
        steps, rate, penalty, length, passkeys, seed: of learning them (see `learn_gates`).
    """

    sinks: int = 128
    sparsity: float = 0.5
    gates: str | None = None
    steps: int = 200
    rate: float = 0.02
    penalty: float = 0.05
    length: int = 1024
    passkeys: int = 10
    seed: int = 0

    def prepared(self, model: Any) -> DuoAttention:
        if self.retrieval is not None:
            return self
        if self.gates is not None:
            gates = load_gates(self.gates, model)
        else:
            logging.getLogger("mnemic").info("learning which heads retrieve, in %d steps", self.steps)
            gates = learn_gates(
                model, sinks=self.sinks, local=self.local, steps=self.steps, rate=self.rate,
                penalty=self.penalty, length=self.length, passkeys=self.passkeys, seed=self.seed,
            )  # fmt: skip
        return replace(self, retrieval=tuple(sorted(highest(gates, 1 - self.sparsity))))


def learn_gates(
    model: Any, *, sinks: int = 128, local: int = 256, steps: int = 200, rate: float = 0.02,
    penalty: float = 0.05, length: int = 1024, passkeys: int = 10, seed: int = 0,
) -> Tensor:  # fmt: skip
    """How much each head needs what is far away [layers, key-value heads], in [0, 1].

    Args:
        sinks, local: tokens of the short attention; local is at most a quarter of the text, so that passkeys
            lie beyond it.
        steps, rate, penalty: of Adam, and the weight of mean |alpha| in the loss.
        length, passkeys: tokens of a text and facts told and asked in it; the text is no longer than the model
            was trained on.
        seed: of the texts.
    """
    config = model.config.get_text_config(decoder=True)
    length = min(length, config.max_position_embeddings)
    passkeys, local, sinks = min(passkeys, length // 8), min(local, length // 4), min(sinks, length // 8)
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    rng = np.random.default_rng(seed)
    meaning = np.arange(tokens.VOCABULARY)
    if config.vocab_size != tokens.VOCABULARY:
        meaning = rng.permutation(np.resize(rng.permutation(config.vocab_size), tokens.VOCABULARY))
    with torch.inference_mode(False), torch.enable_grad(), _gated(model, sinks, local) as state:
        gates = torch.ones(config.num_hidden_layers, groups, device=model.device, requires_grad=True)
        adam = torch.optim.Adam([gates], lr=rate)
        for _ in range(steps):
            page = tokens.needle(rng, length, passkeys, distractors=0)
            ids = torch.from_numpy(meaning[page.ids])[None].to(model.device)
            before = torch.from_numpy(np.flatnonzero(page.answer) - 1)
            with torch.no_grad():
                state["gates"] = torch.ones_like(gates)
                every = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, before].float()
            state["gates"] = gates
            found = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, before].float()
            loss = (found - every).square().mean() + penalty * gates.abs().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                gates.clamp_(0, 1)
    return gates.detach().cpu()


@contextmanager
def _gated(model: Any, sinks: int, local: int) -> Iterator[dict[str, Tensor]]:
    """The model, frozen, with its heads between all and sinks and window, as far as the yielded gates say."""
    state: dict[str, Tensor] = {}

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        share, n = query.shape[1] // key.shape[1], key.shape[2]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        logits = (query @ key.transpose(2, 3) * scale + mask).float()
        at = torch.arange(n, device=query.device)
        far = (at[:, None] - at >= local) & (at >= sinks)
        alpha = state["gates"][module.layer_idx].repeat_interleave(share)[:, None, None]
        weights = alpha * logits.softmax(-1) + (1 - alpha) * logits.masked_fill(far, -torch.inf).softmax(-1)
        return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register(_GATED, attention)
    AttentionMaskInterface.register(_GATED, eager_mask)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = model.config._attn_implementation
    model.set_attn_implementation(_GATED)
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield state
    finally:
        model.set_attn_implementation(before)
        for parameter in learning:
            parameter.requires_grad_(True)


def save_gates(gates: Tensor, path: str | Path) -> None:
    """Write gates [layers, heads] as JSON."""
    Path(path).write_text(json.dumps([[round(float(gate), 4) for gate in layer] for layer in gates]) + "\n")


def load_gates(path: str | Path, model: Any) -> Tensor:
    """The gates of that file.

    Raises:
        MnemicError: it cannot be read, or holds gates of a model of another shape.
    """
    config = model.config.get_text_config(decoder=True)
    shape = (
        config.num_hidden_layers,
        getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
    )
    try:
        gates = torch.tensor(json.loads(Path(path).read_text()), dtype=torch.float32)
    except (OSError, ValueError, TypeError) as error:
        raise MnemicError(
            f"{path} cannot be read as gates: {error}; learn_gates and save_gates write it"
        ) from error
    if gates.shape != shape:
        raise MnemicError(
            f"{path} holds gates of {list(gates.shape)} layers and heads, this model has {list(shape)}; "
            "learn them for this model"
        )
    return gates
