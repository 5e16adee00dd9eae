"""Lists of keys that queries see alike: all of them are an exact search, a few of them the best lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import build, ids
from torch import Tensor

from mnemic import kv
from mnemic.kv.retrieval_attention import rounded_topk
from mnemic.kv.slots import PAD

LENGTH = 170
SMALL = {"block": 8, "sinks": 4, "local": 20, "chosen": 2}
LISTED = {"segment": 32, "lists": 6, "every": 4, "probe": 0.2, "least": 2}


def logits(model: Any, cache: Any, *pieces: Tensor, **given: Any) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(piece, past_key_values=cache, **given).logits for piece in pieces], 1)


def attached(model: Any, **given: Any) -> Any:
    return kv.attach(model, "retrieval-attention", **SMALL | LISTED | given)


def test_searching_every_list_is_an_exact_search() -> None:
    model, x = build("llama"), ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :37] = 0  # a whole segment of padding, and more
    expected = logits(model, attached(model, segment=10**6), x, attention_mask=mask)
    cache = attached(model, probe=1.0)
    found = logits(model, cache, x, attention_mask=mask)
    assert len(cache.layers[0].store.lists["means"]) == 4
    real = mask.bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=0)
    few = logits(model, attached(model), x, attention_mask=mask)
    assert (few[real] - expected[real]).abs().max() > 1e-3


def test_bfloat16_searches_too() -> None:
    model, x = build("llama", dtype=torch.bfloat16), ids(2, LENGTH)
    expected = logits(model, attached(model, segment=10**6), x)
    cache = attached(model, probe=1.0)
    found = logits(model, cache, x)
    assert len(cache.layers[0].store.lists["means"]) == 4
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)


def test_lists_hold_every_token_once_and_the_best_are_searched() -> None:
    """Against a plain loop in float64: what a list holds, its estimate, and which are searched."""
    model, x = build("llama"), ids(1, LENGTH)
    cache = attached(model)
    logits(model, cache, x)
    store = cache.layers[1].store
    keys = store.far["keys"].rows.movedim(0, 2).flatten(2, 3).double()[0]  # [g, n, d]
    queries = store.asked["queries"].rows.double()[:, 0]  # [m, g, h/g, d]
    assert len(queries) == LENGTH // 4
    asked = torch.randn(1, 2, 2, 8)
    token, real = store._in_lists(asked, torch.arange(1))
    for head in range(2):
        estimates = []
        for segment in range(4):
            own = queries[8 * segment : 8 * segment + 8, head].flatten(0, 1)
            values, vectors = torch.linalg.eigh(own.T @ own / len(own))
            root = (vectors * (values.clamp_min(0) + 1e-4 * values.clamp_min(0).mean()).sqrt()) @ vectors.T
            order = store.lists["sorted"].rows[segment, 0, head].tolist()
            ends = store.lists["ends"].rows[segment, 0, head].tolist()
            assert sorted(order) == list(range(32))
            assert ends[-1] == 32
            for start, end in zip([0, *ends], ends, strict=False):
                held = [32 * segment + at for at in order[start:end]]
                seen = keys[head, held] @ root
                u = torch.linalg.solve(root, asked[0, head].double().T).T  # [h/g, d]
                spread = (seen - seen.mean(0)).square().mean().sqrt()
                if held:
                    estimates.append((float((u @ seen.mean(0) + 3 * u.norm(dim=1) * spread).max()), held))
        best = sorted(estimates, key=lambda it: -it[0])[:5]  # a fifth of 24
        assert sorted(token[0, head][real[0, head]].tolist()) == sorted(t for _, held in best for t in held)


def test_chunks_padding_beams_and_crops_never_show_in_what_is_found() -> None:
    model, x = build("llama"), ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :8] = 0
    expected = logits(model, attached(model), x, attention_mask=mask)
    cache = attached(model)
    at = 0
    for turn, count in enumerate((61, 39, 9, 38, 1, 22)):
        swap = slice(None) if turn % 2 == 0 else torch.tensor([1, 0])
        given = {"attention_mask": mask[swap, : at + count]}
        if at % 8 < 5 and turn:  # the block does not end
            logits(model, cache, x[swap, at : at + 3], attention_mask=mask[swap, : at + 3])
            cache.crop(-3)
        new = logits(model, cache, x[swap, at : at + count], **given)
        torch.testing.assert_close(new, expected[swap, at : at + count], atol=1e-5, rtol=0)
        cache.reorder_cache(torch.tensor([1, 0]))
        at += count
    alone = logits(model, attached(model), x[:1])
    torch.testing.assert_close(alone, expected[:1], atol=1e-5, rtol=0)


def test_a_saved_cache_searches_the_same_lists_and_goes_on_sorting(tmp_path: Path) -> None:
    model, x = build("llama"), ids(1, LENGTH)
    whole = attached(model)
    expected = logits(model, whole, x)
    cache = attached(model)
    logits(model, cache, x[:, :101])
    kv.save(cache, tmp_path / "read.safetensors")
    opened = kv.load(tmp_path / "read.safetensors", model)
    found = logits(model, opened, x[:, 101:])
    torch.testing.assert_close(found, expected[:, 101:], atol=1e-5, rtol=0)
    for name, file in whole.layers[0].store.lists.items():
        torch.testing.assert_close(opened.layers[0].store.lists[name].rows, file.rows, atol=1e-4, rtol=0)


def test_the_largest_come_rounded_and_in_a_stable_order() -> None:
    x = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)) * 10
    x[:, ::7] = -x[:, 1:2]
    x[1, :50] = -torch.inf
    x[2, 3], x[2, 4] = 0.0, torch.inf
    expected = x.to(torch.bfloat16).argsort(dim=1, descending=True, stable=True)[:, :200]
    assert torch.equal(rounded_topk(x, 200), expected)


def test_padding_is_in_no_list() -> None:
    model, x = build("llama"), ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :50] = 0
    cache = attached(model)
    logits(model, cache, x, attention_mask=mask)
    store = cache.layers[0].store
    columns = store.far["columns"].rows.movedim(0, 2).flatten(2)[:, 0]  # [b, n]
    for segment, row in ((0, 0), (0, 1), (1, 1), (2, 1)):
        order, ends = (store.lists[name].rows[segment, row] for name in ("sorted", "ends"))
        for head in range(2):
            held = order[head, : int(ends[head, -1])] + 32 * segment
            real = [t for t in range(32 * segment, 32 * segment + 32) if columns[row, t] > PAD]
            assert sorted(held.tolist()) == real


@pytest.mark.parametrize("every", [1, 5])
def test_queries_are_kept_wherever_a_text_was_cut(every: int) -> None:
    model, x = build("llama"), ids(1, 97)
    kept = []
    for pieces in ((97,), (1, 30, 2, 64)):
        cache = attached(model, every=every)
        for piece in x.split(pieces, 1):
            kv.read(model, cache, piece)
        kept.append(cache.layers[0].store.asked["queries"].rows.clone())
    assert len(kept[0]) == 97 // every
    torch.testing.assert_close(*kept, atol=1e-5, rtol=0)


def test_settings_beyond_what_a_segment_holds_are_those_of_a_segment() -> None:
    model, x = build("llama"), ids(2, LENGTH)
    expected = logits(model, attached(model, probe=1.0), x)
    found = logits(model, attached(model, segment=3, lists=99, every=64, least=10**6), x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_rows_may_change_before_anything_has_left() -> None:
    model, x = build("llama"), ids(1, LENGTH)
    wide = x.expand(2, -1)
    expected = logits(model, attached(model), wide)
    cache = attached(model)
    logits(model, cache, x[:, :14])
    cache.batch_repeat_interleave(2)
    found = logits(model, cache, wide[:, 14:])
    torch.testing.assert_close(found, expected[:, 14:], atol=1e-5, rtol=0)
