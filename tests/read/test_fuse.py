import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.read import fuse


def field(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    words = np.where(draw.random(n) < 0.3, draw.gamma(2.0, 1.0, n), 0.0).astype(np.float32)
    return words, draw.normal(0.2, 0.1, n).astype(np.float32)


def test_evidence_is_the_sum_of_the_channels_each_over_its_own_spread() -> None:
    words, cosines = field(0)
    n = 60 + fuse.PRIOR
    expected = np.zeros(60)
    for scores, usual, weight in ((words, fuse.WORDS_SPREAD, 1.0), (cosines, fuse.VECTORS_SPREAD, fuse.DENSE)):
        mean, own = sum(map(float, scores)) / n, sum(map(float, scores)) / 60
        spread = ((sum((float(x) - own) ** 2 for x in scores) + fuse.PRIOR * usual**2) / n) ** 0.5
        for i, x in enumerate(map(float, scores)):
            expected[i] += weight * (x - (mean if weight != 1.0 else 0.0)) / spread
    np.testing.assert_allclose(fuse.fuse(words, cosines, np.ones(60, bool)), expected, rtol=1e-4, atol=1e-5)


def test_what_may_not_be_found_has_no_say_in_what_is() -> None:
    words, cosines = field(1)
    among = np.arange(60) < 40
    alone = fuse.fuse(words[:40], cosines[:40], np.ones(40, bool))
    beside = fuse.fuse(words, cosines, among)
    np.testing.assert_array_equal(beside[:40], alone)
    assert not beside[40:].any()


def test_only_differences_count_so_an_embedder_whose_cosines_are_all_high_changes_nothing() -> None:
    words, cosines = field(2)
    among = np.ones(60, bool)
    base, shifted = fuse.fuse(words, cosines, among), fuse.fuse(words, 0.5 + cosines, among)
    np.testing.assert_allclose(shifted - shifted[0], base - base[0], rtol=1e-3, atol=1e-3)


def test_vectors_that_tell_nothing_apart_leave_the_ranking_of_words() -> None:
    words, _ = field(3)
    among = np.ones(60, bool)
    flat = fuse.fuse(words, np.full(60, 0.3, np.float32), among)
    assert (np.argsort(-flat, kind="stable") == np.argsort(-words, kind="stable")).all()


def test_a_record_without_a_vector_is_judged_by_its_words_alone() -> None:
    words, cosines = field(4)
    among = np.ones(60, bool)
    cosines[7] = -1
    by_words = fuse.fuse(words, None, among)
    by_both = fuse.fuse(words, cosines, among)
    assert by_both[7] == by_words[7]
    others = np.arange(60) != 7  # they alone are the background of the vectors
    by_vectors = fuse.fuse(np.zeros(59, np.float32), cosines[others], np.ones(59, bool))
    np.testing.assert_allclose((by_both - by_words)[others], by_vectors, rtol=1e-4, atol=1e-5)


def test_a_memory_of_one_record_finds_it() -> None:
    one = np.ones(1, bool)
    words = np.array([1e-6], np.float32)  # a word that stands in every record
    assert fuse.fuse(words, None, one)[0] > 0
    assert fuse.fuse(np.zeros(1, np.float32), np.array([0.4], np.float32), one)[0] > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_session_speaks_through_its_best_turns(seed: int) -> None:
    draw = np.random.default_rng(seed)
    evidence = draw.normal(0, 1, 80).astype(np.float32)
    sessions = draw.integers(-1, 9, 80)
    among = draw.random(80) < 0.8
    expected = evidence.astype(float)
    for i in range(80):
        if among[i]:
            together = [j for j in range(80) if sessions[j] == sessions[i]] if sessions[i] >= 0 else [i]
            turns = [max(float(evidence[j]), 0) for j in together if among[j]]
            expected[i] += fuse.SESSION * sum(turn / 2**j for j, turn in enumerate(sorted(turns, reverse=True)))
    np.testing.assert_allclose(fuse.with_sessions(evidence, sessions, among), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 1000))
def test_turns_of_one_session_keep_their_order(seed: int) -> None:
    draw = np.random.default_rng(seed)
    evidence = draw.normal(0, 1, 30).astype(np.float32)
    sessions = draw.integers(0, 4, 30)
    scores = fuse.with_sessions(evidence, sessions, np.ones(30, bool))
    for session in range(4):
        rows = np.flatnonzero(sessions == session)
        assert (np.argsort(evidence[rows]) == np.argsort(scores[rows])).all()


def test_nothing_to_find_is_no_error() -> None:
    nothing = np.zeros(3, bool)
    words = np.ones(3, np.float32)
    assert not fuse.fuse(words, words, nothing).any()
    np.testing.assert_array_equal(fuse.with_sessions(words, np.full(3, -1), nothing), words)


def test_where_words_cover_the_question_meaning_counts_less() -> None:
    words, cosines = np.array([4, 2, 0, 0, 0], np.float32), np.array([0.3, 0.5, 0.2, 0.2, 0.2], np.float32)
    among = np.ones(5, bool)
    loose, covered = (fuse.fuse(words, cosines, among, share) for share in (0.0, 1.0))
    assert loose.argmax() == 1
    assert covered.argmax() == 0
    bare = fuse.fuse(words, None, among)
    np.testing.assert_allclose(covered - bare, (loose - bare) * (1 - fuse.COVERED), rtol=1e-4)
