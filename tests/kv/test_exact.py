"""A policy within budget gives the stock cache's logits, on every architecture, however the text arrives."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import ARCHITECTURES, build, ids, quick
from transformers import DynamicCache

from mnemic import kv

POLICIES = [*kv.names(), "duo-attention over kivi", "pyramidkv over keyformer"]
ROOM = "64MiB"  # more than any text here needs
LENGTH = 90


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


def stock(model: Any, x: torch.Tensor, **given: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(x, past_key_values=DynamicCache(config=model.config), **given).logits


@pytest.mark.parametrize("method", POLICIES)
def test_a_policy_within_budget_equals_the_stock_cache(model: Any, method: str) -> None:
    """Prefill, then a chunk, then a second turn token by token: every logit."""
    x = ids(2, LENGTH)
    expected = stock(model, x)
    cache = kv.attach(model, method, budget=ROOM, **quick(method))
    with torch.inference_mode():
        pieces = [x[:, :50], x[:, 50:79], *x[:, 79:].split(1, 1)]
        logits = torch.cat([model(piece, past_key_values=cache).logits for piece in pieces], 1)
    kv.detach(model)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", POLICIES)
def test_left_padding_changes_nothing_for_the_tokens_that_are_there(model: Any, method: str) -> None:
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[0, :33] = 0
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    alone = stock(model, x[:1, 33:])
    cache = kv.attach(model, method, budget=ROOM, **quick(method))
    out = []
    with torch.inference_mode():
        for start, stop in ((0, 20), (20, 60), (60, LENGTH)):
            out.append(
                model(
                    x[:, start:stop],
                    attention_mask=mask[:, :stop],
                    position_ids=positions[:, start:stop],
                    past_key_values=cache,
                ).logits
            )
    kv.detach(model)
    logits = torch.cat(out, 1)
    torch.testing.assert_close(logits[:1, 33:], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[1:], stock(model, x[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["full", "infllm"])
def test_a_padded_text_that_was_read_is_gone_on_from_where_it_ends(model: Any, method: str) -> None:
    """Reading and generating count positions alike: the first logits are those of the text without padding."""
    x, turn = ids(2, 60), ids(2, 5, seed=1)
    mask = torch.ones_like(x)
    mask[0, :23] = 0
    cache = kv.attach(model, method, budget=ROOM, **quick(method))
    kv.read(model, cache, x, attention_mask=mask, chunk=16, progress=False)
    first: list[torch.Tensor] = []

    def note(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        first.append(scores.clone())
        return scores

    kv.generate(model, cache, turn, max_new_tokens=1, do_sample=False, logits_processor=[note])
    kv.detach(model)
    for row, start in ((0, 23), (1, 0)):
        alone = stock(model, torch.cat((x[row, start:], turn[row]))[None])[0, -1]
        torch.testing.assert_close(first[0][row], alone, atol=1e-5, rtol=0)


def test_generate_gives_the_same_tokens_greedily_and_by_beams(model: Any) -> None:
    """Every method on a Llama, every fourth on each of the others, by turns."""
    turn = ARCHITECTURES.index(model.config.model_type.replace("_text", "").replace("_", "-"))
    x = ids(2, 40)
    mask = torch.ones_like(x)
    mask[1, :7] = 0
    for options in ({}, {"num_beams": 3}):
        asked = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, **options}
        expected = model.generate(x, **asked)
        for method in POLICIES[turn % 4 :: 4] if turn else POLICIES:
            cache = kv.attach(model, method, budget=ROOM, **quick(method))
            assert torch.equal(model.generate(x, past_key_values=cache, **asked), expected), (method, options)
            kv.detach(model)


def test_generate_after_a_read_text_equals_generate_from_the_whole(model: Any) -> None:
    x = ids(1, 60)
    expected = model.generate(x, max_new_tokens=9, do_sample=False)
    cache = kv.attach(model, "full")
    kv.read(model, cache, x[:, :48], chunk=13)
    first = kv.generate(model, cache, x[:, 48:], max_new_tokens=5, do_sample=False)
    assert torch.equal(first, expected[:, 60:65])
    again = kv.generate(model, cache, first[:, -1:], max_new_tokens=4, do_sample=False)  # a second turn
    assert torch.equal(again, expected[:, 65:])
    kv.detach(model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_errs_no_more_than_the_stock_cache(architecture: str) -> None:
    """Against float32: rounding differs, its size does not."""
    exact = build(architecture)
    model, x = build(architecture).to(torch.bfloat16), ids(1, LENGTH)
    with torch.no_grad():
        for own, other in zip(exact.parameters(), model.parameters(), strict=True):
            own.copy_(other)  # the same rounded weights
    true = stock(exact, x)
    error = (stock(model, x).float() - true).square().mean().sqrt()
    for method in ("full", "streaming", "h2o", "razorattention", "infllm"):
        cache = kv.attach(model, method, budget=ROOM)
        with torch.inference_mode():
            logits = torch.cat([model(piece, past_key_values=cache).logits for piece in x.split(37, 1)], 1)
        assert logits.dtype == torch.bfloat16
        assert (logits.float() - true).square().mean().sqrt() < 1.5 * error, method


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 3.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda s: s["rope_type"],
)  # fmt: skip
def test_keys_are_lifted_and_placed_with_the_models_own_scaling(scaling: dict[str, Any]) -> None:
    model = build("llama", max_position_embeddings=64, rope_parameters={"rope_theta": 10000.0, **scaling})
    x = ids(1, LENGTH)
    expected = stock(model, x)
    cache = kv.attach(model, "streaming", budget=ROOM, positions="compact")
    chunk = LENGTH if scaling["rope_type"] == "dynamic" else 31  # its frequencies change from pass to pass
    with torch.inference_mode():
        logits = torch.cat([model(piece, past_key_values=cache).logits for piece in x.split(chunk, 1)], 1)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_detach_restores_the_model_and_another_cache_works_while_attached() -> None:
    model = build("llama")
    x = ids(2, 30)
    expected, before = stock(model, x), model.config._attn_implementation
    kv.attach(model, "streaming")
    kv.attach(model, "full")
    torch.testing.assert_close(stock(model, x), expected, atol=1e-5, rtol=0)
    kv.detach(model)
    assert model.config._attn_implementation == before
    assert torch.equal(stock(model, x), expected)
    copy.deepcopy(model)
