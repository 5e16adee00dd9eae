from datetime import datetime

import pytest

from mnemic.types import When


@pytest.mark.parametrize(
    ("text", "iso", "first", "after"),
    [
        ("1851", "1851", datetime(1851, 1, 1), datetime(1852, 1, 1)),
        ("1851-12", "1851-12", datetime(1851, 12, 1), datetime(1852, 1, 1)),
        ("2024-02-29", "2024-02-29", datetime(2024, 2, 29), datetime(2024, 3, 1)),
        (
            "2023/04/25 (Tue) 04:07",
            "2023-04-25T04:07:00",
            datetime(2023, 4, 25, 4, 7),
            datetime(2023, 4, 25, 4, 8),
        ),
    ],
)
def test_a_date_is_exactly_as_wide_as_it_was_said(
    text: str, iso: str, first: datetime, after: datetime
) -> None:
    when = When.parse(text)
    assert when.iso == iso
    assert (when.start, when.end) == (When.parse(first).start, When.parse(after).start)


def test_a_zone_is_kept_and_the_instant_is_compared() -> None:
    here, there = When.parse("2023-04-25T04:07:00+02:00"), When.parse("2023-04-25T02:07:00Z")
    assert here.start == there.start
    assert here.iso == "2023-04-25T04:07:00+02:00"


@pytest.mark.parametrize(
    "text", ["yesterday", "2023-13", "2023-02-30", "0000", "12345", "2023-01-01T25:00:00", ""]
)
def test_what_is_no_date_is_refused_with_the_value_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date"):
        When.parse(text)


@pytest.mark.parametrize("text", ["0001", "9999-12-31", "9999-12", "9999"])
def test_the_first_and_the_last_year_have_an_end(text: str) -> None:
    assert When.parse(text).start < When.parse(text).end
