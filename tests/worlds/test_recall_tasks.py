import numpy as np
import pytest

from mnemic.worlds.recall_tasks import IGNORE, associative_recall


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
