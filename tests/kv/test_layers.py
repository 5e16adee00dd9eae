"""Two layers in one: what each gets back, bytes, budget, and that chunks never show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import instead
from tiny import build, ids
from torch import Tensor

from mnemic import kv
from mnemic.kv.minicache import MiniCache, lowers, merge, restore
from mnemic.types import MnemicError

HOW = MiniCache(block=8, residual=16, gamma=0.2)


def loop(one: Any, two: Any) -> tuple[Any, Any]:
    """Merging the vectors [m, d] of one head and block, as the equations say."""
    angles, found = [], ([], [])
    for x, y in zip(one, two, strict=True):
        u, v = x / np.linalg.norm(x), y / np.linalg.norm(y)
        omega = np.arccos(np.clip(u @ v, -1, 1))
        e = np.sin(0.4 * omega) / np.sin(omega) * u + np.sin(0.6 * omega) / np.sin(omega) * v
        e /= np.linalg.norm(e)
        angles.append(omega)
        found[0].append(np.linalg.norm(x) * e)
        found[1].append(np.linalg.norm(y) * e)
    for far in np.argsort(angles)[-2:]:  # a fifth of eight tokens, rounded up
        found[0][far], found[1][far] = one[far], two[far]
    return np.array(found[0]), np.array(found[1])


def test_two_layers_share_directions_and_keep_their_lengths_and_what_is_far_apart() -> None:
    torch.manual_seed(0)
    one, two = torch.randn(2, 3, 8, 6), torch.randn(2, 3, 8, 6)
    merged = {name: tensor[:, :, None] for name, tensor in merge(one, two, HOW, "key").items()}
    for row in range(2):
        for head in range(3):
            expected = loop(one[row, head].double().numpy(), two[row, head].double().numpy())
            for upper in (False, True):
                found = restore(merged, "key", upper)[row, head, 0]
                np.testing.assert_allclose(found, expected[upper], atol=1e-5)
    same = {name: tensor[:, :, None] for name, tensor in merge(one, 2 * one, HOW, "key").items()}
    torch.testing.assert_close(restore(same, "key", True)[:, :, 0], 2 * one)


def test_attention_of_both_layers_is_over_what_was_merged() -> None:
    """Against the whole text in float64, older blocks merged by the loop above."""
    model, x, seen = build("llama"), ids(2, 61), {}
    cache = kv.attach(model, HOW)
    with torch.inference_mode():
        found = torch.cat([model(piece, past_key_values=cache).logits for piece in x.split([37, 1, 23], 1)], 1)
    store = cache.layers[2].store
    assert lowers(model) == {1}
    assert len(store.near) == 16 + 61 % 8
    kv.detach(model)

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, scaling: float, **__: Any
    ) -> Any:
        layer, start = module.layer_idx, seen["start"]
        for name, new in (("k", key), ("v", value)):
            seen[layer, name] = torch.cat((seen[layer, name], new), 2) if (layer, name) in seen else new
        k, v = seen[layer, "k"].double(), seen[layer, "v"].double()
        if layer:
            for name, x in (("k", k), ("v", v)):
                for at in range(0, start // 8 * 8 - 16, 8):
                    for row in range(2):
                        for head in range(2):
                            both = [seen[i, name][row, head, at : at + 8].double().numpy() for i in (1, 2)]
                            x[row, head, at : at + 8] = torch.from_numpy(loop(*both)[layer - 1])
        logits = query.double() @ k.repeat_interleave(2, 1).mT * scaling
        future = torch.arange(k.shape[2]) > torch.arange(start, k.shape[2])[:, None]
        out = logits.masked_fill(future, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
        return out.to(query.dtype).transpose(1, 2), None

    out = []
    with torch.inference_mode(), instead(model, attention):
        for start in range(0, 61, 8):
            seen["start"] = start
            at = torch.arange(start, min(61, start + 8))[None]
            out.append(model(x[:, start : start + 8], position_ids=at, use_cache=False).logits)
    torch.testing.assert_close(found, torch.cat(out, 1), atol=1e-4, rtol=0)


def test_chunks_padding_crops_and_reordered_rows_never_show() -> None:
    model, x = build("llama"), ids(2, 120)
    mask = torch.ones_like(x)
    mask[1, :8] = 0

    def logits(cache: Any, piece: slice, swap: Any = slice(None)) -> Tensor:
        with torch.inference_mode():
            return model(x[swap, piece], attention_mask=mask[swap, : piece.stop], past_key_values=cache).logits

    expected = logits(kv.attach(model, HOW), slice(0, 120))
    cache, at = kv.attach(model, HOW), 0
    for turn, count in enumerate((45, 1, 30, 40, 4)):
        swap = torch.tensor([0, 1] if turn % 2 == 0 else [1, 0])
        found = logits(cache, slice(at, at + count), swap)
        torch.testing.assert_close(found, expected[swap, at : at + count], atol=1e-5, rtol=0)
        at += count
        back = min(2, at % 8)
        cache.crop(-back)
        at -= back
        cache.reorder_cache(torch.tensor([1, 0]))
    with torch.inference_mode():
        alone = model(x[1:, 8:], past_key_values=kv.attach(model, HOW)).logits
    torch.testing.assert_close(alone, expected[1:, 8:], atol=1e-5, rtol=0)


def test_merged_layers_take_little_more_than_half_and_a_budget_holds() -> None:
    model = build("llama", head_dim=64)
    cache = kv.attach(model, "minicache", block=8, residual=8, gamma=0.1)
    kv.read(model, cache, ids(1, 808))
    plain, lower, upper = (sum(layer["nbytes"].values()) for layer in cache.report())
    assert 1.0 < (lower + upper) / plain < 1.3
    cache = kv.attach(model, "minicache", block=8, residual=8, budget=600_000)
    for piece in ids(1, 808).split(90, 1):
        kv.read(model, cache, piece)
        assert cache.nbytes <= 600_000
    kept = [len(layer.store) for layer in cache.layers]
    assert min(kept) > 0.8 * max(kept) > 100
    with pytest.raises(MnemicError, match="needs at least"):
        kv.read(model, kv.attach(model, "minicache", budget=400_000), ids(1, 8))
