"""Fewer bits: no number moves more than half a step, attention is over what they became, bytes are freed."""

from __future__ import annotations

import pytest
import torch
from tiny import build, ids

from mnemic import kv
from mnemic.kv.retire import quantise, restore
from mnemic.types import MnemicError


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("over", [2, 3])
def test_no_number_moves_by_more_than_half_a_step(bits: int, over: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 8)
    packed = quantise(x, bits, over)
    assert packed.codes.numel() == x.numel() * bits // 8
    found = restore(packed, bits, torch.float32)
    step = (x.amax(over, keepdim=True) - x.amin(over, keepdim=True)) / (2**bits - 1)
    assert ((found - x).abs() <= step / 2 + 4e-3).all()  # 16-bit scale and zero
    constant = torch.full((1, 1, 4, 8), 0.5)
    assert torch.equal(restore(quantise(constant, bits, over), bits, torch.float32), constant)


def test_attention_is_over_the_quantised_pairs() -> None:
    """Against a loop in float64 over what was quantised by hand, with the window in full precision."""
    model = build("llama", num_hidden_layers=1)
    cache = kv.attach(model, "kivi", block=8, residual=8, bits=2)
    x = ids(2, 40)
    taken = {}
    hook = model.model.layers[0].self_attn.register_forward_hook(lambda _, __, out: taken.update(out=out[0]))
    with torch.inference_mode():
        model(x, past_key_values=cache)
        store = cache.layers[0].store
        keys, values, columns = store.unpack(torch.float32)
        assert columns[0, 0].tolist() == list(range(32))
        query = {}
        store.step, step = lambda q, *rest: query.update(q=q) or step(q, *rest), store.step
        model(ids(2, 1, seed=1), past_key_values=cache)
    hook.remove()
    keys = torch.cat((keys, store.near.keys), 2).double()
    values = torch.cat((values, store.near.values), 2).double()
    out = torch.zeros(2, 4, 8, dtype=torch.float64)
    for row in range(2):
        for head in range(4):
            logits = query["q"][row, head, 0].double() @ keys[row, head // 2].T / 8**0.5
            out[row, head] = logits.softmax(0) @ values[row, head // 2]
    expected = out.flatten(1).float() @ model.model.layers[0].self_attn.o_proj.weight.T
    torch.testing.assert_close(taken["out"][:, 0], expected, atol=1e-5, rtol=0)


def test_two_bits_take_under_a_quarter_of_bfloat16() -> None:
    model = build("llama", head_dim=64, num_key_value_heads=4).to(torch.bfloat16)
    count = 2048 + 32
    cache = kv.attach(model, "kivi", block=32, residual=32)
    kv.read(model, cache, ids(1, count))
    full = kv.attach(model, "full")
    kv.read(model, full, ids(1, count))
    window = 32 / count
    assert cache.nbytes < (0.25 + window) * full.nbytes
    assert sum(sum(layer["nbytes"].values()) for layer in cache.report()) == cache.nbytes


def test_a_budget_drops_the_oldest_blocks_and_is_never_exceeded() -> None:
    model = build("llama")
    cache = kv.attach(model, "kivi", block=8, residual=8, budget=16_000)
    for piece in ids(1, 400).split(17, 1):
        kv.read(model, cache, piece)
        assert cache.nbytes <= 16_000
    _, _, columns = cache.layers[2].store.unpack(torch.float32)
    newest = 400 // 8 * 8 - 8
    assert columns[0, 0].tolist() == list(range(newest - columns.shape[2], newest))
    with pytest.raises(MnemicError, match="KIVI needs at least"):
        kv.read(model, kv.attach(model, "kivi", budget=2000), ids(1, 4))


def test_how_the_text_arrives_never_shows_in_the_codes() -> None:
    model = build("llama")
    x = ids(2, 100)
    whole = kv.attach(model, "kivi", block=8, residual=16)
    cut = kv.attach(model, "kivi", block=8, residual=16)
    with torch.inference_mode():
        expected = model(x, past_key_values=whole).logits
        found = torch.cat([model(p, past_key_values=cut).logits for p in x.split([41, 3, 30, 1, 25], 1)], 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
