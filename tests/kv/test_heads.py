"""Heads that remember differently, and the token that stands for what was dropped."""

from __future__ import annotations

from typing import Any

import torch
from oracle import instead
from tiny import build, ids
from torch import Tensor

from mnemic import kv
from mnemic.kv.razorattention import RazorAttention, head_scores, highest, patterns

BLOCK, LOCAL, SINKS = 8, 12, 4


def test_other_heads_see_sinks_window_and_the_mean_of_the_rest_weighed_by_its_number() -> None:
    model = build("llama")
    x = ids(2, 100)
    retrieval = ((0, 1), (2, 0), (2, 1))
    cache = kv.attach(model, RazorAttention(block=BLOCK, sinks=SINKS, local=LOCAL, retrieval=retrieval))
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
                    if dropped:
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
