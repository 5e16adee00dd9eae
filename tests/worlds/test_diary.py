"""Every answer stands in the entries that the question names, and nowhere else does a better one."""

import re
from collections import Counter
from datetime import date

import pytest

from mnemic.worlds.diary import KINDS, Diary
from mnemic.worlds.life import PASTIMES
from mnemic.worlds.question import Question

DIARY = Diary(seed=5, days=700)
QUESTIONS = DIARY.questions(390)


def of(kind: str) -> list[Question]:
    return [question for question in QUESTIONS if question.kind == kind]


def told(question: Question) -> list[str]:
    return [DIARY.entries[index].text.lower() for index in question.gold]


def test_the_same_seed_tells_the_same_life() -> None:
    again = Diary(seed=5, days=700)
    assert again.entries == DIARY.entries
    assert again.questions(390) == QUESTIONS
    assert Diary(seed=6, days=700).entries != DIARY.entries
    assert Diary(seed=5, days=30).entries == DIARY.entries[: len(Diary(seed=5, days=30).entries)]


def test_a_long_diary_hardly_repeats_itself() -> None:
    texts = Counter(entry.text for entry in Diary(seed=1, days=2500).entries)
    assert len(texts) > 3500
    assert len(texts) > 0.85 * texts.total()


def test_entries_are_in_order_of_time() -> None:
    times = [entry.when.start for entry in DIARY.entries if entry.when]
    assert times == sorted(times)
    assert len(times) == len(DIARY.entries)
    assert [entry.order for entry in DIARY.entries] == list(range(len(times)))
    assert times[-1] < DIARY.now


def test_questions_of_every_kind_are_asked_once() -> None:
    assert Counter(question.kind for question in QUESTIONS).keys() == set(KINDS)
    assert len({question.text for question in QUESTIONS}) == len(QUESTIONS) == 390


@pytest.mark.parametrize("kind", ["who", "where", "what", "first", "last", "latest", "then"])
def test_the_answer_is_in_the_words_of_its_entry(kind: str) -> None:
    for question in of(kind):
        (answer,), (entry,) = question.answers, told(question)
        assert answer.lower() in entry, question


@pytest.mark.parametrize("kind", ["when", "nth"])
def test_a_date_is_the_day_of_its_entry_or_the_day_before_if_it_says_so(kind: str) -> None:
    for question in of(kind):
        entry = DIARY.entries[question.gold[-1]]
        assert entry.when is not None
        written = date.fromisoformat(entry.when.iso[:10])
        late = (written - date.fromisoformat(question.answers[0])).days
        assert late == ("here is yesterday" in entry.text)


def test_the_latest_state_is_the_last_one_told() -> None:
    for question in of("latest"):
        change = next(it for it in DIARY.changes if it.index == question.gold[0])
        history = [it for it in DIARY.changes if it.fact is change.fact and it.who == change.who]
        assert history[-1] == change
        assert len(history) >= 2


def test_an_earlier_state_was_told_before_and_replaced_after_the_month_that_is_asked_for() -> None:
    months = {f"{date(2021, n, 1):%B}": n for n in range(1, 13)}
    for question in of("then"):
        month, year = re.search(r"in (\w+) (\d{4})\?", question.text).groups()  # type: ignore[union-attr]
        first = date(int(year), months[month], 1)
        change = next(it for it in DIARY.changes if it.index == question.gold[0])
        same = [it for it in DIARY.changes if it.fact is change.fact and it.who == change.who]
        assert [it for it in same if it.day < first][-1] == change
        assert not any((it.day.year, it.day.month) == (first.year, first.month) for it in same)


def test_lists_are_in_the_order_of_time() -> None:
    for question in of("list"):
        assert list(question.gold) == sorted(question.gold)
        assert all(
            answer.lower() in entry for answer, entry in zip(question.answers, told(question), strict=True)
        )


def test_order_and_days_follow_from_the_two_entries() -> None:
    days = {event.index: event.day for event in DIARY.events}
    for question in of("days"):
        a, b = question.gold
        assert question.answers == (str(abs((days[a] - days[b]).days)),)
    for question in of("order"):
        a, b = question.gold
        first = question.text.index(question.answers[0]) < question.text.index(" or ")
        assert first == (days[a] < days[b])


def test_cues_single_out_one_event() -> None:
    for question in of("who"):
        event = next(it for it in DIARY.events if it.index == question.gold[0])
        if month := re.search(r" in (\w+ \d{4})\?$", question.text):
            rivals = [
                it
                for it in DIARY.events
                if (it.pastime, it.where) == (event.pastime, event.where) and f"{it.day:%B %Y}" == month[1]
            ]
            assert rivals == [event]


def test_what_is_absent_never_happened() -> None:
    for question in of("absent"):
        assert question.answers == question.gold == ()
        for event in DIARY.events:
            if event.pastime.asked in question.text and f" {event.who} and I" in question.text:
                assert event.where not in question.text
                assert f"{event.day:%B %Y}" not in question.text


def test_questions_avoid_the_words_of_the_entry() -> None:
    common = set("the and i with at into of in on a to for out my is was did we it".split())
    for pastime in PASTIMES:
        assert not (set(pastime.asked.split()) - common) & set(
            re.findall(r"\w+", " ".join(pastime.told).lower())
        )


def test_a_diary_of_no_days_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one day"):
        Diary(seed=1, days=0)
    assert len(Diary(seed=1, days=1).questions(100)) < 100
