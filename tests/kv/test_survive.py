"""What cannot work says so and what to do; nothing gives a silently wrong logit."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import build, ids, quick, small
from transformers import DynamicCache

from mnemic import kv
from mnemic.kv.policy import parse_bytes
from mnemic.types import MnemicError


def run(model: Any, cache: Any, x: torch.Tensor, **given: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(x, past_key_values=cache, **given).logits


@pytest.fixture(scope="module")
def llama() -> Any:
    return build("llama")


def test_a_budget_below_the_least_names_the_bytes_that_would_do(llama: Any) -> None:
    cache = kv.attach(llama, "streaming", budget=3000, block=8)
    with pytest.raises(MnemicError, match="at least 5544 in all"):
        run(llama, cache, ids(1, 4))
    cache = kv.attach(llama, "streaming", budget=5544, block=8)
    run(llama, cache, ids(1, 100))
    assert cache.nbytes <= 5544


@pytest.mark.parametrize(
    ("text", "nbytes"), [(7, 7), ("64MiB", 64 << 20), ("1.5 GB", 1_500_000_000), ("2kib", 2048)]
)
def test_a_budget_is_bytes_or_words(text: int | str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "lots", "0", "-4", "3 furlongs"])
def test_a_budget_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an amount|keeps nothing"):
        parse_bytes(text)


def test_an_unknown_method_lists_the_known_ones(llama: Any) -> None:
    with pytest.raises(MnemicError, match="streaming"):
        kv.attach(llama, "steaming")


def test_a_model_without_rotary_positions_is_refused_only_where_keys_move() -> None:
    import transformers as t

    model = t.GPT2LMHeadModel(
        t.GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    ).eval()
    x = ids(1, 40)
    expected = run(model, DynamicCache(config=model.config), x)
    torch.testing.assert_close(
        run(model, kv.attach(model, "h2o", budget="1MiB"), x), expected, atol=1e-5, rtol=0
    )
    with pytest.raises(MnemicError, match="no rotary positions"):
        run(model, kv.attach(model, "streaming", positions="compact"), x)


def test_a_model_that_rotates_other_pairs_is_refused_only_where_keys_move() -> None:
    import transformers as t

    config = t.CohereConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0,
    )  # fmt: skip
    model = t.CohereForCausalLM(config).eval()
    x = ids(1, 40)
    expected = run(model, DynamicCache(config=model.config), x)
    torch.testing.assert_close(run(model, kv.attach(model, "full"), x), expected, atol=1e-5, rtol=0)
    with pytest.raises(MnemicError, match="other channel pairs"):
        run(model, kv.attach(model, "streaming", positions="compact"), x)


@pytest.mark.parametrize("method", ["full", "h2o", "streaming", "kivi"])
def test_a_quantised_model_reads_through_a_cache_of_what_it_computes_in(method: str) -> None:
    """Linear layers in eight bits: what the cache sees is floating point, and equals the stock cache."""

    class Eight(torch.nn.Module):
        def __init__(self, linear: torch.nn.Linear) -> None:
            super().__init__()
            self.scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
            self.register_buffer("codes", (linear.weight.detach() / self.scale).round().to(torch.int8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ (self.codes.to(x.dtype) * self.scale.to(x.dtype)).T

    model = build("llama")
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, child in list(part.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(part, name, Eight(child))
    x = ids(2, 60)
    expected = run(model, DynamicCache(config=model.config), x)
    cache = kv.attach(model, method, budget="1MiB")
    found = torch.cat([run(model, cache, piece) for piece in x.split(25, 1)], 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", kv.names())
def test_a_text_shorter_than_every_window_is_the_stock_cache(method: str) -> None:
    model, x = build("mistral"), ids(1, 3)
    expected = run(model, DynamicCache(config=model.config), x)
    cache = kv.attach(model, method, budget="64MiB", **quick(method))
    torch.testing.assert_close(run(model, cache, x), expected, atol=1e-5, rtol=0)


def test_an_encoder_decoder_is_refused() -> None:
    import transformers as t

    model = t.BartForConditionalGeneration(
        t.BartConfig(vocab_size=61, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
                     decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2)
    )  # fmt: skip
    with pytest.raises(MnemicError, match="encoder-decoder"):
        kv.attach(model, "full")


def test_a_cache_of_another_model_is_refused(llama: Any) -> None:
    cache = kv.attach(llama, "full")
    run(llama, cache, ids(1, 5))
    other = build("llama")
    kv.attach(other, "full")
    with pytest.raises(MnemicError, match="another model"):
        run(other, cache, ids(1, 5))


def test_a_cache_used_after_detach_is_refused() -> None:
    model = build("llama")
    cache = kv.attach(model, "full")
    run(model, cache, ids(1, 5))
    kv.detach(model)
    with pytest.raises(MnemicError, match="not attached"):
        run(model, cache, ids(1, 5))


def test_keys_that_are_not_finite_are_refused() -> None:
    model = build("llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.k_proj.weight[0, 0] = torch.nan
    with pytest.raises(MnemicError, match="layer 1 made keys that are not finite"):
        run(model, kv.attach(model, "full"), ids(1, 5))


def test_a_mask_that_hides_what_was_already_read_is_refused(llama: Any) -> None:
    cache = kv.attach(llama, "full")
    run(llama, cache, ids(1, 6))
    mask = torch.ones(1, 8, dtype=torch.long)
    mask[0, 2] = 0
    with pytest.raises(MnemicError, match="hides other tokens"):
        run(llama, cache, ids(1, 2), attention_mask=mask)
    with pytest.raises(MnemicError, match=r"mask is \[1, 2\]"):
        run(llama, kv_after(llama, 6), ids(1, 2), attention_mask=torch.ones(1, 2))


def kv_after(model: Any, count: int) -> Any:
    cache = kv.attach(model, "full")
    run(model, cache, ids(1, count))
    return cache


def test_nothing_to_read_changes_nothing_and_nothing_to_say_is_an_error(llama: Any) -> None:
    cache = kv_after(llama, 6)
    kv.read(llama, cache, ids(1, 0))
    assert cache.get_seq_length() == 6
    with pytest.raises(ValueError, match="at least one new token"):
        kv.generate(llama, cache, ids(1, 0), max_new_tokens=1)


def test_going_back_past_what_was_let_go_is_refused(llama: Any) -> None:
    cache = kv.attach(llama, "streaming", budget=6000, block=8)
    run(llama, cache, ids(1, 50))
    with pytest.raises(MnemicError, match="let go at token 48"):
        cache.crop(-3)
    with pytest.raises(ValueError, match="at most 50"):
        cache.crop(-51)


def test_more_rows_than_the_budget_holds_are_refused_and_nothing_changes(llama: Any) -> None:
    cache = kv.attach(llama, "streaming", budget=6000, block=8)
    run(llama, cache, ids(1, 50))
    before = cache.nbytes
    with pytest.raises(MnemicError, match="raise the budget"):
        cache.batch_repeat_interleave(4)
    assert cache.nbytes == before


def test_rows_can_be_repeated_and_chosen(llama: Any) -> None:
    x = ids(2, 20)
    cache = kv.attach(llama, "h2o", budget="1MiB")
    run(llama, cache, x[:, :15])
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([3, 0]))
    expected = run(llama, DynamicCache(config=llama.config), x)[:, 15:]
    torch.testing.assert_close(run(llama, cache, x[[1, 0], 15:]), expected[[1, 0]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", [*kv.names(), "duo-attention over kivi", "pyramidkv over h2o"])
def test_a_saved_cache_goes_on_as_if_it_had_never_been_closed(llama: Any, method: str, tmp_path: Path) -> None:
    x = ids(2, 120)
    mask = torch.ones_like(x)
    mask[1, :5] = 0
    budget = "1MiB" if method == "full" or " over " in method else 60_000
    cache = kv.attach(llama, method, budget=budget, **small(method))
    kv.read(llama, cache, x[:, :101], attention_mask=mask[:, :101])
    path = kv.save(cache, tmp_path / "book")
    opened = kv.load(path, llama)
    assert opened.nbytes == cache.nbytes
    expected = run(llama, cache, x[:, 101:], attention_mask=mask)
    assert torch.equal(run(llama, opened, x[:, 101:], attention_mask=mask), expected)


def test_a_saved_cache_of_another_model_or_version_or_nothing_is_refused(llama: Any, tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match="nothing to save"):
        kv.save(kv.attach(llama, "full"), tmp_path / "x")
    path = kv.save(kv_after(llama, 9), tmp_path / "book")
    other = build("llama")
    with torch.no_grad():
        other.model.embed_tokens.weight[0, 0] += 1
    with pytest.raises(MnemicError, match="another model"):
        kv.load(path, other)
    raw = path.read_bytes()
    (tmp_path / "old").write_bytes(raw.replace(b"mnemic-kv-2", b"mnemic-kv-0"))
    with pytest.raises(MnemicError, match="mnemic-kv-0"):
        kv.load(tmp_path / "old", llama)
    (tmp_path / "cut").write_bytes(raw[:-100])
    with pytest.raises(MnemicError, match="cannot be read"):
        kv.load(tmp_path / "cut", llama)
    with pytest.raises(MnemicError, match="could not write"):
        kv.save(kv_after(llama, 9), tmp_path / "nowhere" / "book")


@pytest.mark.parametrize("method", kv.names())
def test_what_a_cache_holds_is_freed_as_soon_as_it_is_let_go_of(method: str) -> None:
    model = build("llama")
    cache = kv.attach(model, method, **small(method))
    kv.read(model, cache, ids(1, 100))
    stores = [weakref.ref(layer.store) for layer in cache.layers]
    gc.disable()
    try:
        del cache
        assert [store() for store in stores] == [None] * len(stores)
    finally:
        gc.enable()
        kv.detach(model)
