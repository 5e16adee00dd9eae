"""Clusters of keys: all of them are the exact cache, a few are what a plain loop would choose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import build, ids
from torch import Tensor
from transformers import DynamicCache

from mnemic import kv
from mnemic.kv.clustered import Window, clustered
from mnemic.kv.score import recency
from mnemic.kv.slots import Slots

LENGTH = 150
SMALL = {"block": 16, "sinks": 4, "local": 28, "per_fine": 4, "per_coarse": 2, "exact": 0}


def logits(model: Any, cache: Any, *pieces: Tensor, **given: Any) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(piece, past_key_values=cache, **given).logits for piece in pieces], 1)


@pytest.mark.parametrize("exact", [0, 1000])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt-neox"])
def test_recalling_every_cluster_is_the_stock_cache(name: str, exact: int) -> None:
    model = build(name)
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :5] = 0
    expected = logits(model, DynamicCache(config=model.config), x, attention_mask=mask)
    cache = kv.attach(model, "squeezed-attention", room=1000, wide=1000, **SMALL | {"exact": exact})
    at = 0
    for count in (70, 31, *[1] * 49):
        new = logits(model, cache, x[:, at : at + count], attention_mask=mask[:, : at + count])
        torch.testing.assert_close(new[0], expected[0, at : at + count], atol=1e-4, rtol=0)
        real = mask[1, at : at + count].bool()
        torch.testing.assert_close(new[1, real], expected[1, at : at + count][real], atol=1e-4, rtol=0)
        at += count
    assert cache.layers[0].store.blocks * 16 > LENGTH - 40


def test_padding_chunks_and_reordered_rows_never_show_in_what_is_recalled() -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :16] = 0
    options = SMALL | {"room": 12, "wide": 3}
    whole = kv.attach(model, "squeezed-attention", **options)
    expected = logits(model, whole, x, attention_mask=mask)
    cache = kv.attach(model, "squeezed-attention", **options)
    at = 0
    for turn, count in enumerate((61, 40, 9, 39, 1)):
        swap = slice(None) if turn % 2 == 0 else torch.tensor([1, 0])
        new = logits(model, cache, x[swap, at : at + count], attention_mask=mask[swap, : at + count])
        torch.testing.assert_close(new, expected[swap, at : at + count], atol=1e-4, rtol=0)
        cache.reorder_cache(torch.tensor([1, 0]))
        at += count
    alone = kv.attach(model, "squeezed-attention", **options)
    torch.testing.assert_close(logits(model, alone, x[1:, 16:]), expected[1:, 16:], atol=1e-4, rtol=0)
    stock = logits(model, DynamicCache(config=model.config), x, attention_mask=mask)
    assert (stock - expected)[0, -20:].abs().amax() > 1e-2


def test_the_near_tier_stays_within_the_budget_while_the_far_one_grows() -> None:
    model = build("llama")
    budget = 90_000
    cache = kv.attach(model, "squeezed-attention", budget=budget, **SMALL | {"room": 16})
    sizes = []
    for piece in ids(1, 960).split(96, 1):
        kv.read(model, cache, piece)
        sizes.append(cache.nbytes)
    assert max(sizes) <= budget
    assert sizes[-1] == sizes[-2]
    assert cache.nbytes_offloaded > 3 * 2 * 16 * 4 * 600


def test_a_block_is_sorted_into_clusters_whose_centroids_are_the_means_of_their_keys() -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(2, 2, 48, 8), torch.randn(2, 2, 48, 6)
    real = torch.ones(2, 2, 48, dtype=torch.bool)
    real[1, :, :7] = False
    out = clustered(keys, values, real, fine=9, coarse=3)
    for row in range(2):
        for head in range(2):
            there = real[row, head]
            pairs, sizes = out["pairs"][row, head], out["sizes"][row, head].tolist()
            assert sum(sizes) == int(there.sum())
            original = torch.cat((keys, values), 3)[row, head, there]
            sorted_ = pairs[: sum(sizes)]
            assert sorted(map(tuple, sorted_.tolist())) == sorted(map(tuple, original.tolist()))
            parts = sorted_[:, :8].split(sizes)
            means = torch.stack([part.mean(0) for part in parts])
            torch.testing.assert_close(out["centroids"][row, head, :, :8], means)
            averages = torch.stack([part.mean(0) for part in sorted_[:, 8:].split(sizes)])
            torch.testing.assert_close(out["centroids"][row, head, :, 8:], averages)
            spreads = torch.stack([part.var(0, correction=0).mean() for part in parts])
            torch.testing.assert_close(out["spreads"][row, head], spreads)
            spans = out["spans"][row, head].tolist()
            assert (spans[0], spans[-1]) == (0, 9)
            for c in range(3):
                members = torch.cat(parts[spans[c] : spans[c + 1]])
                assert out["weights"][row, head, c] == len(members)
                torch.testing.assert_close(out["heads"].view(2, 3, 2, 8)[row, c, head], members.mean(0))
                spread = members.var(0, correction=0).mean()
                torch.testing.assert_close(out["head_spreads"][row, head, c], spread)


def test_what_is_chosen_is_what_a_plain_loop_chooses() -> None:
    model = build("llama")
    cache = kv.attach(model, "squeezed-attention", **SMALL | {"room": 20, "wide": 3})
    logits(model, cache, ids(2, 130))
    store = cache.layers[1].store
    torch.manual_seed(1)
    query = torch.randn(2, 4, 3, 8) * 6
    token, there, fine_weight, means, coarse_weight = store.choose(query)
    pairs = store.far["pairs"].rows
    found = pairs.flatten(0, 3)[token]
    scale = store.near.scale
    n = store.blocks
    for row in range(2):
        for head in range(2):
            for q in range(3):
                asking = query[row, 2 * head : 2 * head + 2, q] * scale
                coarse = [(i, c) for i in range(n) for c in range(2)]
                weight = torch.tensor([store.far["weights"].rows[i, row, head, c] for i, c in coarse])
                heads = [store.far["heads"].rows[i].view(2, 2, 2, 8)[row, c, head] for i, c in coarse]
                square = asking.square().sum(1, keepdim=True) / 2
                spread = torch.stack([store.far["head_spreads"].rows[i, row, head, c] for i, c in coarse])
                share = (asking @ torch.stack(heads).T + spread * square).exp()
                rest = (share * weight).log()
                share = (share / (share * weight).sum(1, keepdim=True)).amax(0)
                chosen = share.argsort(descending=True)[:3].tolist()
                fine = []
                for i, c in (coarse[j] for j in chosen):
                    first, last = store.far["spans"].rows[i, row, head, c : c + 2].tolist()
                    fine += [(i, f) for f in range(first, last)]
                size = torch.tensor([store.far["sizes"].rows[i, row, head, f] for i, f in fine])
                centroids = torch.stack([store.far["centroids"].rows[i, row, head, f] for i, f in fine])
                spread = torch.stack([store.far["spreads"].rows[i, row, head, f] for i, f in fine])
                share = (asking @ centroids[:, :8].T + spread * square).exp()
                weight = (share * size).log()
                share = (share / (share * size).sum(1, keepdim=True)).amax(0)
                room, expected, read = 20, [], []
                for j in share.argsort(descending=True).tolist():
                    room -= int(size[j])
                    if room < 0:
                        break
                    i, f = fine[j]
                    start = int(store.far["sizes"].rows[i, row, head, :f].sum())
                    expected.append(pairs[i, row, head, start : start + int(size[j])])
                    read.append(j)
                recalled = found[row, head, q, there[row, head, q]]
                assert {*map(tuple, recalled.tolist())} == {*map(tuple, torch.cat(expected).tolist())}
                weight[:, read], rest[:, chosen] = -torch.inf, -torch.inf
                torch.testing.assert_close(fine_weight[row, head, q, :, : len(fine)], weight)
                torch.testing.assert_close(means[row, head, q, : len(fine)], centroids[:, 8:])
                torch.testing.assert_close(coarse_weight[row, head, q], rest)
                assert 8 < len(recalled) <= 20


def test_what_is_not_read_is_attended_to_by_its_clusters() -> None:
    """One query over the chosen pairs, and over every cluster passed over as one key of that weight."""
    model = build("llama")
    cache = kv.attach(model, "squeezed-attention", **SMALL | {"room": 20, "wide": 3})
    logits(model, cache, ids(2, 130))
    store = cache.layers[1].store
    near, far = store.near, store.far
    query = torch.randn(2, 4, 1, 8, generator=torch.Generator().manual_seed(1)) * 6
    out = store._attend_best(query, torch.tensor([[130], [130]], dtype=torch.int32))
    chosen = store.choose(query)
    for row in range(2):
        for h in range(4):
            head, share = divmod(h, 2)
            token = chosen.token[row, head, 0][chosen.real[row, head, 0]]
            pairs = far["pairs"].rows.flatten(0, 3)[token]
            keys = torch.cat((near.keys[row, head], pairs[:, :8])).double()
            weight = torch.cat(
                (
                    keys @ query[row, h, 0].double() * near.scale,
                    chosen.fine[row, head, 0, share].double(),
                    chosen.coarse[row, head, 0, share].double(),
                )
            )
            coarse = far["head_values"].rows.view(store.blocks, 2, 2, 2, 8)[:, row, :, head].flatten(0, 1)
            values = torch.cat((near.values[row, head], pairs[:, 8:], chosen.means[row, head, 0], coarse))
            expected = weight.softmax(0) @ values.double()
            torch.testing.assert_close(out[row, h, 0].double(), expected, atol=1e-5, rtol=1e-5)


def test_a_window_written_in_place_holds_what_plain_slots_hold() -> None:
    torch.manual_seed(0)
    given = {"scale": 1.0, "capacity": 12, "block": 4, "score": lambda x: recency(x.columns)}
    window, plain = Window(**given), Slots(**given)
    seen, in_place = 0, 0
    for count, crop in ((3, 0), (1, 0), (4, 0), (3, 2), (1, 1), (3, 0), (2, 1), (3, 0), (4, 0), (1, 0)):
        keys, values = torch.randn(2, 3, count, 5), torch.randn(2, 3, count, 6)
        columns = torch.arange(seen, seen + count, dtype=torch.int32).expand(2, -1)
        at = window.keys.data_ptr() if len(window) else 0
        for slots in (window, plain):
            slots.write(keys, keys, values, columns)
        in_place += window.keys.data_ptr() == at
        seen += count
        for slots in (window, plain):
            if crop:
                slots.crop(crop, seen)
            elif seen % 4 == 0:
                slots.settle(seen)
        seen -= crop
        for name, tensor in plain.tensors().items():
            assert torch.equal(getattr(window, name), tensor)
    assert in_place >= 5
    assert window.keys.untyped_storage().nbytes() == 4 * 2 * 3 * 12 * 5


def test_fine_clusters_are_of_tokens_in_one_run() -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(1, 2, 1024, 8), torch.arange(1024.0).expand(1, 2, -1)[..., None]
    out = clustered(keys, values, torch.ones(1, 2, 1024, dtype=torch.bool), fine=64, coarse=4)
    for head in range(2):
        parts = out["pairs"][0, head, :, 8].split(out["sizes"][0, head].tolist())
        assert all(len({int(x) // 512 for x in part}) == 1 for part in parts)
        assert len(parts) == 64
