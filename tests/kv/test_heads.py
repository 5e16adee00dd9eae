"""Heads that remember differently, and the token that stands for what was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import instead, masked_logits
from tiny import build, ids
from torch import Tensor

from mnemic import kv
from mnemic.kv.duo_attention import _gated, learn_gates, load_gates, save_gates
from mnemic.kv.heads import Heads, highest
from mnemic.kv.packed import Packed
from mnemic.kv.razorattention import RazorAttention, head_scores, patterns
from mnemic.kv.slots import Slots
from mnemic.models.lookup import lookup
from mnemic.types import MnemicError

BLOCK, LOCAL, SINKS = 8, 12, 4


@pytest.mark.parametrize("method", ["razorattention", "duo-attention"])
def test_other_heads_see_sinks_and_window_and_with_razor_the_mean_of_the_rest(method: str) -> None:
    """That mean weighs as much as all it stands for."""
    model = build("llama")
    x = ids(2, 100)
    retrieval = ((0, 1), (2, 0), (2, 1))
    cache = kv.attach(model, method, block=BLOCK, sinks=SINKS, local=LOCAL, retrieval=retrieval)
    with torch.inference_mode():
        pieces = [model(p, past_key_values=cache).logits for p in x.split([37, 1, 50, 12], 1)]
    kv.detach(model)

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, scaling: float, **__: Any
    ) -> Any:
        out = torch.zeros(*query.shape, dtype=torch.float64)
        for head in range(query.shape[1]):
            group = head // 2
            for i in range(query.shape[2]):
                begun = i // BLOCK * BLOCK  # what was dropped was dropped when this block began
                # a block is let go once more than the window would not fit another one
                first = SINKS if begun <= SINKS + LOCAL else begun - LOCAL
                dropped = [] if (module.layer_idx, group) in retrieval else list(range(SINKS, first))
                kept = [j for j in range(i + 1) if j not in dropped]
                for row in range(len(query)):
                    q = query[row, head, i].double() * scaling
                    k, v = key[row, group].double(), value[row, group].double()
                    logits, values = k[kept] @ q, v[kept]
                    if dropped and method == "razorattention":
                        mean = k[dropped].mean(0) @ q + torch.tensor(float(len(dropped))).log()
                        logits = torch.cat((logits, mean[None]))
                        values = torch.cat((values, v[dropped].mean(0)[None]))
                    out[row, head, i] = logits.softmax(0) @ values
        return out.to(query.dtype).transpose(1, 2), None

    with torch.inference_mode(), instead(model, attention):
        expected = model(x, use_cache=False).logits
    torch.testing.assert_close(torch.cat(pieces, 1), expected, atol=1e-5, rtol=0)


def test_only_the_retrieval_heads_keep_the_text() -> None:
    model = build("llama")
    cache = kv.attach(model, RazorAttention(block=BLOCK, sinks=SINKS, local=LOCAL, retrieval=((1, 0),)))
    kv.read(model, cache, ids(1, 400))
    one, two, three = (sum(layer["nbytes"].values()) for layer in cache.report())
    assert one == three
    assert two > 8 * one
    pair = 16 * 4
    assert two - one >= (400 - SINKS - LOCAL - BLOCK) * pair


def test_a_budget_is_never_exceeded_and_takes_the_oldest_from_retrieval_heads() -> None:
    model = build("llama")
    policy = RazorAttention(block=BLOCK, sinks=SINKS, local=LOCAL, retrieval=((0, 0), (1, 0), (2, 1)))
    cache = kv.attach(model, policy, budget=30_000)
    for piece in ids(1, 500).split(37, 1):
        kv.read(model, cache, piece)
        assert cache.nbytes <= 30_000
    kept = [len(store) for _, store in cache.layers[0].store.parts]
    assert kept[0] > 2 * kept[1]


def test_patterns_mark_copies_and_what_followed_them() -> None:
    echo, induction = patterns(3)
    for i in range(12):
        for j in range(12):
            assert echo[i, j] == (j < i and i % 3 == j % 3)
            assert induction[i, j] == (j < i and (i + 1) % 3 == j % 3)


def test_the_highest_scores_are_taken_over_all_layers() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert highest(scores, 0.5) == {(0, 1), (1, 0)}
    assert highest(scores, 0.01) == {(0, 1)}


def test_attaching_finds_the_heads_and_leaves_the_model_as_it_was() -> None:
    model = build("llama")
    before = model.config._attn_implementation
    cache = kv.attach(model, "razorattention", induction=0.3)
    assert len(cache.policy.retrieval) in (2, 3)  # of six: one by echo, two by induction
    echo, induction = head_scores(model, 100, 0)
    assert echo.shape == induction.shape == (3, 2)
    kv.detach(model)
    assert model.config._attn_implementation == before


def test_gates_learn_which_head_looks_things_up_far_away() -> None:
    """The lookup model has one: key-value head 0 of layer 1; head 0 of layer 0 looks one token back."""
    model = lookup()
    gates = learn_gates(model, local=32, sinks=4, steps=30, length=160, rate=0.1)
    assert gates[1, 0] > 0.9
    assert gates.flatten()[[0, 1, 3]].max() < 0.05
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert highest(gates, 0.25) == {(1, 0)}


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_gate_of_one_is_the_model_and_of_zero_its_sinks_and_window(architecture: str) -> None:
    model = build(architecture)
    x = ids(1, 60)
    window = {i: getattr(layer.self_attn, "sliding_window", None) for i, layer in enumerate(model.model.layers)}

    def short(
        module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, scaling: float, **__: Any
    ) -> Any:
        key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
        at = torch.arange(60)
        back = at[:, None] - at
        seen = (back >= 0) & ((back < 10) | (at < 3))
        if window[module.layer_idx] is not None:
            seen &= back < window[module.layer_idx]
        logits = (query @ key.mT * scaling).masked_fill(~seen, -torch.inf)
        return (logits.softmax(-1) @ value).transpose(1, 2), None

    with torch.inference_mode():
        expected = model(x, use_cache=False).logits
        with _gated(model, 3, 10) as state:
            state["gates"] = torch.ones(3, 2)
            torch.testing.assert_close(model(x, use_cache=False).logits, expected, atol=1e-5, rtol=0)
            state["gates"] = torch.zeros(3, 2)
            found = model(x, use_cache=False).logits
        with instead(model, short):
            expected = model(x, use_cache=False).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_gates_are_kept_in_a_file_and_only_for_their_model(tmp_path: Path) -> None:
    model, path = build("llama"), tmp_path / "gates.json"
    save_gates(torch.tensor([[0.1, 0.9], [0.8, 0.0], [0.3, 1.0]]), path)
    cache = kv.attach(model, "duo-attention", gates=str(path))
    assert cache.policy.retrieval == ((0, 1), (1, 0), (2, 1))
    save_gates(torch.ones(2, 2), path)
    with pytest.raises(MnemicError, match="learn them for this model"):
        load_gates(path, model)
    path.write_text("no gates")
    with pytest.raises(MnemicError, match="cannot be read as gates"):
        load_gates(path, model)


TASK: dict[str, Any] = {"block": 8, "sinks": 4, "recent": 8, "middle": 8, "budget": 60_000}


def test_heads_apart_keep_the_text_and_the_others_what_they_look_at() -> None:
    """Against the stock cache with what each head of each row let go masked; chunks and order never show."""
    model, x = build("llama", num_key_value_heads=4), ids(2, 100)
    held: list[list[Tensor]] = [[], [], []]
    cache = kv.attach(model, "task-kv", **TASK)
    for piece in x.split(8, 1):
        for layer, found in zip(cache.layers, held, strict=True):
            found.append(columns_of(layer.store))
        with torch.inference_mode():
            model(piece, past_key_values=cache)
    assert len({tuple(layer.store.order[row].tolist()) for layer in cache.layers for row in (0, 1)}) > 2
    own, rest = (len(cache.layers[0].store.parts[name]) for name in ("own", "rest"))
    assert own > rest + 8
    assert cache.nbytes <= 60_000
    expected = masked_logits(model, x, held, 8)
    cut, at, rows = kv.attach(model, "task-kv", **TASK), 0, torch.tensor([0, 1])
    for count in (45, 3, 30, 1, 21):
        with torch.inference_mode():
            logits = model(x[rows, at : at + count], past_key_values=cut).logits
        torch.testing.assert_close(logits, expected[rows, at : at + count], atol=1e-5, rtol=0)
        at += count
        cut.reorder_cache(torch.tensor([1, 0]))
        rows = rows.flip(0)


def columns_of(store: Any) -> Tensor:
    """The columns that each head of a parted store holds [b, g, n], -1 beyond."""
    if store is None:
        return torch.empty(2, 1, 0, dtype=torch.int32)
    if store.order is None:
        return store.parts["every"].columns.clone()
    own, rest = store.parts["own"].columns, store.parts["rest"].columns
    rest = torch.nn.functional.pad(rest, (0, own.shape[2] - rest.shape[2]), value=-1)
    return torch.cat((own.expand(-1, store.count, -1), rest), 1).gather(
        1, store.order.argsort(1)[..., None].expand(-1, -1, own.shape[2])
    )


def test_the_distance_of_a_head_is_that_of_what_it_reads_from_the_mean() -> None:
    torch.manual_seed(0)
    method = kv.policy("task-kv", block=4, last=3, kernel=1, vital=5)
    slots = Slots(scale=1.0, block=4, watch=True)
    query, keys, values = torch.randn(1, 4, 4, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    slots.write(torch.randn(1, 4, 8, 8), keys[:, :, :8], values[:, :, :8], torch.arange(8)[None])
    slots.queries = None
    slots.write(query, keys[:, :, 8:], values[:, :, 8:], torch.arange(8, 12)[None])
    meaning = torch.zeros(2, 8, dtype=torch.float64)
    for group in range(2):
        total = torch.zeros(12, dtype=torch.float64)
        for head in (2 * group, 2 * group + 1):
            for i in range(1, 4):
                seen = keys[0, group, : 9 + i].double() @ query[0, head, i].double()
                total[: 9 + i] += seen.softmax(0)
        for j in sorted(range(12), key=lambda j: -total[j])[:5]:
            meaning[group] += total[j] * values[0, group, j]
    expected = (meaning - meaning.mean(0)).norm(dim=1)
    torch.testing.assert_close(method.far(slots)[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_a_method_over_another_gives_it_its_retrieval_heads() -> None:
    """All heads: it is the other; some: those are packed, and take fewer bytes."""
    model, x = build("llama"), ids(2, 100)
    every = tuple((layer, head) for layer in range(3) for head in range(2))
    options = {"block": BLOCK, "sinks": SINKS, "local": LOCAL}

    def logits(cache: Any) -> Tensor:
        with torch.inference_mode():
            return torch.cat([model(piece, past_key_values=cache).logits for piece in x.split(37, 1)], 1)

    kivi = kv.policy("kivi", residual=16)
    alone = logits(kv.attach(model, "kivi", block=BLOCK, residual=16))
    both = kv.attach(model, "duo-attention", over=kivi, retrieval=every, **options)
    torch.testing.assert_close(logits(both), alone, atol=1e-5, rtol=0)
    some = kv.attach(model, "duo-attention", over=kivi, retrieval=every[:3], budget=30_000, **options)
    logits(some)
    assert some.nbytes <= 30_000
    store = some.layers[0].store
    assert isinstance(store, Heads)
    assert isinstance(store.parts[0][1], Packed)
    named = kv.policy("duo-attention over kivi", retrieval=every, block=16)
    assert named.over == kv.policy("kivi", block=16)
    with pytest.raises(ValueError, match="moves keys"):
        logits(kv.attach(model, "duo-attention over streaming", retrieval=every))
    with pytest.raises(MnemicError, match="leave to the retrieval heads is too little"):
        logits(kv.attach(model, "duo-attention over kivi", retrieval=every[::2], budget=30_000, **options))
