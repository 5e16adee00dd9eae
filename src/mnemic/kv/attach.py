"""Gives a transformers model a bounded memory, reads texts into it, generates from it."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import get_layer_types_and_kwargs

from mnemic import recipes
from mnemic.kv.cache import ATTENTION, MemoryCache, register
from mnemic.kv.observe import install
from mnemic.kv.policy import Policy, parse_bytes
from mnemic.types import MnemicError

_KINDS = ("full_attention", "sliding_attention")


def policy(method: str, **options: Any) -> Policy:
    """The method of that name with these hyper-parameters; the others keep their paper's values.

    "duo-attention over kivi" is the first method built over the second, where the first says what it is built
    over (a field `over`); the hyper-parameters are the first one's.

    Raises:
        MnemicError: no such method.
        TypeError: it has no such hyper-parameter.
    """
    method, _, under = method.partition(" over ")
    if under:
        options["over"] = policy(under)
    options = {k: policy(**v) if isinstance(v, dict) and "method" in v else v for k, v in options.items()}
    module = recipes.load("kv", method)
    for item in vars(module).values():
        if isinstance(item, type) and issubclass(item, Policy) and item.__module__ == module.__name__:
            made: Policy = item(**options)
            return made
    raise MnemicError(
        f"{method!r} is no method for a cache that a model can be attached with; {module.__name__} "
        "is used in a way of its own, which it shows"
    )


def described(chosen: Policy) -> dict[str, Any]:
    """What `policy` makes this policy of again, as plain data."""
    plain = {
        field.name: described(value) if isinstance(value := getattr(chosen, field.name), Policy) else value
        for field in dataclasses.fields(chosen)
    }
    return {"method": type(chosen).__module__.rpartition(".")[2].replace("_", "-"), **plain}


def attach(model: Any, method: str | Policy, *, budget: int | str | None = None, **options: Any) -> MemoryCache:
    """A cache for this model, and the model set to read through it; attaching again replaces the method.

    Args:
        model: a causal language model of transformers whose attention goes through its attention interface.
        method: the name of a method ("streaming"; `mnemic methods kv` lists them), or a policy made of one.
        budget: what the whole cache may own: bytes, or "64MiB"; None for no limit.
        options: hyper-parameters of the method.

    Raises:
        MnemicError: a model or method this cannot work with (a budget too small shows at first use).
        ValueError: a budget that is no amount of memory.
    """
    if isinstance(method, Policy) and options:
        raise TypeError("options belong to a method given by name; make the policy with them instead")
    chosen = method if isinstance(method, Policy) else policy(method, **options)
    if getattr(model.config, "is_encoder_decoder", False):
        raise MnemicError(
            f"{type(model).__name__} is an encoder-decoder; only decoders read through a bounded cache"
        )
    if not model._can_set_attn_implementation():
        raise MnemicError(
            f"{type(model).__name__} does not call attention through transformers' interface, "
            "so its cache cannot be replaced; use one that does (Llama, Mistral, Qwen, Gemma, Phi, GPT-NeoX, "
            "most newer ones)"
        )
    config = model.config.get_text_config(decoder=True)
    kinds, settings = get_layer_types_and_kwargs(config)
    for kind in kinds:
        if kind not in _KINDS:
            raise MnemicError(
                f"{type(model).__name__} has a layer of type {kind!r}; supported: {', '.join(_KINDS)}"
            )
    chosen = chosen.prepared(model)
    register()
    if config._attn_implementation != ATTENTION:
        model._before_mnemic = model.config._attn_implementation
        model.set_attn_implementation(ATTENTION)
        model._mnemic_hooks = install(model)
    windows = [setting.get("sliding_window") for setting in settings]
    return MemoryCache(
        model, chosen, None if budget is None else parse_bytes(budget), zip(windows, kinds, strict=True)
    )


def detach(model: Any) -> None:
    """The model as it was before `attach`; its caches can no longer be used.

    Raises:
        MnemicError: it is not attached.
    """
    if not hasattr(model, "_before_mnemic"):
        raise MnemicError(f"this {type(model).__name__} is not attached")
    model.set_attn_implementation(model._before_mnemic)
    for hook in model._mnemic_hooks:
        hook.remove()
    del model._before_mnemic, model._mnemic_hooks


@torch.inference_mode()
def read(
    model: Any, cache: MemoryCache, ids: Tensor, *, attention_mask: Tensor | None = None, chunk: int = 2048,
    progress: bool | None = None,
) -> None:  # fmt: skip
    """Read a text into the cache, chunk by chunk; no logits are made.

    Args:
        ids: tokens [rows, n], or [n].
        attention_mask: [rows, n], 0 where a token is padding.
        chunk: tokens a pass; what is kept does not depend on it.
        progress: a progress bar on stderr; None shows one for long texts on a terminal.
    """
    ids = ids[None] if ids.ndim == 1 else ids
    if progress is None:
        progress = ids.shape[1] > 8 * chunk and sys.stderr.isatty()
    before = cache.get_seq_length()
    cache.reading = True
    try:
        with tqdm(total=ids.shape[1], unit="token", disable=not progress) as bar:
            for start in range(0, ids.shape[1], chunk):
                piece = ids[:, start : start + chunk]
                mask = _mask(cache, before + start, piece, attention_mask, start)
                model.base_model(
                    input_ids=piece, attention_mask=mask, past_key_values=cache, use_cache=True,
                    position_ids=None if mask is None else _positions(mask, piece.shape[1]),
                )  # fmt: skip
                bar.update(piece.shape[1])
    finally:
        cache.reading = False


@torch.inference_mode()
def generate(
    model: Any, cache: MemoryCache, ids: Tensor, *, attention_mask: Tensor | None = None, **options: Any
) -> Tensor:
    """Read new tokens after what the cache holds and go on: the generated tokens [rows, m].

    Args:
        ids: the new tokens [rows, n] or [n], at least one.
        attention_mask: [rows, n], 0 where a new token is padding.
        options: of `model.generate` (max_new_tokens, do_sample, num_beams, ...).

    Raises:
        ValueError: no new token: there is nothing to predict from.
    """
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.shape[1] == 0:
        raise ValueError(
            "generate needs at least one new token; the last token of the text will do if it was not read yet"
        )
    seen = cache.get_seq_length()
    new = torch.ones_like(ids) if attention_mask is None else attention_mask
    placeholder = ids[:, :1].expand(-1, seen)  # generate cuts off as many as the cache holds
    out = model.generate(
        torch.cat((placeholder, ids), 1),
        attention_mask=torch.cat((_read_before(cache, ids, seen).to(new.dtype), new), 1),
        past_key_values=cache,
        **options,
    )
    result: Tensor = out[:, seen + ids.shape[1] :]
    return result


def _mask(cache: MemoryCache, seen: int, piece: Tensor, mask: Tensor | None, start: int) -> Tensor | None:
    """The mask for one chunk: the padding among the tokens seen, then that of the chunk; None without any."""
    if mask is None and cache.pads is None:
        return None
    count = piece.shape[1]
    new = torch.ones_like(piece).bool() if mask is None else mask[:, start : start + count].bool()
    return torch.cat((_read_before(cache, piece, seen), new), 1)


def _positions(mask: Tensor, count: int) -> Tensor:
    """Where the last `count` tokens stand when padding takes no place, as generate counts: [rows, count]."""
    return (mask.long().cumsum(1) - 1).clamp_min(0)[:, -count:]


def _read_before(cache: MemoryCache, ids: Tensor, seen: int) -> Tensor:
    """A mask [rows, seen] with as many tokens hidden as were padding; where they stood no longer matters."""
    column = torch.arange(seen, device=ids.device).expand(len(ids), -1)
    return column >= (0 if cache.pads is None else cache.pads[:, None])
