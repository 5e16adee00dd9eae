"""Stretches of the calendar: days, weeks, months, seasons, feasts, and the one that is meant seen from now.

Everything here is arithmetic on aware datetimes in UTC; what people call these things is in `time.py`.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from mnemic.types import Precision, When, seconds

Unit = Literal[
    "second", "minute", "hour", "day", "week", "fortnight", "month", "quarter", "year", "decade", "century"
]
Direction = Literal["past", "last", "this", "next"]

SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_MONTHS: dict[Unit, int] = {"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1200}
_SECONDS: dict[Unit, int] = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "fortnight": 14 * 86400,
}  # fmt: skip
_PRECISION: dict[Unit, Precision] = {
    "second": "second", "minute": "minute", "hour": "hour", "day": "day", "week": "day", "fortnight": "day",
    "month": "month", "quarter": "month", "year": "year", "decade": "year", "century": "year",
}  # fmt: skip


def stretch(first: datetime, after: datetime, precision: Precision = "day", about: bool = False) -> When:
    """From `first` until just before `after`."""
    return When(seconds(first), seconds(after), precision, about=about)


def midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def date(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def add(at: datetime, n: int, unit: Unit) -> datetime:
    """`n` units later; a month later than the 31st is the last day of that month."""
    if unit in _SECONDS:
        return at + timedelta(seconds=n * _SECONDS[unit])
    months = at.year * 12 + at.month - 1 + n * _MONTHS[unit]
    year, month = divmod(months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


def unit_around(at: datetime, unit: Unit) -> When:
    """The calendar's own unit that `at` lies in: its day, its week from Monday, its month, its decade."""
    first = midnight(at)
    match unit:
        case "second" | "minute" | "hour":
            first = at - timedelta(seconds=seconds(at) % _SECONDS[unit])
        case "week" | "fortnight":
            first -= timedelta(days=first.weekday())
        case "month":
            first = first.replace(day=1)
        case "quarter":
            first = first.replace(day=1, month=(first.month - 1) // 3 * 3 + 1)
        case "year":
            first = date(first.year)
        case "decade":
            first = date(first.year // 10 * 10)
        case "century":
            first = date((first.year - 1) // 100 * 100 + 1)
    return stretch(first, add(first, 1, unit), _PRECISION[unit])


def near(at: datetime, unit: Unit) -> When:
    """The stretch one unit wide around a moment; a day is that very day."""
    if unit in ("second", "minute", "hour", "day"):
        return unit_around(at, unit)
    half = timedelta(days=(add(at, 1, unit) - at).days // 2)
    day = midnight(at)
    return stretch(day - half, day + half + timedelta(days=1), _PRECISION[unit], about=True)


def rolling(now: datetime, n: int, unit: Unit) -> When:
    """The last `n` units up to now (the next ones, if n is negative)."""
    other = add(now, -n, unit)
    return stretch(min(now, other), max(now, other), _PRECISION[unit])


def month(year: int, number: int) -> When:
    first = date(year, number)
    return stretch(first, add(first, 1, "month"), "month")


def years(first: int, n: int = 1) -> When:
    return stretch(date(first), date(first + n), "year")


def season(year: int, name: str) -> When:
    """Three months of the northern year; winter is named by the year of its December."""
    first = date(year, SEASONS[name])
    return stretch(first, add(first, 3, "month"), "month")


def weekday(number: int, now: datetime, direction: Direction) -> When:
    """A day of the week (Monday is 0): before today, of this week, or after today."""
    today = midnight(now)
    if direction == "this":
        first = today + timedelta(days=number - today.weekday())
    elif direction == "next":
        first = today + timedelta(days=(number - today.weekday() - 1) % 7 + 1)
    else:
        first = today - timedelta(days=(today.weekday() - number - 1) % 7 + 1)
    return stretch(first, first + timedelta(days=1))


def yearly(of: Callable[[int], When], now: datetime, direction: Direction) -> When:
    """Which year's one is meant: the newest that began ("past") or is over ("last"), this year's, or the next.

    Raises:
        ValueError: there is none, as of the 31st of June.
    """
    at = seconds(now)
    if direction == "this":
        return of(now.year)
    candidates = []
    for year in range(now.year - 9, now.year + 10):
        try:
            candidates.append(of(year))
        except ValueError:  # the 29th of February
            continue
    if direction == "next":
        meant = [it for it in candidates if it.start > at][:1]
    else:
        meant = [it for it in candidates if (it.start if direction == "past" else it.end) <= at][-1:]
    if not meant:
        raise ValueError(f"there is no such day in the years around {now.year}")
    return meant[0]


def feast(name: str) -> Callable[[int], When]:
    """The day of a feast in a given year, by its name in lower case without "the", "day" or apostrophes."""
    found = _FEASTS[name]

    def day(year: int) -> When:
        first = found(year)
        return stretch(first, first + timedelta(days=1))

    return day


def easter(year: int) -> datetime:
    """Easter Sunday of the Gregorian calendar, by the anonymous rule of 1876 (Meeus, Jones, Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    (d, e), f = divmod(b, 4), (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    shift = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * shift) // 451
    number, day = divmod(h + shift - 7 * m + 114, 31)
    return date(year, number, day + 1)


def _nth(year: int, number: int, weekday: int, n: int) -> datetime:
    """The n-th of a weekday in a month, from its end if n is negative."""
    if n < 0:
        last = date(year, number, monthrange(year, number)[1])
        return last - timedelta(days=(last.weekday() - weekday) % 7)
    first = date(year, number)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


_FEASTS: dict[str, Callable[[int], datetime]] = {
    "christmas": lambda year: date(year, 12, 25),
    "christmas eve": lambda year: date(year, 12, 24),
    "boxing": lambda year: date(year, 12, 26),
    "new years": lambda year: date(year, 1, 1),
    "new year": lambda year: date(year, 1, 1),
    "new years eve": lambda year: date(year, 12, 31),
    "valentines": lambda year: date(year, 2, 14),
    "st patricks": lambda year: date(year, 3, 17),
    "fourth of july": lambda year: date(year, 7, 4),
    "independence": lambda year: date(year, 7, 4),
    "halloween": lambda year: date(year, 10, 31),
    "easter": easter,
    "easter sunday": easter,
    "easter monday": lambda year: easter(year) + timedelta(days=1),
    "good friday": lambda year: easter(year) - timedelta(days=2),
    "mothers": lambda year: _nth(year, 5, 6, 2),
    "fathers": lambda year: _nth(year, 6, 6, 3),
    "memorial": lambda year: _nth(year, 5, 0, -1),
    "labor": lambda year: _nth(year, 9, 0, 1),
    "thanksgiving": lambda year: _nth(year, 11, 3, 4),
    "black friday": lambda year: _nth(year, 11, 3, 4) + timedelta(days=1),
}
