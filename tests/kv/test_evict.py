"""A policy that evicts equals the stock cache with exactly those slots masked, and frees their bytes."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import kept_at_each_block, masked_logits
from tiny import build, ids, small

from mnemic import kv
from mnemic.kv.attach import policy
from mnemic.kv.keyformer import Noisy
from mnemic.kv.merged import Merging
from mnemic.kv.policy import Scored
from mnemic.kv.pyramidkv import PyramidKV
from mnemic.kv.score import gumbel
from mnemic.kv.slots import Slots

EVICTING = [n for n in kv.names() if isinstance(policy(n), Scored | PyramidKV)]
DROPPING = [name for name in EVICTING if not isinstance(policy(name), Merging)]
OPTIONS: dict[str, dict[str, Any]] = {
    "streaming": {"positions": "true"},
    "sirllm": {"positions": "true"},
    "pyramidkv": {"over": policy("snapkv", recent=4)},
    "chelsea": {"sinks": 2},
    "speckv": {"lookahead": 2},
}
BUDGET = 3 * 40 * 200  # three layers, about forty slots each
LENGTH = 150


def attached(model: Any, method: str, budget: int = BUDGET) -> Any:
    small = {"recent": 4} if hasattr(policy(method), "recent") else {}
    return kv.attach(model, method, budget=budget, block=8, **OPTIONS.get(method, {}), **small)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("method", DROPPING)
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
    assert sum(len(layer.store) for layer in cache.layers) < LENGTH * 1.5  # of three layers
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


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_schedule_equals_a_full_cache_with_what_was_let_go_masked(data: st.DataObject) -> None:
    """Random method, architecture, budget and block; passes, reads, crops and reordered rows in any order."""
    method = data.draw(st.sampled_from(DROPPING))
    model = build(data.draw(st.sampled_from(["llama", "qwen3", "phi3", "gpt-neox"])))
    block, budget = data.draw(st.integers(3, 9)), data.draw(st.integers(36_000, 90_000))
    options = OPTIONS.get(method, {}) | ({"recent": 4} if hasattr(policy(method), "recent") else {})
    x = ids(2, 70)
    fresh = lambda: kv.attach(model, method, budget=budget, **options | {"block": block})  # noqa: E731
    expected = masked_logits(model, x, kept_at_each_block(model, fresh(), x), block)
    cache, at, rows = fresh(), 0, torch.tensor([0, 1])
    while at < 70:
        count = data.draw(st.integers(1, 70 - at))
        if data.draw(st.booleans()):
            kv.read(model, cache, x[rows, at : at + count], chunk=data.draw(st.integers(1, 30)))
        else:
            with torch.inference_mode():
                logits = model(x[rows, at : at + count], past_key_values=cache).logits
            torch.testing.assert_close(logits, expected[rows, at : at + count], atol=1e-5, rtol=0)
        at += count
        assert cache.nbytes <= budget
        back = data.draw(st.integers(0, at % block))
        cache.crop(-back)
        at -= back
        if data.draw(st.booleans()):
            cache.reorder_cache(torch.tensor([1, 0]))
            rows = rows.flip(0)


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
    trail = 0 if cache.trail.states is None else cache.trail.states.nbytes
    assert cache.nbytes - trail == sum(t.numel() * t.element_size() for t in tensors)
    assert cache.nbytes - trail == sum(sum(row["nbytes"].values()) for row in cache.report())


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


def test_a_pyramid_gives_lower_layers_more_and_all_of_them_the_budget() -> None:
    model = build("llama")
    cache = attached(model, "pyramidkv")
    kv.read(model, cache, ids(1, LENGTH))
    kept = [len(layer.store) for layer in cache.layers]
    assert kept[0] - kept[1] > 5
    assert abs(kept[0] - 2 * kept[1] + kept[2]) <= 1
    even = kv.attach(model, "pyramidkv", budget=BUDGET, block=8, beta=1, over=policy("snapkv", recent=4))
    kv.read(model, even, ids(1, LENGTH))
    assert abs(sum(kept) - sum(len(layer.store) for layer in even.layers)) <= 3
    with pytest.raises(ValueError, match="beta is at least 1"):
        policy("pyramidkv", beta=0.5)


def test_noise_is_gumbel_drawn_by_place_and_never_twice() -> None:
    at = torch.arange(200)
    noise = gumbel(0, at[:, None], at)
    assert abs(noise.mean() - 0.5772) < 0.03
    assert abs(noise.var() - torch.pi**2 / 6) < 0.05
    assert noise.unique().numel() > 0.99 * noise.numel()
    torch.testing.assert_close(gumbel(0, at[50:, None], at[7:]), noise[50:, 7:])
    assert not torch.equal(gumbel(1, at[:, None], at), noise)


def test_accumulated_attention_with_noise_and_temperature_against_a_loop() -> None:
    torch.manual_seed(0)
    method = policy("keyformer", block=4, ramp=10, sinks=0, share=0.0)
    slots = Noisy(scale=0.5, block=4, watch=True, headwise=True)
    query, keys = torch.randn(1, 4, 12, 8), torch.randn(1, 2, 12, 8)
    expected = torch.zeros(2, 12, dtype=torch.float64)
    for start in range(0, 12, 4):
        piece = slice(start, start + 4)
        columns = torch.arange(start, start + 4, dtype=torch.int32)[None]
        slots.write(query[:, :, piece], keys[:, :, piece], keys[:, :, piece], columns)
        found = method.score(slots)
        slots.queries = None
    for head in range(4):
        for i in range(12):
            noise = torch.stack([gumbel(0, *torch.tensor([head, i, j])) for j in range(i + 1)]).double()
            logits = keys[0, head // 2, : i + 1].double() @ query[0, head, i].double() * 0.5
            tau = 1 + min(1, i / 10)
            expected[head // 2, : i + 1] += ((logits + noise) / tau).softmax(0)
    torch.testing.assert_close(found[0, :, :-1].double(), expected[:, :-1], atol=1e-5, rtol=0)


def test_no_two_methods_remember_the_same() -> None:
    """On random weights and one budget: two methods with the same logits would be one."""
    model = build("llama")
    x, found = ids(1, 240), {}
    for method in kv.names():
        budget = None if method == "full" else 40_000
        cache = kv.attach(model, method, budget=budget, **small(method))
        with torch.inference_mode():
            found[method] = model(x, past_key_values=cache).logits[0, -1]
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(found[one], found[other], atol=1e-4), (one, other)


def test_no_more_slots_are_kept_than_a_share_of_the_attention_needs() -> None:
    torch.manual_seed(0)
    method = policy("zipvl", tau=0.8, block=4)
    slots = Slots(scale=1.0, block=4, watch=True)
    query, keys = torch.randn(2, 4, 12, 8), torch.randn(2, 2, 12, 8)
    columns = torch.arange(12, dtype=torch.int32).repeat(2, 1)
    columns[1, :3] = -1
    slots.write(query[:, :, :8], keys[:, :, :8], keys[:, :, :8], columns[:, :8])
    slots.queries = None
    slots.write(query[:, :, 8:], keys[:, :, 8:], keys[:, :, 8:], columns[:, 8:])
    found = method.score(slots)[:, 0] > -torch.inf
    for row in range(2):
        first, total, probes = 3 * row, [0.0] * 12, [0] * 12
        for i in range(8, 12):
            for head in range(4):
                logits = keys[row, head // 2, first : i + 1].double() @ query[row, head, i].double()
                for j, weight in enumerate(logits.softmax(0)):
                    total[first + j] += float(weight)
            for j in range(first, i + 1):
                probes[j] += 1
        enough, mass = 0, 0.0
        while mass < 0.8 * sum(total):
            mass += sorted(total, reverse=True)[enough]
            enough += 1
        worth = [t / max(1, p) for t, p in zip(total, probes, strict=True)]
        expected = set(sorted(range(12), key=lambda j: -worth[j])[:enough]) | {11}
        assert {j for j in range(12) if found[row, j]} == expected


def test_layers_that_need_fewer_slots_take_fewer_bytes() -> None:
    model = build("llama")
    held = {}
    for tau in (0.5, 0.9):
        cache = kv.attach(model, "zipvl", budget=BUDGET, block=8, tau=tau)
        kv.read(model, cache, ids(1, LENGTH + 2))
        held[tau] = [len(layer.store) for layer in cache.layers]
        assert cache.nbytes <= BUDGET
    assert sum(held[0.5]) < sum(held[0.9])
    assert len(set(held[0.9])) > 1


def test_what_stays_is_what_surprised_the_model_most_and_longest_ago_least() -> None:
    """By log-probabilities of the stock model, as long as nothing was let go: at the first time of it."""
    model = build("llama")
    x = ids(1, 40)
    with torch.inference_mode():
        told = model(x).logits.double().log_softmax(-1)
    surprise = [0.0] + [-told[0, t - 1, x[0, t]].item() for t in range(1, 40)]
    worth = {t: surprise[t] * 0.5 ** ((39 - t) // 8) for t in range(2, 36)}  # sinks 2, recent 4
    cache = kv.attach(model, "sirllm", budget=3 * 40 * 136 + 3 * 400, block=8, sinks=2, recent=4, eta=0.5)
    with torch.inference_mode():
        model(x, past_key_values=cache)
    for layer in cache.layers:
        kept = layer.store.columns[0, 0].tolist()
        expected = {0, 1, 36, 37, 38, 39, *sorted(worth, key=lambda t: -worth[t])[: len(kept) - 6]}
        assert len(kept) < 40
        assert set(kept) == expected
