"""What stands for a chunk, what asks for it, and how long what was found is used again: against plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny import build, ids
from torch import Tensor

from mnemic import kv
from mnemic.kv.actqkv import ActQKV
from mnemic.kv.longheads import marked_mean

SMALL = {"block": 8, "sinks": 4, "local": 20, "chosen": 2}


def logits(model: Any, cache: Any, *pieces: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(piece, past_key_values=cache).logits for piece in pieces], 1)


def recalled_columns(cache: Any, layer: int = 1) -> list[Tensor]:
    """What each query token of that layer recalls from now on [b, g, room]."""
    seen: list[Tensor] = []
    store = cache.layers[layer].store
    recall = store.recall

    def watched(query: Tensor, columns: Tensor) -> Any:
        found = recall(query, columns)
        seen.extend(found.columns.unbind(2))
        return found

    store.recall = watched
    return seen


def test_one_search_serves_a_block_until_its_queries_turn_away() -> None:
    model, x = build("llama"), ids(1, 120)
    cache = kv.attach(model, "recycled-attention", similar=-2.0, unit=4, **SMALL)
    logits(model, cache, x[:, :64])
    seen = recalled_columns(cache)
    logits(model, cache, *x[:, 64:80].split(1, 1))
    blocks = [torch.stack(seen[i : i + 8]) for i in (0, 8)]
    for block in blocks:
        assert (block == block[0]).all()
    assert (blocks[0][0] != blocks[1][0]).any()
    turning = kv.attach(model, "recycled-attention", similar=0.5, check=4, unit=4, **SMALL)
    logits(model, turning, x[:, :64])
    seen = recalled_columns(turning)
    logits(model, turning, x[:, 64:72])
    same = [torch.equal(one, other) for one, other in pairwise(seen)]
    assert all(same[i] for i in (0, 1, 2, 4, 5, 6))
    assert not same[3]


def test_searching_at_every_token_is_retrieval_attention() -> None:
    model, x = build("llama"), ids(2, 120)
    every = kv.attach(model, "recycled-attention", similar=2.0, check=1, unit=8, **SMALL)
    found = logits(model, every, x[:, :70], x[:, 70:])
    expected = logits(model, kv.attach(model, "retrieval-attention", **SMALL), x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["recycled-attention", "longheads", "actqkv"])
def test_a_question_that_was_taken_back_leaves_no_trace(method: str) -> None:
    model, x = build("llama"), ids(2, 120)
    cache, plain = (kv.attach(model, method, **SMALL) for _ in range(2))
    for each in (cache, plain):
        kv.read(model, each, x[:, :97])
    logits(model, cache, x[:, 97:99])
    cache.crop(-2)
    torch.testing.assert_close(
        logits(model, cache, x[:, 100:110]), logits(model, plain, x[:, 100:110]), atol=1e-5, rtol=0
    )


def test_a_chunk_stands_by_the_keys_its_mean_reading_attends_to() -> None:
    """One layer in float64 loops: self-attention in the chunk, its mean, and what that attends to."""
    model, x = build("llama", num_hidden_layers=1), ids(1, 64)
    cache = kv.attach(model, "longheads", **SMALL | {"sinks": 8})
    made: list[Tensor] = []
    inner = model.model.layers[0].self_attn
    hook = inner.q_proj.register_forward_hook(lambda *a: made.append(a[2]))
    logits(model, cache, x)
    hook.remove()
    store = cache.layers[0].store
    query = made[0].view(64, 4, 8).double()  # without positions
    frequency = 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)

    def turned(y: Tensor, at: int) -> Tensor:
        one, two = y[:4], y[4:]
        cos, sin = (at * frequency).cos(), (at * frequency).sin()
        return torch.cat((one * cos - two * sin, two * cos + one * sin))

    start = int(store.far["columns"].rows[1, 0, 0, 0])
    assert start == 16
    for head in range(2):
        keys, values = (store.far[name].rows[1, 0, head].double() for name in ("keys", "values"))
        local = torch.stack([turned(keys[i], i) for i in range(8)])
        mean = torch.zeros(8, dtype=torch.float64)
        for h in (2 * head, 2 * head + 1):
            for i in range(8):
                share = (local @ turned(query[start + i, h], i) * 8**-0.5).softmax(0)
                mean += share @ values / 16
        share = (local @ mean * 8**-0.5).softmax(0)
        torch.testing.assert_close(store.far["marks"].rows[1, 0, head].double(), share, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            store.units["stand"].rows[1, 0, head].double(), share @ keys, atol=1e-4, rtol=0
        )
    assert (share - 1 / 8).abs().amax() > 1e-2
    torch.testing.assert_close(marked_mean(keys[None, None], share[None, None])[0, 0], share @ keys)


def test_the_probe_is_the_mean_of_the_queries_that_stand_out() -> None:
    model, x = build("llama"), ids(2, 60)
    cache = kv.attach(model, "actqkv", **SMALL)
    made: list[Tensor] = []
    store: Any = None
    model(x[:, :1], past_key_values=cache)
    store = cache.layers[1].store
    settle = store.settle

    def watched(seen: int) -> None:
        made.append(store.near.queries.double())
        settle(seen)

    store.settle = watched
    logits(model, cache, x[:, 1:])
    queries, now = torch.cat(made, 2), store.near.queries.double()  # [b, h, 56, d], [b, h, 4, d]
    probe = store.probe(torch.tensor([[58], [58]], dtype=torch.int32))[:, :, 0]
    for row in range(2):
        for head in range(4):
            before = queries[row, head]
            mean, variance = before.mean(0), before.var(0, correction=0)
            weight = [((q - mean) ** 2 / (variance + variance.mean() / 100)).mean() for q in now[row, head, :3]]
            expected = sum(w * q for w, q in zip(weight, now[row, head, :3], strict=True)) / sum(weight)
            torch.testing.assert_close(probe[row, head].double(), expected, atol=1e-5, rtol=0)


def test_a_query_that_looks_at_one_place_recalls_less_than_one_that_looks_everywhere() -> None:
    model = build("llama")
    cache = kv.attach(model, ActQKV(**SMALL | {"chosen": 6}))
    logits(model, cache, ids(1, 120))
    store = cache.layers[0].store
    n = len(store.units["start"])
    scores = torch.zeros(1, 2, 2, n)
    scores[:, :, 1, 3] = 1000.0
    store.match = lambda query, stand: scores
    taken = store.choose(torch.zeros(1, 2, 2, 8), 2)
    assert taken.sum(3).tolist() == [[[6, 1], [6, 1]]]
    assert taken[:, :, 1, 3].all()
