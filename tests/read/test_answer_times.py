"""Dates, durations, order and latest state come from event times alone, exactly."""

from itertools import permutations

import numpy as np
import pytest

from mnemic.read.answer import answer
from mnemic.types import Hit, Recall, Record, When

DIARY = (
    ("2023-03-04", "Moved into the flat on Harbour Road in Porto with Ines."),
    ("2023-03-20", "Dinner with Tomas at the Blue Heron; he talked about his new job at the bank."),
    ("2023-05-02", "Yesterday I adopted a grey cat called Mouse from the shelter."),
    ("2023-06-11", "Ines left for Berlin, so I am looking for a smaller place."),
    ("2023-07-01", "Moved to a studio in Braga. The rent is 520 euros."),
    ("2023-08-15", "Dinner with Tomas at Casa Rosa, this time with his wife."),
    ("2023-09-09", "Signed up for a pottery class in the old school."),
    ("2024-01-20", "Moved again, to a house in Coimbra near the river."),
    ("2024-02-10", "Dinner with Tomas at the Blue Heron again."),
)
RECORDS = [Record(text=t, id=n, order=n, when=When.parse(d)) for n, (d, t) in enumerate(DIARY, 1)]


def asked(question: str, records=RECORDS, now: str = "2024-03-01"):
    return answer(question, Recall(tuple(Hit(r, 1.0) for r in records)), now=now)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When did I adopt the cat?", "2023-05-01"),
        ("When did Ines leave?", "2023-06-11"),
        ("When was the first dinner with Tomas?", "2023-03-20"),
        ("When was the last time I had dinner with Tomas?", "2024-02-10"),
        ("How many days passed between adopting the cat and signing up for pottery?", "131 days"),
        ("How many days ago did I move to Braga?", "244 days"),
        ("How many weeks passed between adopting the cat and signing up for pottery?", "19 weeks"),
        ("Which came first, the pottery class or the move to Braga?", "the move to Braga"),
        ("Which came last, the pottery class or the move to Braga?", "the pottery class"),
        ("Did Ines leave before I moved to Braga?", "yes"),
        ("Did Ines leave after I moved to Braga?", "no"),
    ],
)
def test_dates_and_durations_are_exact(question: str, expected: str) -> None:
    assert asked(question).text == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where do I live now?", "Coimbra"),
        ("Where did I live before Coimbra?", "Braga"),
        ("Where did I have dinner with Tomas in August 2023?", "Casa Rosa"),
        ("Where did I first have dinner with Tomas?", "Blue Heron"),
        ("Where did I live in June 2023?", "Porto"),
    ],
)
def test_the_event_that_the_dates_single_out_answers(question: str, expected: str) -> None:
    assert expected in asked(question).text


def test_the_order_in_which_evidence_was_recalled_changes_nothing() -> None:
    moves = [RECORDS[0], RECORDS[4], RECORDS[7]]
    found = {asked("Where do I live now?", list(order)).text for order in permutations(moves)}
    assert len(found) == 1
    assert "Coimbra" in found.pop()


def test_a_relative_time_counts_from_the_record_that_says_it() -> None:
    for day, expected in (("2024-03-01", "2024-02-29"), ("2023-01-01", "2022-12-31")):
        record = Record(text="Yesterday the boiler broke.", id=1, when=When.parse(day))
        assert asked("When did the boiler break?", [record]).text == expected


def test_a_date_is_given_as_precisely_as_it_is_known() -> None:
    record = Record(text="The orchard was planted.", id=1, when=When.parse("1987-04"))
    assert asked("When was the orchard planted?", [record]).text == "1987-04"


def test_an_event_that_is_nowhere_has_no_date() -> None:
    given = asked("When did I visit the zoo in Antwerp?")
    assert given.abstained
    assert not given.citations


def test_a_person_who_is_nowhere_is_not_confused_with_another() -> None:
    assert asked("When did I have dinner with Anna?").abstained


def test_every_event_of_a_sequence_is_cited_in_order_of_time() -> None:
    given = asked("In what order did I have dinner with Tomas?", RECORDS[::-1])
    assert [c.record.id for c in given.citations] == [2, 6, 9]
    assert given.text == "; ".join(f"{c.record.when}: {c.quote}" for c in given.citations)


def test_places_before_and_after_follow_time_not_telling() -> None:
    day = When.parse("2023-05-02")
    told = [
        "This evening Bo went to the harbour.",
        "Bo walked to the mill this morning.",
        "Yesterday Bo was at the fair.",
    ]
    records = [Record(text=t, id=n, order=n, when=day) for n, t in enumerate(told, 1)]
    assert asked("Where was Bo before the harbour?", records).text.endswith("mill")
    assert asked("Where was Bo before the mill?", records).text.endswith("fair")
    assert asked("Where was Bo after the fair?", records).text.endswith("mill")
    assert asked("Where is Bo?", records).text.endswith("harbour")


def told(*entries: tuple[str, str]) -> list[Record]:
    return [Record(text=t, id=n, order=n, when=When.parse(d)) for n, (d, t) in enumerate(entries, 1)]


def test_days_are_counted_by_the_calendar_not_by_the_clock() -> None:
    records = told(("2023-03-01T23:50", "Planted the oak."), ("2023-03-03T00:10", "Felled the elm."))
    assert asked("How many days passed between planting the oak and felling the elm?", records).text == "2 days"


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("Ran to the shed behind the mill with Ada this morning.", "the shed behind the mill"),
        ("Sat on a bench at number six, Fern Row and drew Ada.", "number six, Fern Row"),
        ("Baked at the cottage at Mill End with Ada.", "the cottage at Mill End"),
        ("Ada bought a hat at Hill and Daughters; it rained.", "Hill and Daughters"),
        ("At Fern Hall Ada and I drew a heron in charcoal.", "Fern Hall"),
    ],
)
def test_a_place_is_quoted_whole_and_without_what_follows(entry: str, place: str) -> None:
    assert asked("Where was I with Ada in May 2023?", told(("2023-05-09", entry))).text == place


def test_what_somebody_did_is_told_by_the_sentence() -> None:
    records = told(("2023-05-09", "Frost at dawn. Ada showed me how to bind a book. Home by six."))
    assert asked("What did Ada do in May 2023?", records).text == "Ada showed me how to bind a book."


def test_a_side_of_an_order_may_hold_a_comma() -> None:
    records = told(("2023-05-09", "Sewed at number six, Fern Row."), ("2023-06-09", "Painted at Elm Row."))
    question = "Which came first, painting at Elm Row or sewing at number six, Fern Row?"
    assert asked(question, records).text == "sewing at number six, Fern Row"


def test_there_is_no_third_time_of_what_happened_twice() -> None:
    records = told(("2023-05-09", "Planted an oak."), ("2023-06-09", "Planted an oak."))
    assert asked("When did I plant an oak for the second time?", records).text == "2023-06-09"
    assert asked("When did I plant an oak for the third time?", records).abstained


def test_a_place_named_after_a_weekday_dates_nothing() -> None:
    records = told(("2023-05-09", "Sold the lamp at the Saturday market."))
    assert asked("When did I sell the lamp at the Saturday market?", records).text == "2023-05-09"
    records = told(("2023-05-09", "Sold the lamp on Saturday morning."))
    assert asked("When did I sell the lamp?", records).text == "2023-05-06"


def test_the_possessive_of_a_name_is_that_name() -> None:
    records = told(("2023-05-09", "Ada has a dog, Rex."), ("2023-06-09", "Ben has a dog, Tom."))
    assert "Rex" in asked("Which dog is Ada's?", records).text


class Letters:
    """Vectors of how often each letter occurs: texts are alike when their letters are."""

    name = fingerprint = "letters"
    dim = 26

    def encode(self, texts):
        counts = np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def test_events_are_not_alike_for_a_shared_name() -> None:
    records = told(("2023-05-09", "Zuzanna, Zuzanna, Zuzanna knits."), ("2023-06-09", "Zuzanna sews."))
    given = Recall(tuple(Hit(r, 1.0) for r in records))
    question = "When did Zuzanna, Zuzanna, Zuzanna wees?"
    assert answer(question, given, embedder=Letters(), threshold=0).text == "2023-06-09"
