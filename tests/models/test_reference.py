"""The reference model's training: lessons, resumption, the tokenizer; and the model as it is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnemic.attention.retrieval_heads import ranked, retrieval_scores, silenced
from mnemic.models import load_reference
from mnemic.models.lookup import lookup
from mnemic.models.reference.heads import Heads, causal
from mnemic.models.reference.lessons import KINDS, batch, lesson
from mnemic.models.reference.start import start
from mnemic.models.reference.train import lessons, rate, train
from mnemic.models.reference.words import tokenizer
from mnemic.types import MnemicError
from mnemic.worlds import tokens


def solved(text: list[int], asked: list[int], right: int) -> int:
    """What a plain reader says where an answer is due, from the tokens before (single-token lookups only)."""
    match asked:
        case [*_, tokens.ASK, key]:
            return text[text.index(key) + 1]
        case [*_, tokens.FIRST, one, two]:
            return one if text.index(one) < text.index(two) else two
    return right


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_of_a_lesson_follows_from_its_text(kind: str) -> None:
    for seed in range(20):
        page = lesson(np.random.default_rng(seed), kind, 128)
        ids = page.ids.tolist()
        assert len(ids) <= 128
        assert page.answer.any()
        first = int(np.flatnonzero(page.answer)[0])
        for at in np.flatnonzero(page.answer):
            assert solved(ids[:first], ids[:at], ids[at]) == ids[at]
        if kind == "order":
            asked = [ids[at - 1] for at in np.flatnonzero(page.answer)] + [
                ids[at - 2] for at in np.flatnonzero(page.answer)
            ]
            assert len(set(asked)) == len(asked)


def test_answers_of_a_page_weigh_together_the_root_of_their_number() -> None:
    _, weight, _ = batch(np.random.default_rng(0), 8, 112)
    asked = (weight > 0).sum(1)
    np.testing.assert_allclose(weight.sum(1), asked**0.5)


def test_a_run_that_was_stopped_ends_where_one_in_a_piece_does(tmp_path: Path, monkeypatch: Any) -> None:
    from mnemic.models.reference import train as module

    monkeypatch.setattr(module, "STAGES", (module.Stage(0.5, 2, 112), module.Stage(0.5, 2, 128)))
    assert train(tmp_path / "whole", steps=4, progress=False)
    assert not train(tmp_path / "parts", steps=4, minutes=-1, progress=False)  # at once
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    clock = iter([0.0] * 6 + [61.0] * 1000)
    with monkeypatch.context() as stop:
        stop.setattr(module.time, "monotonic", lambda: next(clock))
        assert not train(tmp_path / "parts", steps=4, minutes=1, progress=False)
    with pytest.raises(MnemicError, match="is of a run with"):
        train(tmp_path / "parts", steps=5, progress=False)
    assert train(tmp_path / "parts", steps=4, progress=False)
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    logs = [(tmp_path / name / "training.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    assert [json.loads(line)["loss"] for line in logs[0]] == [json.loads(line)["loss"] for line in logs[1]]


def test_the_rate_rises_and_ends_near_nothing() -> None:
    rates = [rate(step, 900) for step in range(900)]
    assert rates[0] < rates[10] < rates[99] == max(rates) == rates[500]
    assert rates[-1] < rates[99] / 100


def test_the_tokenizer_writes_every_token_as_the_world_does() -> None:
    words = tokenizer()
    text = " ".join(map(tokens.word, range(tokens.VOCABULARY)))
    assert words(text).input_ids == list(range(tokens.VOCABULARY))
    assert words.decode(range(tokens.VOCABULARY)) == text
    with pytest.raises(Exception, match="UNK"):
        words("hello")


def test_a_head_that_is_silent_for_a_row_changes_that_row_as_silencing_it_does() -> None:
    model, ids = start().eval(), torch.from_numpy(tokens.recall(np.random.default_rng(0), 64).ids)
    heads = Heads(model)
    drawn = np.random.default_rng(3).random((2, 4)) >= 0.5  # what `draw` draws first, for layer 0
    heads.draw(np.random.default_rng(3), 0.5, 2)
    heads.heard[1] = heads.kept[1][None]  # and layer 1 is heard
    with torch.inference_mode():
        out = model(ids.expand(2, -1)).logits
    heads.leave()
    for row in range(2):
        with torch.inference_mode(), silenced(model, [(0, h) for h in range(4) if not drawn[row, h]]):
            torch.testing.assert_close(out[row], model(ids[None]).logits[0])


def test_the_heads_that_do_best_alone_stay_and_the_weights_say_so() -> None:
    model, ids = start().eval(), torch.from_numpy(tokens.recall(np.random.default_rng(0), 64).ids)
    heads = Heads(model)

    def loss() -> float:  # head 3 of layer 1, then 1 of 2, then 0 of 3 are best; the next best is one before
        layer = next(i for i in range(3, 0, -1) if heads.heard[i].sum() == 1 or i == 1)
        return float((int(heads.heard[layer].argmax()) - {1: 3, 2: 1, 3: 0}[layer]) % 4)

    heads.keep_best(1, loss)
    assert heads.kept.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]
    with torch.inference_mode():
        before = model(ids[None]).logits
        heads.leave()
        torch.testing.assert_close(model(ids[None]).logits, before)
    projected = model.model.layers[2].self_attn.o_proj.weight.reshape(128, 4, 64).abs().amax((0, 2))
    assert (projected > 0).tolist() == [False, True, False, False]
    asking = model.model.layers[2].self_attn.q_proj.weight.reshape(4, 64, 128).abs().amax((1, 2))
    assert (asking > 0).tolist() == [False, True, False, False]


@pytest.mark.parametrize("length", [1, 127, 128, 300])
def test_attention_by_blocks_of_queries_is_causal_attention(length: int) -> None:
    query, key, value = torch.randn(3, 2, 2, length, 8).double().requires_grad_()
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    found = causal(query, key, value)
    torch.testing.assert_close(found, exact)
    weight = torch.randn_like(exact)
    ours, theirs = (torch.autograd.grad((out * weight).sum(), (query, key, value)) for out in (found, exact))
    torch.testing.assert_close(ours, theirs)


def test_lessons_made_ahead_by_others_are_the_same(monkeypatch: Any) -> None:
    here, ahead = (list(lessons(5, 1, 4, workers)) for workers in (0, 1))
    assert [step for step, _ in here] == [step for step, _ in ahead] == [1, 2, 3]
    for (_, one), (_, other) in zip(here, ahead, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def right(model: Any, page: tokens.Page) -> torch.Tensor:
    ids, asked = torch.from_numpy(page.ids)[None], torch.from_numpy(page.answer)[1:]
    with torch.inference_mode():
        said = model(ids[:, :-1]).logits[0].argmax(-1)
    return said[asked] == ids[0, 1:][asked]


def cases(count: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    found = []
    for i in range(count):
        page = tokens.needle(np.random.default_rng([5, i]), length)
        needle = np.arange(len(page.ids)) == np.flatnonzero(page.ids == page.ids[-2])[0] + 1
        found.append(tuple(torch.from_numpy(each) for each in (page.ids, needle, page.answer)))
    return found  # type: ignore[return-value]


def test_in_the_lookup_model_the_one_head_that_looks_up_is_found() -> None:
    model = lookup()
    scores = retrieval_scores(model, cases(8, 128))
    assert ranked(scores)[0] == (1, 0)
    assert scores[1, 0] == 1.0
    assert scores.sum() < 1.2  # the others copy by chance at most
    page = tokens.needle(np.random.default_rng(9), 128)
    with silenced(model, [(1, 1), (0, 2)]):
        assert right(model, page).all()
    with silenced(model, [(1, 0)]):
        assert not right(model, page).any()
    assert right(model, page).all()
    assert model.config._attn_implementation == "sdpa"


def test_heads_cannot_be_scored_on_what_the_model_does_not_know() -> None:
    ids, needle, answer = cases(1, 64)[0]
    ids[-1] = tokens.WORDS
    with pytest.raises(ValueError, match="no case was answered"):
        retrieval_scores(lookup(), [(ids, needle, answer)])


@pytest.mark.parametrize("kind", ["needle", "recall", "threads", "order", "copy"])
def test_the_model_that_is_shipped_does_its_tasks_within_its_window(kind: str) -> None:
    model, _ = load_reference()
    pages = [tokens.TASKS[kind](np.random.default_rng([17, i]), 512) for i in range(6)]
    assert np.mean([bool(right(model, page).all()) for page in pages]) >= 0.8


def test_the_shipped_tokenizer_and_weights_belong_together() -> None:
    model, words = load_reference()
    assert len(words) == model.config.vocab_size == tokens.VOCABULARY
    ids = words("<s> w9 k17 V5 w3 k2 V9 w1 ? k17", return_tensors="pt").input_ids
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False)
    assert words.decode(out[0, -1:]) == "V5"
