"""A question is split into what is asked and when it was, and nothing else is taken out of it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.read.time import Anchor, plan
from mnemic.types import When, seconds

NOW = seconds(datetime(2023, 6, 2, 10, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("What did I buy last Tuesday?", "What did I buy?"),
        ("In 2016, where did I live?", "where did I live?"),
        ("What restaurant did I go to two weeks ago with Sam?", "What restaurant did I go to with Sam?"),
        ("What was the last book I read?", "What was the book I read?"),
        ("Where did I go the second time?", "Where did I go?"),
        ("What is my current job?", "What is my job?"),
        ("What is my first name?", "What is my first name?"),
        (
            "Which gift did the second world war museum sell?",
            "Which gift did the second world war museum sell?",
        ),
        ("After I moved to Berlin, who was my neighbour?", "who was my neighbour?"),
        ("yesterday?", "yesterday?"),
    ],
)
def test_what_is_left_is_the_question_without_its_time(question: str, what: str) -> None:
    assert plan(question, NOW).what == what


@pytest.mark.parametrize(
    ("question", "during", "before", "after"),
    [
        ("Who was president between 1961 and 1965?", "1961 1966", None, None),
        ("What did she say before 1850?", None, "1850", None),
        ("What did she say by 1850?", None, "1851", None),
        ("What did she say after May 2022?", None, None, "2022-06"),
        ("What did she say since May 2022?", None, None, "2022-05"),
        ("What did she say after 1850 but before 1860?", None, "1860", "1851"),
        ("What did I eat in 2022 in August?", "2022-08 2022-09", None, None),
        ("What did I eat?", None, None, None),
    ],
)
def test_the_time_is_a_stretch_or_its_sides(
    question: str, during: str | None, before: str | None, after: str | None
) -> None:
    found = plan(question, NOW)
    first, last = (When.parse(it).start for it in during.split()) if during else (None, None)
    assert (found.during and found.during.start, found.during and found.during.end) == (first, last)
    assert found.before == (When.parse(before).start if before else None)
    assert found.after == (When.parse(after).start if after else None)


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("When did I first meet Anna?", "first"),
        ("What was the very first thing I cooked?", "first"),
        ("What was the earliest entry about the garden?", "first"),
        ("When was the last time I swam?", "last"),
        ("What did I eat last week?", None),
        ("What happened the third time?", 3),
        ("What did we say at the 2nd meeting?", 2),
        ("What happened the first time?", "first"),
        ("Where do I live now?", "latest"),
        ("Which phone do I currently use?", "latest"),
        ("What is the most recent book?", "latest"),
        ("What present did I get?", None),
        ("Which came first, tea or coffee?", None),
    ],
)
def test_which_of_several_is_asked_for(question: str, order: str | int | None) -> None:
    assert plan(question, NOW).order == order


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("When did I move?", "date"),
        ("On what date did I move?", "date"),
        ("What year was it?", "date"),
        ("How many days ago did I move?", "duration"),
        ("How many weeks passed between the wedding and the move?", "duration"),
        ("How long did I stay in Lisbon?", "duration"),
        ("How long ago was it?", "duration"),
        ("How many hats do I own?", None),
        ("How long is the bridge?", None),
        ("Which came first, the trip or the concert?", "order"),
        ("Which did I do first, swim or run?", "order"),
        ("What was the order of the three trips?", "order"),
        ("Did I see the doctor before I started the job?", "order"),
        ("Who cooked when I was away?", None),
    ],
)
def test_the_kind_of_answer(question: str, asks: str | None) -> None:
    assert plan(question, NOW).asks == asks


@pytest.mark.parametrize(
    ("question", "anchor"),
    [
        ("Where did I live before the move?", Anchor("before", "the move")),
        ("Where did I live prior to marrying Tom?", Anchor("before", "marrying Tom")),
        ("Just after she got the job, where did we eat?", Anchor("after", "she got the job")),
        ("Who did I meet while I was in Oslo?", Anchor("during", "I was in Oslo")),
        ("Where did I live before the move in 2016?", Anchor("before", "the move", When.parse("2016"))),
        ("What did I eat before 2016?", None),
        ("When did I move?", None),
    ],
)
def test_an_event_stands_for_a_time(question: str, anchor: Anchor | None) -> None:
    found = plan(question, NOW)
    assert found.anchor == anchor
    assert found.during is None


@given(st.text(max_size=60))
def test_a_question_loses_words_to_time_and_gains_none(question: str) -> None:
    letters = iter(question)
    assert all(letter in letters for letter in "".join(plan(question, NOW).what.split()))
