"""A passage that says the time asked about comes first; nothing else moves."""

from mnemic.read.timely import timely
from mnemic.types import Hit, Recall, Record, When

NOW = When.parse("2021-01-01").middle
EARLY = Record(text="From 1958 to 1962 the mill was run by Agnes Roth.", id=1)
LATE = Record(text="From 1963 to 1970 the mill was run by Peter Lind.", id=2)
NEVER = Record(text="The mill, the mill: who ran the mill?", id=3)


def ranked(question: str, *records: Record) -> list[int]:
    evidence = Recall(tuple(Hit(r, 3.0 - n / 10) for n, r in enumerate(records)))
    return [hit.record.id for hit in timely(evidence, question, NOW)]


def test_the_passage_that_says_the_time_asked_comes_first() -> None:
    assert ranked("Who ran the mill from 1964 to 1966?", NEVER, EARLY, LATE)[0] == 2
    assert ranked("Who ran the mill in 1958?", NEVER, LATE, EARLY)[0] == 1


def test_without_a_time_in_the_question_the_order_stays() -> None:
    assert ranked("Who ran the mill?", NEVER, LATE, EARLY) == [3, 2, 1]


def test_a_record_with_its_own_event_time_is_not_weighed_twice() -> None:
    dated = Record(text=LATE.text, id=4, when=When.parse("1999"))
    evidence = Recall((Hit(dated, 1.0),))
    assert timely(evidence, "Who ran the mill in 1964?", NOW) == evidence
