"""Text is kept by the question's own attention: as eager attention says, within its room, and it answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import build, ids

from mnemic.kv import infiniretri
from mnemic.models import load_reference
from mnemic.types import MnemicError
from mnemic.worlds import tokens


@pytest.mark.parametrize("layer", [0, -1])
def test_what_is_looked_at_is_the_attention_of_an_eager_pass(layer: int) -> None:
    model = build("llama").eval()
    before = model.config._attn_implementation
    text = ids(1, 40)[0]
    looked = infiniretri.looks(model, text, 5, layer)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        maps = model(text[None], output_attentions=True, use_cache=False).attentions[layer]
    torch.testing.assert_close(looked, maps[0, :, -5:].sum(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("phrase", [1, 4, 7])
def test_scores_are_the_sums_over_phrases_and_rows(phrase: int) -> None:
    looked, weights = torch.rand(3, 11, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    plain = torch.zeros(11, dtype=torch.float64)
    for r in range(3):
        for t in range(11):
            for u in range(max(0, t - (phrase - 1) // 2), min(11, t + phrase // 2 + 1)):
                plain[t] += weights[r] * looked[r, u]
    torch.testing.assert_close(infiniretri.scores(looked, weights, phrase), plain)


def test_a_fact_is_kept_out_of_a_text_longer_than_the_window_and_no_more_than_there_is_room_for() -> None:
    model, _ = load_reference()
    for case in range(3):
        rng = np.random.default_rng([3, case])
        told = tokens.facts(rng, 30)
        sentences = torch.split(torch.from_numpy(tokens.tell(rng, told, 2049)[1:]), 8)
        question, answer = tokens.ask_value(told, case)
        kept = infiniretri.keep(
            model, sentences, torch.tensor(question), chunk=256, room=72, tokens=16, layer=2
        )
        assert kept == sorted(kept)
        text = torch.cat([sentences[i] for i in kept])
        assert len(text) <= 72
        ids = torch.cat((torch.tensor([tokens.START]), text, torch.tensor(question)))
        with torch.inference_mode():
            assert int(model(ids[None]).logits[0, -1].argmax()) == answer[0]


def test_what_cannot_be_read_or_kept_is_refused() -> None:
    model, sentences = build("llama"), [ids(1, 6)[0], ids(1, 9)[0]]
    with pytest.raises(MnemicError, match="empty question"):
        infiniretri.keep(model, sentences, torch.tensor([], dtype=torch.int64))
    with pytest.raises(MnemicError, match="sentence of 9 tokens"):
        infiniretri.keep(model, sentences, ids(1, 2)[0], room=8)
    with pytest.raises(MnemicError, match="layers"):
        infiniretri.keep(model, sentences, ids(1, 2)[0], layer=50)
    assert infiniretri.keep(model, [], ids(1, 2)[0]) == []
