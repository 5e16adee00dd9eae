"""A text is cut after sentences and nowhere else, and no character is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.segment.sentences import sentences

CASES = {
    "two plain ones": ["The ship left. ", "It came back in May."],
    "titles and initials": ["Mr. J. R. Ames met Dr. Oke in St. Ives. ", "They spoke."],
    "decimals and versions": ["It costs 3.50 euros. ", "Version 2.0.1 is out."],
    "abbreviation before a number": ["See fig. 3 and no. 5 of vol. 2. ", "He said no. ", "Then he left."],
    "abbreviation at the end": [
        "She lives in the U.S. ",
        "He works for Acme Inc. in York, etc. ",
        "But they met.",
    ],
    "an abbreviation goes on": ["The U.S. Navy came at 5 p.m. sharp."],
    "speech goes on": ['"What?" he said. ', "“Stop!” Anna cried. ", '"Go now." ', "She left."],
    "marks in a row": ["Really?! ", "Yes... ", "I think so... but wait."],
    "lower-case chat": ["i went home. ", "then i slept! ", "ok"],
    "first person is no initial": ["So am I. ", "He knew."],
    "enumeration": ["1. Mix the flour.\n", "2. Add eggs.\n", "a) Wait."],
    "list": ["To buy:\n", "- milk\n", "- two eggs"],
    "blank line": ["A heading\n\n", "Some text without a mark\n \n", "More"],
    "wrapped lines": ["The ship had\nleft. ", "It rained."],
    "Chinese": ["今天很冷。", "我们走吧！", "好。"],
    "Hindi": ["यह घर है। ", "वह गया।"],
    "spaces around": ["  One. ", "Two.  \n"],
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_cuts_where_a_reader_would(expected: list[str]) -> None:
    text = "".join(expected)
    assert [text[span.start : span.stop] for span in sentences(text)] == expected


@given(st.text(alphabet=st.sampled_from("ab A.!?\n\"'”1-。()…"), max_size=60))
def test_spans_tile_any_text(text: str) -> None:
    spans = sentences(text)
    assert "".join(text[span.start : span.stop] for span in spans) == text
    assert all(span.start < span.stop for span in spans)
    assert len(spans) == 1 or all(text[span.start : span.stop].strip() for span in spans)


@pytest.mark.parametrize("unit", [".", ".)", "\n", " \n", "? ", "a", '."'])
def test_long_runs_take_linear_time(unit: str) -> None:
    text = "Start. " + unit * 200_000
    spans = sentences(text)
    assert spans[-1].stop == len(text)
