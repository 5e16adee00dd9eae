"""The token language: every question has exactly one right answer, and it stands where the page says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mnemic.worlds import tokens
from mnemic.worlds.tokens import ASK, FIRST, FOLLOW, KEYS, VALUES, WORDS


def told_in(text: np.ndarray) -> list[tuple[int, int]]:
    """The facts of a text, in order, read with nothing but the kinds of its tokens."""
    pairs = pairwise(text.tolist())
    return [(k - KEYS, v - VALUES) for k, v in pairs if KEYS <= k < VALUES <= v < WORDS]


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_follows_from_the_text_and_from_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in ("needle", "recall", "threads", "order"):
        page = tokens.TASKS[name](rng, 200)
        question = int(np.flatnonzero(np.isin(page.ids, (ASK, FIRST, FOLLOW)))[0])
        facts = told_in(page.ids[:question])
        keys = [key for key, _ in facts]
        assert len(set(keys)) == len(keys)  # told once
        asked = page.ids[question:]
        if name == "order":
            one, two, answer = asked[1:] - KEYS
            assert answer == min((one, two), key=keys.index)
        elif name == "threads":
            name_of, written = int(asked[1]) - KEYS, list(asked[2:])
            for value in written[::2]:
                name_of = dict(facts)[name_of]
                assert value == VALUES + name_of
            assert written[1::2] == [value - VALUES + KEYS for value in written[:-1:2]]
        else:
            for sign, key, value in asked.reshape(-1, 3):
                assert sign == ASK
                assert value - VALUES == dict(facts)[key - KEYS]
        assert page.answer[:question].sum() == 0
        assert page.answer.any()


def test_a_copied_string_has_no_token_twice_and_comes_again() -> None:
    page = tokens.copy(np.random.default_rng(0), 100)
    first, second = page.ids[1:50], page.ids[51:]
    assert np.array_equal(first, second)
    assert len(set(first)) == len(first)
    assert np.array_equal(page.ids[page.answer], second[1:])


def test_pages_are_the_length_asked_for_and_the_seed_decides_them() -> None:
    for name in ("needle", "threads", "order"):
        one, two, other = (tokens.TASKS[name](np.random.default_rng(seed), 300) for seed in (1, 1, 2))
        assert len(one.ids) == 300
        assert np.array_equal(one.ids, two.ids)
        assert not np.array_equal(one.ids, other.ids)


def test_more_facts_than_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="there are 247 keys"):
        tokens.facts(rng, 248)
    with pytest.raises(ValueError, match="need 41 tokens, not 40"):
        tokens.tell(rng, tokens.facts(rng, 20), 40)


def test_tokens_are_written_by_their_kind() -> None:
    assert [tokens.word(t) for t in (0, 2, KEYS + 3, VALUES + 3, WORDS + 3)] == ["<pad>", "?", "k3", "V3", "w3"]
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokens.word(tokens.VOCABULARY)
