"""What reaches a policy past the cache: every token and its -log p, however the text arrives."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import kept_at_each_block, masked_logits
from tiny import ARCHITECTURES, build, ids
from torch import Tensor
from transformers import DynamicCache

from mnemic import kv
from mnemic.kv import score
from mnemic.kv.policy import Scored
from mnemic.kv.slots import Slots
from mnemic.types import MnemicError


@dataclass(frozen=True, kw_only=True)
class Surprised(Scored):
    """Keeps the tokens that were least expected."""

    block: int = 8
    sinks: int = 2
    recent: int = 4

    headwise = False
    observes = ("ids", "surprise")

    def score(self, slots: Slots) -> Tensor:
        assert slots.surprise is not None
        return score.protect(slots.surprise.nan_to_num(), slots.columns, self.sinks, self.recent)


def run(model: Any, cache: Any, *pieces: Tensor, **given: Any) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(piece, past_key_values=cache, **given).logits for piece in pieces], 1)


def surprise(model: Any, x: Tensor) -> Tensor:
    """-log p of every token but the first, from one plain pass over the whole text."""
    logits = run(model, DynamicCache(config=model.config), x).double()
    return -logits[:, :-1].log_softmax(-1).gather(2, x[:, 1:, None])[..., 0].float()


def noted(cache: Any) -> tuple[Tensor, Tensor]:
    for layer in cache.layers[1:]:
        torch.testing.assert_close(layer.store.surprise, cache.layers[0].store.surprise, equal_nan=True)
    store = cache.layers[0].store
    return store.ids[:, 0], store.surprise[:, 0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_surprise_is_what_a_plain_pass_says_for_any_chunking(name: str) -> None:
    model = build(name, **({"final_logit_softcapping": 5.0} if name == "gemma3" else {}))
    x = ids(2, 61)
    expected = surprise(model, x)
    for sizes in ([61], [1] * 61, [7, 1, 8, 30, 15]):
        if name in ("mistral", "gemma3"):  # the store of a sliding window keeps no more than that
            x, expected, sizes = x[:, :20], expected[:, :19], [7, 1, 12]
        cache = kv.attach(model, Surprised())
        run(model, cache, *x.split(sizes, 1))
        tokens, found = noted(cache)
        assert torch.equal(tokens, x.int())
        assert found[:, 0].isnan().all()
        torch.testing.assert_close(found[:, 1:], expected, atol=1e-4, rtol=0)
    kv.detach(model)


def test_padding_and_reordered_rows_keep_their_own_surprise() -> None:
    model = build("llama")
    x = ids(2, 40)
    mask = torch.ones_like(x)
    mask[1, :11] = 0
    mask[0, 24:27] = 0  # a second turn padded too
    cache = kv.attach(model, Surprised())
    for start, stop in ((0, 5), (5, 24), (24, 25), (25, 40)):
        run(model, cache, x[:, start:stop], attention_mask=mask[:, :stop])
    found = noted(cache)[1]
    assert torch.equal(found.isnan(), (mask == 0) | (mask.cumsum(1) == 1))
    kv.detach(model)
    torch.testing.assert_close(found[1:, 12:], surprise(model, x[1:, 11:]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:1, 1:24], surprise(model, x[:1, :24]), atol=1e-4, rtol=0)

    cache = kv.attach(model, Surprised())
    run(model, cache, x[:, :13])
    cache.reorder_cache(torch.tensor([1, 0]))
    run(model, cache, x[[1, 0], 13:])
    torch.testing.assert_close(noted(cache)[1][:, 1:], surprise(model, x)[[1, 0]], atol=1e-4, rtol=0)


def test_after_going_back_the_next_token_is_predicted_from_where_one_stands() -> None:
    model = build("llama")
    x = ids(1, 40)
    expected = surprise(model, x)
    cache = kv.attach(model, Surprised())
    run(model, cache, torch.cat((x[:, :17], ids(1, 6, seed=3)), 1))
    cache.crop(-6)
    run(model, cache, x[:, 17:])
    torch.testing.assert_close(noted(cache)[1][:, 1:], expected, atol=1e-4, rtol=0)
    with pytest.raises(MnemicError, match="cannot go back 3 tokens from 40"):
        cache.crop(-3)
    cache.crop(-40)
    run(model, cache, x)
    torch.testing.assert_close(noted(cache)[1][:, 1:], expected, atol=1e-4, rtol=0)


def test_what_is_evicted_by_surprise_does_not_depend_on_chunks_and_equals_a_mask(tmp_path: Path) -> None:
    model = build("llama")
    x = ids(2, 70)
    cache = kv.attach(model, Surprised(), budget=20_000)
    held = kept_at_each_block(model, cache, x)
    assert cache.nbytes <= 20_000
    assert held[0][-1].shape[2] < 60
    expected = masked_logits(model, x, held, 8)
    whole = kv.attach(model, Surprised(), budget=20_000)
    torch.testing.assert_close(run(model, whole, x), expected, atol=1e-4, rtol=0)
    pieces = kv.attach(model, Surprised(), budget=20_000)
    found = run(model, pieces, *x.split([30, 3, 20, *[1] * 17], 1))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_detaching_takes_the_hooks_away_and_a_copy_observes_for_itself() -> None:
    model = build("llama")
    kv.attach(model, Surprised())
    kv.attach(model, Surprised())
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    kv.detach(model)
    assert not model.base_model._forward_hooks
    assert not model.base_model._forward_pre_hooks
    x = ids(1, 30)
    cache = kv.attach(other, Surprised())
    run(other, cache, x)
    torch.testing.assert_close(noted(cache)[1][:, 1:], surprise(other, x), atol=1e-4, rtol=0)


def test_generation_is_observed_like_any_text() -> None:
    model = build("llama")
    x = ids(1, 21)
    cache = kv.attach(model, Surprised())
    out = model.generate(x, past_key_values=cache, max_new_tokens=8, do_sample=False)
    tokens, found = noted(cache)
    assert torch.equal(tokens, out[:, :-1].int())
    torch.testing.assert_close(found[:, 1:], surprise(model, out[:, :-1]), atol=1e-4, rtol=0)


def test_what_cannot_be_observed_is_refused() -> None:
    model = build("llama")
    cache = kv.attach(model, Surprised())
    with pytest.raises(MnemicError, match="not inputs_embeds"):
        model(inputs_embeds=torch.zeros(1, 3, 32), past_key_values=cache)
    with pytest.raises(MnemicError, match="output_hidden_states"):
        model(ids(1, 20), past_key_values=kv.attach(model, Surprised()), output_hidden_states=True)
    with pytest.raises(MnemicError, match="a way this does not know"):
        kv.attach(build_odd(), Surprised())


def build_odd() -> Any:
    model = build("llama")
    plain = type(model).forward

    class Odd(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = plain(self, *args, **kwargs)
            out.logits = out.logits * 3
            return out

    model.__class__ = Odd
    return model
