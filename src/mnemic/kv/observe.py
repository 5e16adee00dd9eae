"""What a cache cannot see reaches its policy: the tokens, and how well the model saw each of them coming.

    surprise of token t = -log p(x_t | x_<t) = logsumexp(W h_{t-1}) - (W h_{t-1})[x_t]

h_{t-1} is the last hidden state of the real token before t, W the model's own head, applied to a few tokens at
a time so that logits are never there all at once. The first token of a text, and padding, have none: NaN.

Hidden states exist only when all layers have run. A policy that observes is therefore fed the text in its own
blocks: two hooks on the model without its head split what comes at the ends of blocks, and after each piece its
stores are told what was observed, and only then asked to settle. So a whole block has been observed when it is
decided what of it stays, and how the text was cut into chunks never shows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnemic.types import MnemicError

_LOGITS = 1 << 22  # logits at a time: bounds what the head needs


@dataclass(frozen=True)
class Observed:
    """What one piece of the text was, for the stores that have just kept it.

    Attributes:
        ids: its tokens [b, q].
        real: which of them are no padding [b, q].
        before: the hidden state each is predicted from [b, q, d]; NaN where there is none.
        model: whose head predicts.
    """

    ids: Tensor
    real: Tensor
    before: Tensor
    model: Any

    @cached_property
    def surprise(self) -> Tensor:
        """-log p of each token [b, q], float32; NaN for padding and the first token of a text."""
        before, ids = self.before.flatten(0, 1), self.ids.flatten()
        step = max(1, _LOGITS // self.model.get_output_embeddings().weight.shape[0])
        found = []
        for start in range(0, len(ids), step):
            logits = head(self.model, before[start : start + step]).float()
            told = logits.gather(1, ids[start : start + step, None])[:, 0]
            found.append(logits.logsumexp(1) - told)
        return torch.cat(found).view_as(self.ids).masked_fill(~self.real, torch.nan)


class Trail:
    """The hidden states of the running block, each where a token is, and the last one before it.

    Attributes:
        states: [b, 1 + tokens of the running block, d], after each column the state of its last real token.
    """

    def __init__(self) -> None:
        self.states: Tensor | None = None

    def follow(self, hidden: Tensor, real: Tensor) -> Tensor:
        """The state before each token of the next piece [b, q, d]; hidden [b, q, d], real [b, q]."""
        if self.states is None:
            self.states = torch.full_like(hidden[:, :1], torch.nan)
        states = torch.cat((self.states[:, -1:], hidden), 1)
        column = torch.arange(1, states.shape[1], device=hidden.device)
        last = torch.where(real, column, 0).cummax(1).values  # of the real tokens up to each column
        after = states.gather(1, last[..., None].expand_as(hidden))
        before = torch.cat((states[:, :1], after[:, :-1]), 1)
        self.states = torch.cat((self.states, after), 1)
        return before

    def settle(self) -> None:
        """A block is over: only its last state is needed."""
        if self.states is not None:
            self.states = self.states[:, -1:].clone()

    def crop(self, count: int, seen: int) -> None:
        """Forget the last `count` of `seen` tokens.

        Raises:
            MnemicError: the block before the running one was already settled by what was observed of it.
        """
        if self.states is None or count == seen:
            self.states = None
        elif count < self.states.shape[1]:
            self.states = self.states[:, : self.states.shape[1] - count].clone()
        else:
            raise MnemicError(
                f"cannot go back {count} tokens from {seen}: this method has settled all but the last "
                f"{self.states.shape[1] - 1} by what was observed of them; read the text again up to there"
            )


def head(model: Any, hidden: Tensor) -> Tensor:
    """The model's logits of hidden states [..., d], with what its configuration does to them."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    config = model.config.get_text_config(decoder=True)
    if getattr(config, "logit_scale", None):
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None):
        logits = logits / config.logits_scaling
    if getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
    return logits


@torch.inference_mode()
def check_head(model: Any) -> None:
    """Whether `head` is what the model itself does.

    Raises:
        MnemicError: it is not, so surprise would be wrong.
    """
    probe = torch.tensor([[1, 2, 3]], device=model.get_output_embeddings().weight.device)
    hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
    expected = model(input_ids=probe, use_cache=False).logits
    ours = head(model, hidden)
    if ours.shape != expected.shape or not torch.allclose(ours, expected, rtol=1e-2, atol=1e-2):
        raise MnemicError(
            f"{type(model).__name__} makes its logits in a way this does not know, so surprise would be wrong; "
            "choose a method that does not observe the text, such as infllm or quest"
        )


def install(model: Any) -> list[Any]:
    """The two hooks on the model without its head; `remove()` each to undo."""
    base = model.base_model
    return [
        base.register_forward_pre_hook(_split, with_kwargs=True),
        base.register_forward_hook(_join, with_kwargs=True),
    ]


def _observing(kwargs: dict[str, Any]) -> Any:
    """The cache of this pass where it is one of ours that is fed in its own blocks, else None."""
    cache = kwargs.get("past_key_values")
    return cache if getattr(getattr(cache, "policy", None), "blockwise", False) else None


def _split(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run all but the last piece of what comes; the pass goes on with that."""
    kwargs = inspect.signature(module.forward).bind_partial(*args).arguments | kwargs
    cache = _observing(kwargs)
    if cache is None:
        return None
    ids = kwargs.get("input_ids")
    if ids is None:
        raise MnemicError(
            f"{type(cache.policy).__name__} reads a text in blocks of tokens and was given none; "
            "give the model input_ids, not inputs_embeds"
        )
    mask = kwargs.get("attention_mask")
    seen, count, block = cache.get_seq_length(), ids.shape[1], cache.policy.block
    ends = [*range(block - seen % block, count, block), count]
    before, start = [], 0
    for stop in ends:
        piece = kwargs | {"input_ids": ids[:, start:stop]}
        for name in ("position_ids", "cache_position"):
            if kwargs.get(name) is not None:
                piece[name] = kwargs[name][..., start:stop]
        if isinstance(mask, Tensor) and mask.ndim == 2:
            piece["attention_mask"] = mask[:, : mask.shape[1] - count + stop]
        if stop == count:
            break
        hidden = module.forward(**piece)[0]
        cache.observe(piece["input_ids"], hidden, piece.get("attention_mask"), piece.get("position_ids"))
        before.append(hidden)
        start = stop
    cache.before = before
    return (), piece


def _join(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Observe the last piece and give back the hidden states of all."""
    cache = _observing(kwargs)
    if cache is None:
        return None
    if cache.before and len(output) > 2:
        raise MnemicError(
            f"{type(cache.policy).__name__} reads a text in blocks and cannot hand out the hidden states of "
            "all layers, or attentions; leave output_hidden_states and output_attentions out"
        )
    cache.observe(kwargs["input_ids"], output[0], kwargs.get("attention_mask"), kwargs.get("position_ids"))
    if not cache.before:
        return None
    hidden = torch.cat((*cache.before, output[0]), 1)
    cache.before = []
    if isinstance(output, tuple):
        return hidden, *output[1:]
    output.last_hidden_state = hidden
    return output
