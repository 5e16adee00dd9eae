"""The lookup model finds every fact in its window, and a cache breaks exactly what it drops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mnemic import kv
from mnemic.models.lookup import WINDOW, lookup
from mnemic.worlds import tokens


@pytest.fixture(scope="module")
def model() -> Any:
    return lookup()


def answers(model: Any, cache: Any, told: np.ndarray) -> list[bool]:
    """Which of the facts the model still knows, asked one by one."""
    right = []
    for row in range(len(told)):
        question, answer = tokens.ask_value(told, row)
        with torch.inference_mode():
            logits = model(torch.tensor([question]), past_key_values=cache).logits[0, -1]
        cache.crop(-len(question))
        right.append(int(logits.argmax()) == answer[0])
    return right


@pytest.mark.parametrize("task", ["needle", "recall", "copy"])
def test_it_finds_everything_within_its_window(model: Any, task: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        page = tokens.TASKS[task](rng, WINDOW)
        ids = torch.from_numpy(page.ids)[None]
        with torch.inference_mode():
            found = model(ids[:, :-1]).logits[0].argmax(-1)
        asked = torch.from_numpy(page.answer)[1:]
        assert torch.equal(found[asked], ids[0, 1:][asked])


def test_letting_go_of_an_asked_value_breaks_exactly_that_answer(model: Any) -> None:
    told = tokens.facts(np.random.default_rng(0), 20)
    text = torch.from_numpy(tokens.tell(np.random.default_rng(1), told, 200))
    for lost in (0, 7, 19):
        cache = kv.attach(model, "full")
        kv.read(model, cache, text)
        assert all(answers(model, cache, told))
        at = int((text == tokens.KEYS + told[lost, 0]).nonzero()[0, 0]) + 1
        left = torch.tensor([i for i in range(200) if i != at])
        cache.layers[1].store.keep(left)
        assert [row for row, right in enumerate(answers(model, cache, told)) if not right] == [lost]


def test_far_beyond_the_window_only_recall_still_finds_it(model: Any) -> None:
    told = tokens.facts(np.random.default_rng(0), 40)
    text = torch.from_numpy(tokens.tell(np.random.default_rng(1), told, 8 * WINDOW))
    share = {}
    for method, options in {
        "full": {},
        "streaming": {},
        "retrieval-attention": {"sinks": 16, "chosen": 8},
    }.items():
        budget = None if method == "full" else WINDOW * 2 * 2 * 2 * 64 * 4 * 2
        cache = kv.attach(model, method, budget=budget, **options)
        kv.read(model, cache, text)
        share[method] = np.mean(answers(model, cache, told))
    assert share["full"] < 0.8
    assert share["streaming"] < 0.5
    assert share["retrieval-attention"] >= 0.95
