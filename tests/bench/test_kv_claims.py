"""Claims of cache methods: every one is measured, and its twin differs in what was chosen and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from mnemic import kv, recipes
from mnemic.bench import bounded, claims
from mnemic.bench.runner import Options
from mnemic.bench.scrambled import scrambled, shuffled
from mnemic.bench.tasks import kv_claims
from mnemic.models import load_reference

CLAIMED = [name for name in kv.names() if hasattr(recipes.load("kv", name), "CLAIM")]


@pytest.mark.parametrize("method", CLAIMED)
def test_a_twin_takes_the_same_bytes_and_answers_otherwise(method: str) -> None:
    model = tiny.build("llama", num_hidden_layers=4)
    policy = kv.policy(method, **tiny.small(method)).prepared(model)
    budget = None if method == "minicache" else 64 * 4 * 2 * 2 * 8 * 4
    ids, asked = tiny.ids(1, 128), tiny.ids(1, 4, seed=1)
    found = []
    for each in (policy, scrambled(policy, model)):
        cache = kv.attach(model, each, budget=budget)
        kv.read(model, cache, ids, progress=False)
        with torch.inference_mode():
            logits = model(asked, past_key_values=cache).logits
        found.append((cache.nbytes, logits))
    (nbytes, plain), (twin_nbytes, twin) = found
    assert twin_nbytes == nbytes
    assert not torch.allclose(plain, twin, atol=1e-4)


def test_shuffling_leaves_padding_and_what_is_certain_where_it_is() -> None:
    scores = torch.tensor([[[-torch.inf, torch.inf, 1.0, 2.0, -torch.inf, 3.0, torch.inf]]])
    columns = torch.tensor([[[-1, 0, 1, 2, 3, 4, 5]]])
    lot = torch.Generator().manual_seed(0)
    seen = [shuffled(scores, columns, lot)[0, 0].tolist() for _ in range(20)]
    for row in seen:
        assert row[0] == -torch.inf
        assert row[1] == row[6] == torch.inf
        assert sorted(row[2:6]) == [-torch.inf, 1.0, 2.0, 3.0]
    assert len({tuple(row) for row in seen}) > 5


def test_claims_are_measured_on_the_same_cases_at_equal_bytes(tmp_path: Path) -> None:
    options = Options(extra={"methods": "tova", "cases": "2"}, cache=tmp_path, quiet=True)
    outcome = kv_claims.run(None, options)
    assert list(outcome.systems) == ["h2o 25%", "tova 25%", "tova 25%, scrambled"]
    ids = [[row["id"] for row in rows] for rows in outcome.systems.values()]
    assert ids[0] == ids[1] == ids[2]
    full = bounded.LENGTH * 4096
    assert all(full / 8 < nbytes <= full / 4 for nbytes in outcome.extra["sizes"].values())
    assert claims.check(recipes.load("kv", "tova").CLAIM, outcome)["n"] == 2


def test_a_question_that_was_known_while_choosing_is_asked_once() -> None:
    model, _ = load_reference()
    text, (question, answer) = kv_claims.page(np.random.default_rng(0), "needle_known")
    assert text[-2:].tolist() == question
    cache = bounded.read(model, kv.policy("full"), None, text[None])
    bounded.take_back(cache, len(question))
    assert cache.get_seq_length() == bounded.LENGTH - 2
    assert kv_claims.said(model, cache, [question]) == answer
    tight = kv.policy("snapkv", recent=8, block=8)
    cache = bounded.read(model, tight, bounded.LENGTH * 1024, text[None])
    bounded.take_back(cache, len(question))
    assert int(cache.layers[0].store.columns.max()) == bounded.LENGTH - 3


def test_a_thread_is_told_in_the_page_and_a_draft_of_it_keeps_it() -> None:
    model, _ = load_reference()
    text, (question, answer) = kv_claims.thread(np.random.default_rng(0))
    pairs = {(int(a), int(b)) for a, b in itertools.pairwise(text)}
    hops = [question[1], *answer]
    assert {(hops[i], hops[i + 1]) for i in (0, 2, 4)} <= pairs
    found = [kv_claims._ahead(model, name, [0], 0) for name in ("speckv 25%", "undrafted 25%")]
    assert [each["rows"][0]["thread_ahead"] for each in found] == [1.0, 0.0]
    assert all(each["nbytes"] <= bounded.LENGTH * 1024 for each in found)
