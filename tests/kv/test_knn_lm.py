"""Neighbours are mixed in as a plain loop would, within bytes, and taken out again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import VOCABULARY, build, ids

from mnemic.kv.knn_lm import Datastore
from mnemic.types import MnemicError


def test_mixing_is_a_sum_over_the_nearest_states() -> None:
    model, told, asked = build("llama"), ids(1, 60)[0], ids(1, 9, seed=1)
    store = Datastore(k=7, share=0.3, temperature=40.0)
    assert store.read(model, told) == 59
    with torch.inference_mode():
        keys = model.model(told[None]).last_hidden_state[0].double()
        states = model.model(asked).last_hidden_state[0].double()
        alone = model(asked).logits
        attached = store.attach(model)
        found = model(asked).logits[0].double().exp()
        attached.remove()
        assert torch.equal(model(asked).logits, alone)
    for t in range(9):
        far = [(float((states[t] - keys[i]).square().sum()), i) for i in range(59)]
        near = sorted(far)[:7]
        weights = torch.tensor([-distance / 40 for distance, _ in near]).double().softmax(0)
        expected = 0.7 * alone[0, t].double().softmax(0)
        for weight, (_, i) in zip(weights, near, strict=True):
            expected[told[i + 1]] += 0.3 * weight
        torch.testing.assert_close(found[t], expected, atol=1e-4, rtol=0)


def test_a_text_read_in_windows_gives_each_token_once_with_half_a_window_before_it() -> None:
    model, told = build("llama"), ids(1, 60)[0]
    store = Datastore()
    assert store.read(model, told, window=16) == 59
    assert store.index.ids.tolist() == told[1:].tolist()
    with torch.inference_mode():
        expected = model.model(told[None, 24:40]).last_hidden_state[0, 8:15]
    torch.testing.assert_close(store.index.keys[32:39, :-1], expected, atol=1e-5, rtol=0)


def test_generation_is_mixed_and_a_budget_holds(tmp_path: Path) -> None:
    model, told = build("llama"), ids(1, 60)[0]
    store = Datastore(budget=20 * (4 * 33 + 8) + 5, share=0.99, k=1)
    assert store.read(model, told) == 20
    assert store.read(model, told) == 0
    assert store.nbytes <= 20 * (4 * 33 + 8) + 5
    store.save(tmp_path / "store")
    opened = Datastore.load(tmp_path / "store")
    attached = opened.attach(model)
    said = model.generate(told[None, :8], max_new_tokens=6, do_sample=False)[0, 8:]
    attached.remove()
    assert said.tolist() == told[8:14].tolist()  # the text goes on as it did
    assert opened.probabilities(torch.zeros(1, 32), VOCABULARY).sum() == pytest.approx(1)


def test_nothing_read_another_model_or_no_file_of_it_is_refused(tmp_path: Path) -> None:
    model = build("llama")
    with pytest.raises(MnemicError, match="is empty"):
        Datastore().probabilities(torch.zeros(1, 32), VOCABULARY)
    with pytest.raises(MnemicError, match="nothing to save"):
        Datastore().save(tmp_path / "store")
    store = Datastore()
    store.read(model, ids(1, 9)[0])
    with pytest.raises(MnemicError, match="another model"):
        store.attach(build("llama", num_hidden_layers=2))
    with pytest.raises(ValueError, match=r"share = 1\.5"):
        Datastore(share=1.5)
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(MnemicError, match="cannot be read as a datastore"):
        Datastore.load(tmp_path / "other")
