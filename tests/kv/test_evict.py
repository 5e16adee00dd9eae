"""A policy that evicts equals the stock cache with exactly those slots masked, and frees their bytes."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import kept_at_each_block, masked_logits
from tiny import build, ids

from mnemic import kv, recipes
from mnemic.kv.attach import policy
from mnemic.kv.policy import Scored

EVICTING = [name for name in recipes.names("kv") if isinstance(policy(name), Scored)]
OPTIONS: dict[str, dict[str, Any]] = {"streaming": {"positions": "true"}}
BUDGET = 3 * 40 * 200  # three layers, about forty slots each
LENGTH = 150


def attached(model: Any, method: str, budget: int = BUDGET) -> Any:
    small = {"recent": 4} if hasattr(policy(method), "recent") else {}
    return kv.attach(model, method, budget=budget, block=8, **OPTIONS.get(method, {}), **small)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("method", EVICTING)
def test_evicting_equals_a_full_cache_with_those_slots_masked(method: str, architecture: str) -> None:
    model = build(architecture)
    x = ids(2, LENGTH)
    held = kept_at_each_block(model, attached(model, method), x)
    cache = attached(model, method)
    with torch.inference_mode():
        logits = torch.cat(
            [model(x[:, :101], past_key_values=cache).logits, model(x[:, 101:], past_key_values=cache).logits],
            1,
        )
    assert all(len(layer.store) < LENGTH / 2 for layer in cache.layers)
    assert cache.nbytes <= BUDGET
    torch.testing.assert_close(logits, masked_logits(model, x, held, cache.policy.block), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", EVICTING)
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_how_a_text_is_cut_into_chunks_and_taken_back_never_shows(method: str, data: st.DataObject) -> None:
    """Random chunks, crops within what was not yet settled, and reordered rows, against one pass."""
    model = build("llama")
    x = ids(2, LENGTH)
    whole = attached(model, method)
    with torch.inference_mode():
        expected = model(x, past_key_values=whole).logits
    cache = attached(model, method)
    at, flipped = 0, False
    while at < LENGTH:
        count = data.draw(st.integers(1, LENGTH - at))
        now = x.flip(0) if flipped else x
        with torch.inference_mode():
            logits = model(now[:, at : at + count], past_key_values=cache).logits
        right = expected[:, at : at + count]
        torch.testing.assert_close(logits, right.flip(0) if flipped else right, atol=1e-5, rtol=0)
        at += count
        assert cache.nbytes <= BUDGET
        back = data.draw(st.integers(0, at % cache.policy.block))
        cache.crop(-back)
        at -= back
        if data.draw(st.booleans()):
            cache.reorder_cache(torch.tensor([1, 0]))
            flipped = not flipped


@pytest.mark.parametrize("method", EVICTING)
def test_padding_is_let_go_first_and_never_seen(method: str) -> None:
    """A padded row says what it would alone (pads fill whole blocks, as blocks are counted in columns)."""
    model = build("llama")
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[0, :16] = 0
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    alone = attached(model, method, budget=BUDGET // 2)
    with torch.inference_mode():
        expected = model(x[:1, 16:], past_key_values=alone).logits
    cache = attached(model, method)
    with torch.inference_mode():
        logits = model(x, attention_mask=mask, position_ids=positions, past_key_values=cache).logits
    torch.testing.assert_close(logits[:1, 16:], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", EVICTING)
def test_nbytes_is_what_the_tensors_really_take(method: str) -> None:
    model = build("llama")
    cache = attached(model, method)
    with torch.inference_mode():
        model(ids(2, LENGTH), past_key_values=cache)
    gc.collect()
    layers = [layer.store for layer in cache.layers]
    tensors = [t for store in layers for t in vars(store).values() if isinstance(t, torch.Tensor)]
    assert cache.nbytes == sum(t.numel() * t.element_size() for t in tensors)
    assert cache.nbytes == sum(sum(row["nbytes"].values()) for row in cache.report())


def test_compact_positions_equal_a_text_of_only_the_kept_tokens_in_the_first_layer() -> None:
    """One layer: what streaming keeps, placed by rank, is what a short text would be."""
    model = build("llama", num_hidden_layers=1)
    x = ids(1, 64)
    cache = kv.attach(model, "streaming", budget=28 * 132, block=8)
    with torch.inference_mode():
        model(x, past_key_values=cache)
        kept = cache.layers[0].store.columns[0, 0].long()
        logits = model(x[:, :1], past_key_values=cache).logits
    kv.detach(model)
    assert len(kept) < 30
    with torch.inference_mode():
        expected = model(torch.cat((x[:, kept], x[:, :1]), 1)).logits[:, -1:]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
