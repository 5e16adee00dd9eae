"""Time expressions mean, seen from a Friday in June, what a calendar on the wall says."""

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.read import atoms
from mnemic.read import calendar as cal
from mnemic.read.expressions import Expression, expressions
from mnemic.types import When, moment, seconds
from mnemic.worlds.tale import tale

NOW = seconds(datetime(2023, 6, 2, 10, 30, tzinfo=UTC))  # a Friday

# expression: first day, last day (or one day), relation when it is not "during"
TABLE = {
    "today": "2023-06-02",
    "yesterday": "2023-06-01",
    "the day before yesterday": "2023-05-31",
    "the day after tomorrow": "2023-06-04",
    "ten days ago": "2023-05-23",
    "3 days ago": "2023-05-30",
    "two weeks ago": "2023-05-16 2023-05-22",
    "a couple of weeks ago": "2023-05-16 2023-05-22",
    "in two weeks": "2023-06-13 2023-06-19",
    "last Tuesday": "2023-05-30",
    "on Tuesday": "2023-05-30",
    "on Friday": "2023-05-26",
    "next Friday": "2023-06-09",
    "this Monday": "2023-05-29",
    "Tuesday last week": "2023-05-23",
    "last week's Thursday": "2023-05-25",
    "last week": "2023-05-22 2023-05-28",
    "this week": "2023-05-29 2023-06-04",
    "the week before last": "2023-05-15 2023-05-21",
    "last weekend": "2023-05-27 2023-05-28",
    "last month": "2023-05-01 2023-05-31",
    "next month": "2023-07-01 2023-07-31",
    "last year": "2022-01-01 2022-12-31",
    "the year before last": "2021-01-01 2021-12-31",
    "this year": "2023-01-01 2023-12-31",
    "last spring": "2023-03-01 2023-05-31",
    "last summer": "2022-06-01 2022-08-31",
    "this summer": "2023-06-01 2023-08-31",
    "in the winter": "2022-12-01 2023-02-28",
    "the summer of 2021": "2021-06-01 2021-08-31",
    "autumn 2019": "2019-09-01 2019-11-30",
    "in March": "2023-03-01 2023-03-31",
    "in August": "2022-08-01 2022-08-31",
    "in May": "2023-05-01 2023-05-31",
    "last September": "2022-09-01 2022-09-30",
    "in Sept. 2019": "2019-09-01 2019-09-30",
    "in February of 2020": "2020-02-01 2020-02-29",
    "on May 2nd": "2023-05-02",
    "on the 2nd of May": "2023-05-02",
    "on the second of May": "2023-05-02",
    "on July 4": "2022-07-04",
    "on February 29": "2020-02-29",
    "on 3 January 1999": "1999-01-03",
    "on January 3rd, 1999": "1999-01-03",
    "on 12/25/2022": "2022-12-25",
    "on 25/12/2022": "2022-12-25",
    "on 2023-04-25": "2023-04-25",
    "in 2023-04": "2023-04-01 2023-04-30",
    "May 2-5, 2022": "2022-05-02 2022-05-05",
    "on the 5th": "2023-05-05",
    "on the 31st": "2023-05-31",
    "in 2016": "2016-01-01 2016-12-31",
    "in the year 1066": "1066-01-01 1066-12-31",
    "in '98": "1998-01-01 1998-12-31",
    "in the 1960s": "1960-01-01 1969-12-31",
    "in the 60s": "1960-01-01 1969-12-31",
    "in the nineties": "1990-01-01 1999-12-31",
    "in the eighteen-nineties": "1890-01-01 1899-12-31",
    "in the 19th century": "1801-01-01 1900-12-31",
    "in the nineteenth century": "1801-01-01 1900-12-31",
    "in Q2 2022": "2022-04-01 2022-06-30",
    "in the third quarter of 2021": "2021-07-01 2021-09-30",
    "at Christmas": "2022-12-25",
    "on New Year's Eve": "2022-12-31",
    "last Halloween": "2022-10-31",
    "on Easter Monday 2024": "2024-04-01",
    "on Thanksgiving 2022": "2022-11-24",
    "on Mother's Day": "2023-05-14",
    "on Labor Day 2021": "2021-09-06",
    "the week before Christmas": "2022-12-18 2022-12-24",
    "the day after Easter 2022": "2022-04-18",
    "three days before Christmas": "2022-12-22",
    "the week of May 10": "2023-05-08 2023-05-14",
    "between 1961 and 1965": "1961-01-01 1965-12-31",
    "from 1961 to 1965": "1961-01-01 1965-12-31",
    "1961-65": "1961-01-01 1965-12-31",
    "between March and May 2021": "2021-03-01 2021-05-31",
    "from November to January": "2022-11-01 2023-01-31",
    "from May 3 until May 9": "2023-05-03 2023-05-09",
    "before 1850": "1850-01-01 1850-12-31 before",
    "prior to last spring": "2023-03-01 2023-05-31 before",
    "after May 2nd": "2023-05-02 2023-05-02 after",
    "since last Christmas": "2022-12-25 2022-12-25 since",
    "from 2010 onwards": "2010-01-01 2010-12-31 since",
    "until yesterday": "2023-06-01 2023-06-01 until",
    "by 2010": "2010-01-01 2010-12-31 until",
}


def one(question: str, now: float = NOW) -> Expression:
    (found,) = expressions(question, now)
    return found


def days(when: When) -> tuple[str, str]:
    return moment(when.start).date().isoformat(), moment(when.end - 1).date().isoformat()


@pytest.mark.parametrize("words", TABLE)
def test_an_expression_is_the_days_it_says(words: str) -> None:
    first, *rest = TABLE[words].split()
    question = f"Where was I {words}?"
    found = one(question)
    assert days(found.when) == (first, rest[0] if rest else first)
    assert found.relation == (rest[1] if len(rest) > 1 else "during")
    assert question[found.start : found.end] == words


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        ("last night", "2023-06-01T18:00", "2023-06-02T06:00"),
        ("yesterday morning", "2023-06-01T05:00", "2023-06-01T12:00"),
        ("this morning", "2023-06-02T05:00", "2023-06-02T12:00"),
        ("on Tuesday evening", "2023-05-30T17:00", "2023-05-31T00:00"),
        ("on May 2nd in the afternoon", "2023-05-02T12:00", "2023-05-02T18:00"),
        ("yesterday at 4 pm", "2023-06-01T16:00", "2023-06-01T17:00"),
        ("at 12:15 am on Tuesday", "2023-05-30T00:15", "2023-05-30T00:16"),
        ("three hours ago", "2023-06-02T07:00", "2023-06-02T08:00"),
        ("over the last two weeks", "2023-05-19T10:30", "2023-06-02T10:30"),
        ("in the past month", "2023-05-02T10:30", "2023-06-02T10:30"),
        ("earlier this year", "2023-01-01T00:00", "2023-06-02T10:30"),
        ("on 2023/04/25 (Tue) 04:07", "2023-04-25T04:07", "2023-04-25T04:08"),
    ],
)
def test_an_expression_is_the_minutes_it_says(words: str, start: str, end: str) -> None:
    when = one(f"What did I do {words}?").when
    assert (when.start, when.end) == (When.parse(start).start, When.parse(end).start)


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        ("early 2019", "2019-02", "2019-06"),
        ("mid-1995", "1995-06", "1995-11"),
        ("in late May", "2023-05-28", "2023-05-12"),
        ("at the end of last year", "2022-12", "2022-03"),
        ("in the second half of 2022", "2022-08", "2022-05"),
        ("three months ago", "2023-03-02", "2023-04-20"),
        ("a year and a half ago", "2021-12-02", "2020-11"),
        ("half a year ago", "2022-12-01", "2023-03"),
        ("about two decades ago", "2003", "2010"),
        ("around 1900", "1900", "1920"),
    ],
)
def test_a_vague_expression_says_that_it_is(words: str, inside: str, outside: str) -> None:
    when = one(f"What did I do {words}?").when
    assert when.about
    assert when.overlaps(When.parse(inside))
    assert not when.overlaps(When.parse(outside))


@pytest.mark.parametrize(
    "question",
    [
        "How many of the 2000 calories did I eat?",
        "May I ask who will march?",
        "How do I fall asleep in 5 minutes of rest?",
        "What costs 1999 dollars?",
        "Which second-hand shop is it?",
        "Did the spring of the clock break?",
        "Is route 66 long?",
        "How many days ago did I call?",
        "",
    ],
)
def test_what_is_no_time_is_left_alone(question: str) -> None:
    assert [question[it.start : it.end] for it in expressions(question, NOW)] == []


def test_a_question_that_looks_ahead_means_the_next_one() -> None:
    assert days(one("What will I do on Friday?").when) == ("2023-06-09", "2023-06-09")
    assert days(one("What is planned for August?").when) == ("2023-08-01", "2023-08-31")
    assert days(one("Am I going to travel on the 1st?").when) == ("2023-07-01", "2023-07-01")


def test_several_expressions_stand_in_order_without_overlap() -> None:
    question = "Was it yesterday, in March 2021 or on the Tuesday before Christmas 2019?"
    found = expressions(question, NOW)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert [question[it.start : it.end] for it in found][:2] == ["yesterday", "in March 2021"]


MOMENTS = st.dates(date(1100, 1, 1), date(2090, 12, 31))
NOWS = st.datetimes(datetime(1900, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)).map(seconds)


@given(
    MOMENTS,
    NOWS,
    st.sampled_from(["%B {d}, %Y", "{d} %B %Y", "the {d}th of %B %Y", "%Y-%m-%d", "%b {d} %Y", "%Y/%m/%d"]),
)
def test_a_date_that_is_printed_is_read_back(day: date, now: float, form: str) -> None:
    printed = day.strftime(form.replace("%Y", f"{day.year:04d}")).format(d=day.day)
    assert days(one(f"What happened on {printed}?", now).when) == (day.isoformat(), day.isoformat())


@given(MOMENTS, NOWS)
def test_a_month_and_a_year_that_are_printed_are_read_back(day: date, now: float) -> None:
    assert one(f"What happened in {day:%B} {day.year}?", now).when == When.parse(
        f"{day.year:04d}-{day.month:02d}"
    )
    assert one(f"What happened in {day.year}?", now).when == When.parse(f"{day.year:04d}")


@given(st.integers(0, 5000), NOWS)
def test_so_many_days_ago_is_counted_on_the_calendar(n: int, now: float) -> None:
    assert days(one(f"{n} days ago", now).when)[0] == (moment(now).date() - timedelta(days=n)).isoformat()


@given(NOWS, st.sampled_from(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]))
def test_the_last_and_the_next_weekday_lie_within_a_week(now: float, name: str) -> None:
    last, coming = one(f"last {name}", now).when, one(f"next {name}", now).when
    assert last.end <= now < coming.start
    assert coming.start - last.start in (7 * 86400, 14 * 86400)
    assert f"{moment(last.start):%A}".lower() == name == f"{moment(coming.start):%A}".lower()


@given(st.text(max_size=40), NOWS)
def test_any_text_is_survived(text: str, now: float) -> None:
    for it in expressions(text, now):
        assert 0 <= it.start < it.end <= len(text)


def test_easter_is_where_the_church_put_it() -> None:
    known = ["1818-03-22", "1943-04-25", "2000-04-23", "2016-03-27", "2023-04-09", "2024-03-31", "2038-04-25"]
    assert [cal.easter(int(day[:4])).date().isoformat() for day in known] == known


def test_the_clue_that_saves_looking_for_times_overlooks_none(monkeypatch: pytest.MonkeyPatch) -> None:
    said = re.split(r"[.?!]", "".join(tale(seed).text for seed in range(3)))
    said += [source for words, _ in atoms._RULES for source in re.findall(r"[a-z]{3,}", words._source)]
    assert sum(not atoms._CLUE.search(text) for text in said) > 100
    with_clue = [expressions(text, NOW) for text in said]
    monkeypatch.setattr(atoms, "_CLUE", re.compile(""))
    assert [expressions(text, NOW) for text in said] == with_clue
