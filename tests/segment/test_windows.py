"""Windows tile a stream; passages are whole sentences within a limit and never cross a wall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.segment.sentences import sentences
from mnemic.segment.windows import count, fixed, passages
from mnemic.types import Span, Stream

SENTENCE = st.integers(1, 12).map(lambda n: " ".join(["Word"] + ["word"] * (n - 1)) + ".")


@given(st.integers(0, 50), st.integers(1, 9))
def test_fixed_windows_tile_the_stream(n: int, size: int) -> None:
    spans = fixed(Stream(range(n)), size)
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(n))
    assert all(span.stop - span.start == size for span in spans[:-1])


@given(st.lists(st.tuples(SENTENCE, st.sampled_from([" ", "\n\n"])), max_size=30), st.integers(1, 30))
def test_passages_tile_within_the_limit_and_cut_only_between_sentences(
    parts: list[tuple[str, str]], words: int
) -> None:
    text = "".join(sentence + space for sentence, space in parts)
    spans = passages(text, words=words)
    assert "".join(text[span.start : span.stop] for span in spans) == text
    assert all(count(text[span.start : span.stop]) <= words for span in spans)
    if words >= 12:
        assert {span.start for span in spans} <= {span.start for span in sentences(text)}


@given(st.lists(SENTENCE, min_size=2, max_size=20), st.data())
def test_no_passage_crosses_a_wall(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(parts)
    walls = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=4)))
    spans = passages(text, words=20, walls=walls)
    assert {0, *walls} <= {span.start for span in spans}
    assert "".join(text[span.start : span.stop] for span in spans) == text


def test_a_stretch_is_shared_evenly() -> None:
    text = "One two three four five. " * 31  # 155 words: two of about 78 rather than 150 and 5
    sizes = [count(text[span.start : span.stop]) for span in passages(text, words=150)]
    assert sizes in ([80, 75], [75, 80])


def test_paragraph_ends_are_preferred() -> None:
    text = "\n\n".join(("One two three four five. " * n).strip() for n in (9, 11))
    assert [count(text[span.start : span.stop]) for span in passages(text, words=60)] == [45, 55]


def test_text_without_sentences_is_cut_between_words() -> None:
    text = "word " * 1000
    spans = passages(text, words=150)
    assert max(count(text[span.start : span.stop]) for span in spans) <= 150
    assert all(text[span.start] == "w" for span in spans)


def test_each_wide_character_is_a_word() -> None:
    assert count("今天 很冷 ok") == 5
    assert count("naïve café") == 2


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fixed(Stream([]), 0)
    with pytest.raises(ValueError, match="at least one"):
        passages("x", words=0)
    assert passages("") == []
    assert passages("x") == [Span(0, 1)]
