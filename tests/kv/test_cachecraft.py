"""Chunks put together elsewhere: what is recomputed is exact, the rest is what was kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from oracle import instead
from tiny import build, ids

from mnemic import kv
from mnemic.kv.cachecraft import Chunk, keep, place
from mnemic.types import MnemicError

SIZES = (2, 7, 11, 9, 8)


def kept(model: Any) -> list[Chunk]:
    return keep(model, list(ids(1, sum(SIZES))[0].split(SIZES)))


def logits_after(model: Any, cache: Any, asked: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(asked, past_key_values=cache).logits


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "phi3", "gpt-neox"])
def test_chunks_in_their_old_order_are_the_prompt_and_cost_nothing(architecture: str) -> None:
    model, asked = build(architecture), ids(1, 3, seed=1)
    with torch.inference_mode():
        expected = model(torch.cat((ids(1, sum(SIZES)), asked), 1), use_cache=False).logits[:, -3:]
    cache, again = place(model, kept(model))
    assert again == 0
    torch.testing.assert_close(logits_after(model, cache, asked), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt-neox"])
def test_recomputing_everything_is_reading_anew(architecture: str) -> None:
    model, asked = build(architecture), ids(1, 3, seed=1)
    chunks = [replace(c, before={"gone": 1.0}) if c.before is not None else c for c in kept(model)]
    chunks = [chunks[i] for i in (0, 3, 1, 4, 2)]
    cache, again = place(model, chunks, alpha=2.0)
    assert again == sum(SIZES) - SIZES[0]
    with torch.inference_mode():
        x = torch.cat((*(c.ids for c in chunks), asked[0]))[None]
        expected = model(x, use_cache=False).logits[:, -3:]
    torch.testing.assert_close(logits_after(model, cache, asked), expected, atol=1e-4, rtol=1e-4)


def test_recomputed_tokens_see_old_and_new_pairs_and_the_others_stay_as_they_were() -> None:
    """Against a whole pass in which every layer's other keys and values are put back before attention."""
    model, asked = build("llama"), ids(1, 3, seed=1)
    chunks = [kept(model)[i] for i in (0, 3, 1, 4, 2)]
    names = [chunk.name for chunk in chunks]
    at, fixed = SIZES[0], []
    for i, chunk in enumerate(chunks[1:], 1):
        fixed += (at + chunk.fix(names[1:i], 0.6)).tolist()
        at += len(chunk.ids)
    old = torch.tensor([column for column in range(at) if column not in fixed])
    assert 5 < len(fixed) < at - 5
    width = model.model.layers[0].self_attn.head_dim
    angle = torch.arange(at)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    cos, sin = torch.cat((angle, angle), 1).cos(), torch.cat((angle, angle), 1).sin()

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
    ) -> Any:
        bare = torch.cat([chunk.keys[module.layer_idx] for chunk in chunks], 1)
        one, two = bare.chunk(2, -1)
        key[0, :, old] = (bare * cos + torch.cat((-two, one), -1) * sin)[:, old]
        value[0, :, old] = torch.cat([chunk.values[module.layer_idx] for chunk in chunks], 1)[:, old]
        share = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(share, 1).double(), value.repeat_interleave(share, 1).double()
        later = torch.ones(query.shape[2], key.shape[2]).triu(1).bool()
        products = (query.double() @ key.transpose(2, 3) * scaling).masked_fill(later, -torch.inf)
        return (products.softmax(-1) @ value).to(query.dtype).transpose(1, 2), None

    with torch.inference_mode(), instead(model, attention):
        x = torch.cat((*(c.ids for c in chunks), asked[0]))[None]
        expected = model(x, use_cache=False).logits[:, -3:]
    cache, again = place(model, chunks, alpha=0.6)
    assert again == len(fixed)
    torch.testing.assert_close(logits_after(model, cache, asked), expected, atol=1e-4, rtol=1e-4)


def test_what_depends_on_others_and_on_what_has_changed_is_recomputed() -> None:
    """The sums by a plain loop over the model's own attention."""
    model = build("llama")
    chunks = kept(model)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        maps = model(ids(1, sum(SIZES)), output_attentions=True).attentions
    span, starts = range(20, 29), (2, 9)  # of the third chunk, and of the two before it
    inter, intra, given = [0.0, 0.0], 0.0, [0.0] * 9
    for layer in maps:
        for t in span:
            for column in range(t + 1):
                weight = float(layer[0, :, t, column].mean())
                if column >= 20:
                    intra += weight
                elif column >= 2:
                    inter[column >= starts[1]] += weight
                    given[t - 20] += weight
    third = chunks[3]
    a = inter[0] / (9 * 7) + inter[1] / (9 * 11)
    assert third.cci == pytest.approx(1 / (1 + 2.718281828 ** (-a / (intra / 81))), rel=1e-5)
    assert third.before == pytest.approx({chunks[1].name: inter[0], chunks[2].name: inter[1]}, rel=1e-5)
    torch.testing.assert_close(third.inter.double(), torch.tensor(given).double(), atol=1e-5, rtol=0)
    one, two, other = chunks[1].name, chunks[2].name, chunks[4].name
    assert third.overlap([one, other, two]) == pytest.approx(1.0)
    assert third.overlap([two, one]) == 0.0  # the only pair has turned
    assert third.overlap([two]) == pytest.approx(inter[1] / sum(inter))
    count = -(-9 * 0.5 * third.cci * (1 - inter[1] / sum(inter)) // 1)
    largest = sorted(sorted(range(9), key=lambda t: -given[t])[: int(count)])
    assert third.fix([two], 0.5).tolist() == largest


def test_a_start_in_another_place_or_another_start_is_refused() -> None:
    model = build("llama")
    chunks = kept(model)
    with pytest.raises(ValueError, match="put it first"):
        place(model, chunks[1:])
    with pytest.raises(ValueError, match=r"chunks \[1\] were kept after another start"):
        place(model, [chunks[0], keep(model, [ids(1, 3, seed=4)[0], chunks[1].ids])[1]])
    with pytest.raises(ValueError, match="needs a token"):
        keep(model, [chunks[0].ids, chunks[1].ids[:0]])


def test_a_model_that_does_not_see_everything_is_refused_and_so_is_attaching() -> None:
    with pytest.raises(MnemicError, match="sliding_attention"):
        kept(build("mistral"))
    with pytest.raises(MnemicError, match=r"mnemic\.kv\.cachecraft is used in a way of its own"):
        kv.attach(build("llama"), "cachecraft")
