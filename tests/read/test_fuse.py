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
    words64, cosines64 = words.astype(float), cosines.astype(float)
    mean = sum(cosines64) / 60
    spread_w = (sum((w - sum(words64) / 60) ** 2 for w in words64) / 60) ** 0.5
    spread_v = (sum((c - mean) ** 2 for c in cosines64) / 60) ** 0.5
    expected = [
        w / spread_w + fuse.DENSE * (c - mean) / spread_v for w, c in zip(words64, cosines64, strict=True)
    ]
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
    shifted = fuse.fuse(words, 0.5 + cosines / 4, among)
    np.testing.assert_allclose(shifted, fuse.fuse(words, cosines, among), rtol=1e-3, atol=1e-4)


def test_vectors_that_tell_nothing_apart_leave_the_ranking_of_words() -> None:
    words, _ = field(3)
    among = np.ones(60, bool)
    flat = fuse.fuse(words, np.full(60, 0.3, np.float32), among)
    np.testing.assert_array_equal(flat, fuse.fuse(words, None, among))
    assert flat.argmax() == words.argmax()


def test_a_record_without_a_vector_is_judged_by_its_words_alone() -> None:
    words, cosines = field(4)
    among = np.ones(60, bool)
    cosines[7] = -1
    lone = fuse.fuse(words, cosines, among)
    assert lone[7] == fuse.fuse(words, None, among)[7]
    rest = among.copy()
    rest[7] = False
    np.testing.assert_allclose(
        lone[rest] - words[rest] / words.std(),
        fuse.fuse(words, cosines, rest)[rest] - words[rest] / words[rest].std(),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_a_session_speaks_through_its_best_turns(seed: int) -> None:
    draw = np.random.default_rng(seed)
    evidence = draw.normal(0, 1, 80).astype(np.float32)
    sessions = draw.integers(-1, 9, 80)
    among = draw.random(80) < 0.8
    expected = evidence.astype(float)
    for i in range(80):
        if among[i] and sessions[i] >= 0:
            turns = [max(float(evidence[j]), 0) for j in range(80) if among[j] and sessions[j] == sessions[i]]
            expected[i] += fuse.SESSION * sum(sorted(turns)[-fuse.BEST :])
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
