"""A passage that says the time asked about comes first; nothing else moves."""

import numpy as np

from mnemic.read.time import plan
from mnemic.read.timely import timely
from mnemic.types import When

NOW = When.parse("2021-01-01").middle
EARLY = "From 1958 to 1962 the mill was run by Agnes Roth."
LATE = "From 1963 to 1970 the mill was run by Peter Lind."
NEVER = "The mill, the mill: who ran the mill?"


def ranked(question: str, *texts: str, undated: bool = True) -> list[str]:
    scores = 1.0 - np.arange(len(texts)) / 10
    raised = timely(scores, np.full(len(texts), undated), texts.__getitem__, plan(question, NOW), NOW)
    assert raised.max() <= 1
    return [texts[row] for row in np.argsort(-raised, kind="stable")]


def test_the_passage_that_says_the_time_asked_comes_first() -> None:
    assert ranked("Who ran the mill from 1964 to 1966?", NEVER, EARLY, LATE)[0] == LATE
    assert ranked("Who ran the mill in 1958?", NEVER, LATE, EARLY)[0] == EARLY


def test_without_a_time_in_the_question_the_order_stays() -> None:
    assert ranked("Who ran the mill?", NEVER, LATE, EARLY) == [NEVER, LATE, EARLY]


def test_a_record_with_its_own_event_time_is_not_weighed_twice() -> None:
    assert ranked("Who ran the mill in 1964?", NEVER, EARLY, LATE, undated=False) == [NEVER, EARLY, LATE]


def test_what_nothing_speaks_for_stays_unfound() -> None:
    raised = timely(
        np.array([1.0, 0.0]), np.ones(2, bool), [NEVER, LATE].__getitem__, plan("in 1964", NOW), NOW
    )
    assert raised[1] == 0
