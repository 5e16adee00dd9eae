"""Events start where the stream surprises, and end where a plain count over the graph says so."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.segment.events import Events, boundaries, novelty, refined, similarity, split_quality
from mnemic.segment.topics import Topics, coherence, depths
from mnemic.types import Floats, Span, Stream


def scenes(lengths: Sequence[int], seed: int = 0, noise: float = 0.3) -> Floats:
    """Embeddings of scenes: each item its scene's direction and some noise."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(lengths), 32))
    rows = [centres[i] + noise * rng.normal(size=32) for i, length in enumerate(lengths) for _ in range(length)]
    return np.array(rows, np.float32)


def plain_quality(graph: np.ndarray, s: int, measure: str) -> float:
    """The definition, by a double loop over all pairs."""
    n = len(graph)
    total = sum(graph[i][j] for i in range(n) for j in range(n))
    degree = [sum(graph[i]) for i in range(n)]
    if total == 0:
        return 0.0
    parts = [range(s), range(s, n)]
    if measure == "modularity":
        pairs = sum(graph[i][j] - degree[i] * degree[j] / total for part in parts for i in part for j in part)
        return pairs / (2 * total)
    cut = sum(graph[i][j] for i in parts[0] for j in parts[1])
    volume = min(sum(degree[i] for i in part) for part in parts)
    return -cut / volume if volume else -1.0


@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from(["modularity", "conductance"]))
def test_every_split_is_measured_as_its_definition_says(n: int, seed: int, measure: str) -> None:
    graph = similarity(np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32))
    expected = [plain_quality(graph, s, measure) for s in range(1, n)]
    np.testing.assert_allclose(split_quality(graph, measure), expected, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["modularity", "conductance"])
def test_a_boundary_moves_to_where_the_scene_changes(measure: str) -> None:
    embeddings = scenes([9, 14, 8])
    assert refined([6, 26], embeddings, measure) == [9, 23]  # type: ignore[arg-type]
    assert Events(refine=None, longest=64)(
        Stream(range(31), surprise=np.eye(1, 31, 6, dtype=np.float32)[0])
    ) == [
        Span(0, 6),
        Span(6, 31),
    ]


@given(st.integers(0, 40), st.integers(0, 10**6), st.integers(1, 9), st.floats(0.1, 2.0))
def test_boundaries_are_those_of_a_plain_loop(n: int, seed: int, window: int, gamma: float) -> None:
    surprise = np.random.default_rng(seed).random(n).astype(np.float32)
    expected = []
    for t in range(2, n):
        past = surprise[max(0, t - window) : t].astype(np.float64)
        if surprise[t] > past.mean() + gamma * past.std() + 1e-9:
            expected.append(t)
    assert boundaries(surprise, gamma, window) == expected


def test_novelty_is_high_where_the_scene_changes_and_nowhere_else() -> None:
    error = novelty(scenes([10, 10, 10]))
    assert set(np.argsort(-error)[:2]) == {10, 20}
    assert error[0] == 0
    np.testing.assert_allclose(novelty(np.ones((5, 3), np.float32)), 0, atol=1e-6)


def test_scenes_are_found_as_events_and_as_topics() -> None:
    embeddings = scenes([12, 9, 15, 10], seed=3)
    stream = Stream(range(46), embeddings=embeddings)
    ends = [12, 21, 36]
    events = [span.start for span in Events(gamma=2.0)(stream)][1:]
    assert set(ends) <= set(events)
    assert [span.start for span in Topics()(stream)][1:] == ends


@given(
    st.integers(0, 60),
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(0, 20),
    st.sampled_from([None, "modularity", "conductance"]),
)
def test_events_and_topics_tile_any_stream_within_their_sizes(
    n: int, seed: int, shortest: int, more: int, refine: str | None
) -> None:
    longest = 2 * shortest + more
    embeddings = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    stream = Stream(range(n), embeddings=embeddings)
    spans = Events(refine=refine, shortest=shortest, longest=longest)(stream)  # type: ignore[arg-type]
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(n))
    assert all(span.stop - span.start <= longest for span in spans)
    assert n < shortest or all(span.stop - span.start >= shortest for span in spans)
    topics = Topics(shortest=shortest)(stream)
    assert [i for span in topics for i in range(span.start, span.stop)] == list(range(n))
    assert n < shortest or all(span.stop - span.start >= shortest for span in topics)


@given(st.integers(1, 20), st.integers(0, 10**6), st.integers(1, 5))
def test_coherence_and_depth_are_those_of_a_plain_loop(n: int, seed: int, block: int) -> None:
    embeddings = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    expected = []
    for gap in range(1, n):
        a, b = embeddings[max(0, gap - block) : gap].mean(axis=0), embeddings[gap : gap + block].mean(axis=0)
        expected.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    values = coherence(embeddings, block)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    for i, depth in enumerate(depths(values)):
        left = right = i
        while left > 0 and values[left - 1] >= values[left]:
            left -= 1
        while right + 1 < len(values) and values[right + 1] >= values[right]:
            right += 1
        assert depth == pytest.approx(values[left] + values[right] - 2 * values[i])


def test_missing_signals_are_named() -> None:
    with pytest.raises(ValueError, match="surprise or embeddings"):
        Events()(Stream([1, 2]))
    with pytest.raises(ValueError, match="modularity needs embeddings"):
        Events()(Stream([1, 2], surprise=np.zeros(2, np.float32)))
    with pytest.raises(ValueError, match="topics need a stream with embeddings"):
        Topics()(Stream([1, 2]))
    with pytest.raises(ValueError, match="at least twice"):
        Events(shortest=5, longest=8)
