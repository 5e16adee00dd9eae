"""What is read ahead decides what stays, and leaves no trace of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import build, ids

from mnemic import kv
from mnemic.kv.speckv import look_ahead
from mnemic.types import MnemicError

BLOCK, RECENT = 8, 4


def kept_by_the_models_own_attention(model: Any, x: Any, ahead: Any, asking: int, slots: int) -> list[Any]:
    """Columns [g, m] of each layer: a whole pass over text and tokens ahead, the maximum over all who ask."""
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        maps = model(torch.cat((x, ahead), 1), output_attentions=True, use_cache=False).attentions
    found = []
    for layer in maps:
        most = layer[0, :, -asking:, : x.shape[1]].double().amax(1).view(2, 2, -1).amax(1)  # two heads a group
        pooled = torch.stack([most[:, max(0, j - 3) : j + 4].amax(1) for j in range(x.shape[1])], 1)
        pooled[:, -RECENT:] = torch.inf
        newest_first = pooled.flip(1).argsort(dim=1, descending=True, stable=True)[:, :slots]
        found.append((x.shape[1] - 1 - newest_first).sort(1).values)
    return found


@pytest.mark.parametrize("drafting", [False, True])
def test_what_stays_is_what_the_tokens_ahead_look_at_most(drafting: bool) -> None:
    model, x, given = build("llama"), ids(1, 5 * BLOCK), ids(1, 6, seed=3)
    options: dict[str, Any] = {"lookahead": 6} if drafting else {"ahead": tuple(given[0].tolist())}
    policy = kv.policy("speckv", block=BLOCK, recent=RECENT, **options)
    cache = kv.attach(model, policy, budget=27_500)
    kv.read(model, cache, x)
    store = cache.layers[0].store
    assert len(store) == store.capacity - BLOCK < x.shape[1]
    found = [layer.store.columns[0].long() for layer in cache.layers]
    kv.detach(model)
    if drafting:
        with torch.inference_mode():
            given = x
            for _ in range(6):
                given = torch.cat((given, model(given, use_cache=False).logits[:, -1].argmax(-1)[:, None]), 1)
        given = given[:, x.shape[1] :]
    asking = 6 + (RECENT if drafting else 0)
    expected = kept_by_the_models_own_attention(model, x, given, asking, len(store))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_a_draft_is_how_the_model_goes_on_after_the_last_tokens() -> None:
    model, x = build("llama"), ids(1, 30)
    expected = model.generate(x, max_new_tokens=5, do_sample=False, use_cache=False)[0, -9:].tolist()
    assert list(look_ahead(model, x[0], window=4, lookahead=5)) == expected
    assert model.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="no prompt"):
        look_ahead(model, x[0, :0])


def test_reading_ahead_with_a_part_of_a_cache_or_nothing_ahead_is_refused() -> None:
    model = build("llama")
    cache = kv.attach(model, "razorattention over speckv", block=BLOCK, local=16, sinks=4, budget=90_000)
    with pytest.raises(MnemicError, match="given a part of one"):
        kv.read(model, cache, ids(1, 500))
    with pytest.raises(ValueError, match="needs tokens ahead"):
        kv.policy("speckv", lookahead=0)
