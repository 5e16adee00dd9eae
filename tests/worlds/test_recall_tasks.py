from itertools import pairwise

import numpy as np
import pytest

from mnemic.worlds.recall_tasks import (
    IGNORE,
    RecallTask,
    associative_recall,
    joint_recall,
    passkey,
    selective_copying,
    set_intersection,
)


def test_every_key_is_asked_once_and_its_answer_was_read_before() -> None:
    task = associative_recall(50, 64, 12, seed=3)
    for tokens, targets in zip(task.tokens, task.targets, strict=True):
        written = dict(zip(tokens[:24:2], tokens[1:24:2], strict=True))
        asked = np.flatnonzero(targets != IGNORE)
        assert asked.min() >= 24
        assert sorted(tokens[asked]) == sorted(written)
        assert all(written[tokens[place]] == targets[place] for place in asked)


def test_keys_and_values_are_apart_and_none_comes_twice() -> None:
    task = associative_recall(20, 64, 16, seed=0, vocab=64)
    keys, values = task.tokens[:, :32:2], task.tokens[:, 1:32:2]
    assert ((keys >= 1) & (keys < 32) & (values >= 32) & (values < 64)).all()
    assert all(len(set(row)) == 16 for row in [*keys, *values])


def test_near_queries_are_likelier() -> None:
    task = associative_recall(400, 256, 4, seed=1)
    places = np.nonzero(task.targets != IGNORE)[1]
    middle = 8 + (256 - 8) // 2
    assert (places < middle).mean() > 0.7


def test_a_seed_makes_the_same_task_and_another_seed_another() -> None:
    first, again, other = (associative_recall(5, 32, 4, seed=seed) for seed in (1, 1, 2))
    assert (first.tokens == again.tokens).all()
    assert (first.targets == again.targets).all()
    assert (first.tokens != other.tokens).any()


def test_the_rest_is_noise_or_silence() -> None:
    silent = associative_recall(5, 64, 4, seed=0, noise=False)
    rest = silent.tokens[:, 8:][silent.targets[:, 8:] == IGNORE]
    assert (rest == 0).all()


def test_more_pairs_than_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a length of 32 holds 8"):
        associative_recall(1, 32, 9, seed=0)
    with pytest.raises(ValueError, match="a vocabulary of 16 7"):
        associative_recall(1, 64, 9, seed=0, vocab=16)


def answered(tokens: np.ndarray, targets: np.ndarray) -> dict[int, int]:
    """Position to token of what is asked of one sequence."""
    return {int(place): int(targets[place]) for place in np.flatnonzero(targets != IGNORE)}


def read_joint(tokens: list[int], symbols: int) -> dict[int, int]:
    table: dict[tuple[int, int], int] = {}
    context, key, said = -1, -1, {}
    for place, token in enumerate(tokens):
        if 2 <= token < 2 + symbols:
            context = token
        elif token < 2 + 2 * symbols and token > 1:
            key = token
            if (context, key) in table:
                said[place] = table[context, key]
        elif token > 1:
            table[context, key] = token
    return said


def read_copying(tokens: list[int], vocab: int) -> dict[int, int]:
    items = [token for token in tokens if 0 < token < vocab - 1]
    markers = [place for place, token in enumerate(tokens) if token == vocab - 1]
    return dict(zip(markers, items, strict=True))


def read_sets(tokens: list[int]) -> dict[int, int]:
    comma = tokens.index(2)
    (shared,) = set(tokens[1:comma]) & set(tokens[comma + 1 : -1])
    return {len(tokens) - 1: shared}


def read_passkey(tokens: list[int]) -> dict[int, int]:
    told, asked = (place for place, token in enumerate(tokens) if token == 0)
    key = [token for token in tokens[told:asked] if 0 < token < 11]
    return {asked + i: digit for i, digit in enumerate(key)}


@pytest.mark.parametrize(
    ("task", "reader"),
    [
        (joint_recall(30, 4, 3, seed=0, symbols=6), lambda tokens: read_joint(tokens, 6)),
        (selective_copying(30, 40, 7, seed=0), lambda tokens: read_copying(tokens, 16)),
        (set_intersection(30, 3, 12, seed=0, vocab=40), read_sets),
        (set_intersection(30, 12, 3, seed=1, vocab=40), read_sets),
        (passkey(30, 60, seed=0), read_passkey),
        (passkey(30, 12, seed=0, depth=1.0), read_passkey),
    ],
)
def test_who_reads_the_tokens_can_answer_everything_and_nothing_else_is_asked(task: RecallTask, reader) -> None:  # type: ignore[no-untyped-def]
    assert task.tokens.min() >= 0
    assert task.tokens.max() < task.vocab
    for tokens, targets in zip(task.tokens, task.targets, strict=True):
        assert reader(tokens.tolist()) == answered(tokens, targets)
        assert min(answered(tokens, targets)) >= task.told


def test_a_key_alone_does_not_tell_its_value_in_joint_recall() -> None:
    task = joint_recall(300, 4, 4, seed=0)
    by_key = 0
    for tokens, targets in zip(task.tokens, task.targets, strict=True):
        latest = {int(k): int(v) for k, v in pairwise(tokens[: task.told])}
        said = answered(tokens, targets)
        by_key += sum(latest[int(tokens[place])] == value for place, value in said.items()) / len(said)
    assert 0.25 < by_key / 300 < 0.35


def test_all_places_values_and_orders_are_drawn() -> None:
    copying = selective_copying(400, 20, 4, seed=0)
    assert ((copying.tokens[:, :16] != 0).mean(0) > 0.15).all()
    keys = passkey(400, 20, seed=0)
    assert ((keys.tokens[:, :9] == 0).mean(0) > 0.05).all()
    assert (passkey(5, 100, seed=0, depth=0.5).tokens[:, 44] == 0).all()
    joint = joint_recall(400, 3, 3, seed=0)
    assert (joint.tokens[:, 1] == joint.tokens[:, joint.told]).mean() == pytest.approx(1 / 3, abs=0.1)
    sets = set_intersection(400, 5, 5, seed=0)
    shared = sets.tokens[:, 1:6] == sets.targets[:, -1:]
    assert (shared.mean(0) > 0.1).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="17 contexts and 2 keys need as many symbols"):
        joint_recall(1, 17, 2, seed=0)
    with pytest.raises(ValueError, match="9 items do not fit into a length of 16"):
        selective_copying(1, 16, 9, seed=0)
    with pytest.raises(ValueError, match="need 35 ids but a vocabulary of 32 has 28"):
        set_intersection(1, 20, 16, seed=0, vocab=32)
    with pytest.raises(ValueError, match="take 12 tokens, more than 11"):
        passkey(1, 11, seed=0)
    with pytest.raises(ValueError, match="depth lies from 0"):
        passkey(1, 20, seed=0, depth=2)
