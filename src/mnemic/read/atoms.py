"""The atoms of time expressions ("last spring", "the 60s", "May 2nd"): a table of patterns, each with its rule.

Where everyday speech is ambiguous: a bare "in March" or "on Tuesday" is the newest one that began before now,
unless the question looks ahead ("what will I do on Tuesday?"); "last spring" is the newest one that is over;
"last week" is the calendar's, "the last week" the seven days up to now; "two weeks ago" is the week around that
day, "ten days ago" that day; seasons are northern, winter belongs to the year of its December; 05/02/2023 is
the second of May. All days are days in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast

from mnemic.patterns import pattern
from mnemic.read import calendar as cal
from mnemic.read.calendar import Direction, Unit
from mnemic.types import When, moment, seconds


@dataclass(frozen=True, slots=True)
class Atom:
    """Characters [start, end) of a question and the stretch of time they name."""

    start: int
    end: int
    when: When


# --------------------------------------------------------------------------- words

_NUMBERS = {
    "a couple of": 2, "a couple": 2, "couple of": 2, "a few": 3, "few": 3, "several": 4, "a": 1, "an": 1,
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "a hundred": 100, "hundred": 100,
}  # fmt: skip
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third "
    "twenty-fourth twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)
ORDINALS = {word: n for n, word in enumerate(_ORDINAL_WORDS.split(), 1)}
_DECADES = {
    "twenties": 20, "thirties": 30, "forties": 40, "fifties": 50, "sixties": 60, "seventies": 70,
    "eighties": 80, "nineties": 90,
}  # fmt: skip
_MONTH_WORDS = "january february march april may june july august september october november december"
_MONTHS = _MONTH_WORDS.split()
_WEEKDAY_WORDS = "monday tuesday wednesday thursday friday saturday sunday"
_WEEKDAYS = _WEEKDAY_WORDS.split()
_DIRECTIONS: dict[str, Direction] = {
    "last": "last", "past": "last", "previous": "last", "this past": "last", "this last": "last",
    "this": "this", "next": "next", "coming": "next", "this coming": "next", "upcoming": "next",
}  # fmt: skip
_PARTS_OF_DAY = {"morning": (5, 12), "afternoon": (12, 18), "evening": (17, 24), "night": (18, 30)}


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


NUMBER = rf"(?P<n>\d{{1,4}}|{_any(_NUMBERS)})"
UNIT = r"(?P<unit>second|minute|hour|day|week|fortnight|month|quarter|year|decade|century|centurie)s?"
_MONTH = rf"(?P<month>{_any(_MONTHS)}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?"
_WEEKDAY = rf"(?P<weekday>{_any(_WEEKDAYS)})"
_SEASON = rf"(?P<season>{_any(cal.SEASONS)})"
_DAY = rf"(?:(?P<day>[0-3]?\d)(?:st|nd|rd|th)?|(?P<ordinal>{_any(ORDINALS)}))"
_YEAR = r"(?P<year>[12]\d{3})"
_DIRECTION = rf"(?P<direction>{_any(_DIRECTIONS)})"
_FEAST = (
    r"(?P<feast>christmas eve|christmas|boxing day|new year['’]?s eve|new year['’]?s(?: day)?|new year|"
    r"valentine['’]?s(?: day)?|st\.? patrick['’]?s day|(?:the )?fourth of july|independence day|hallowe['’]?en|"
    r"easter sunday|easter monday|easter|good friday|mother['’]?s day|father['’]?s day|memorial day|labor day|"
    r"thanksgiving(?: day)?|black friday)"
)


# --------------------------------------------------------------------------- what a match means

Rule = Callable[[re.Match[str], datetime, Direction], When | None]


def number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text.lower()]


def unit(text: str) -> Unit:
    name = text.lower()
    return cast("Unit", "century" if name == "centurie" else name)


def _month_number(text: str) -> int:
    return next(n for n, name in enumerate(_MONTHS, 1) if name.startswith(text.lower()[:3]))


def _direction(match: re.Match[str], default: Direction) -> Direction:
    said = match["direction"]
    return _DIRECTIONS[said.lower()] if said else default


def _iso(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    return When.parse(match[0])


def _slashed(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    first, second, year = int(match[1]), int(match[2]), int(match["year"])
    number, day = (second, first) if first > 12 else (first, second)
    return cal.unit_around(cal.date(year, number, day), "day")


def _day_of_month(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    number, day = _month_number(match["month"]), int(match["day"] or ORDINALS[match["ordinal"].lower()])
    if match["year"]:
        return cal.unit_around(cal.date(int(match["year"]), number, day), "day")
    return cal.yearly(lambda year: cal.unit_around(cal.date(year, number, day), "day"), now, ahead)


def _bare_day(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    day = int(match["day"])
    first = now.replace(day=1)
    for _ in range(12):
        try:
            found = cal.unit_around(cal.midnight(first).replace(day=day), "day")
        except ValueError:  # this month is shorter
            found = None
        if found and (found.start > seconds(now) if ahead == "next" else found.start <= seconds(now)):
            return found
        first = cal.add(first, 1 if ahead == "next" else -1, "month")
    return None


def _month(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    number = _month_number(match["month"])
    if match["year"]:
        return cal.month(int(match["year"]), number)
    if not match["direction"] and match["month"].lower() in (
        "may",
        "march",
        "mar",
        "jan",
        "dec",
        "jun",
        "sept",
        "sep",
    ):
        proper = match["month"][0].isupper() and _BEFORE_TIME.search(match.string, 0, match.start())
        if not proper:
            return None
    return cal.yearly(lambda year: cal.month(year, number), now, _direction(match, ahead))


def _season(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    name = match["season"].lower()
    if match["year"]:
        return cal.season(int(match["year"]), name)
    if not match["direction"] and not _BEFORE_TIME.search(match.string, 0, match.start()):
        return None
    return cal.yearly(lambda year: cal.season(year, name), now, _direction(match, ahead))


def _feast(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    of = cal.feast(re.sub(r"['’.]|^the | day$", "", match["feast"].lower()))
    return of(int(match["year"])) if match["year"] else cal.yearly(of, now, _direction(match, ahead))


_NAMED_AFTER = pattern(  # "the Saturday market" is no time
    r"\s+(?!(?i:morning|afternoon|evening|night|last|next|following|previous|before|after|when|that|of|in|on|at|to|by|"
    r"and|or|was|is|i|we|you|he|she|they|it|the|this|with|for|from)\b)[a-z]+"
)


def _weekday(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    article = re.search(r"\bthe\s+$", match.string[: match.start()], re.IGNORECASE)
    if article and _NAMED_AFTER.match(match.string, match.end()):
        return None
    number = _WEEKDAYS.index(match["weekday"].lower())
    return cal.weekday(number, now, _direction(match, ahead))


def _weekday_of_week(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    week = cal.unit_around(
        cal.add(now, {"last": -1, "this": 0, "next": 1}[match["of"].lower()], "week"), "week"
    )
    first = moment(week.start) + timedelta(days=_WEEKDAYS.index(match["weekday"].lower()))
    return cal.unit_around(first, "day")


def _relative_day(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    shift = {
        "the day before yesterday": -2,
        "yesterday": -1,
        "last": -1,
        "tomorrow": 1,
        "the day after tomorrow": 2,
    }
    day = cal.unit_around(cal.add(now, shift.get(" ".join(match["base"].lower().split()), 0), "day"), "day")
    part = match["part"] or ("night" if match["base"].lower() == "tonight" else "")
    return part_of_day(day, part) if part else day


def part_of_day(day: When, part: str) -> When:
    first, last = _PARTS_OF_DAY[part.lower()]
    return When(day.start + 3600 * first, day.start + 3600 * last, "hour", day.offset)


def _calendar_unit(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    steps = {"last": -1, "this": 0, "next": 1}[_DIRECTIONS[match["direction"].lower()]]
    if match["before"]:
        steps -= 1
    if match["unit"].lower() == "weekend":
        week = cal.unit_around(cal.add(now, steps, "week"), "week")
        return When(week.end - 2 * 86400, week.end, "day")
    step = unit(match["unit"])
    return cal.unit_around(cal.add(now, steps, step), step)


def _rolling(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    n = number(match["n"]) if match["n"] else 1
    return cal.rolling(now, -n if match["way"].lower() in ("next", "coming") else n, unit(match["unit"]))


def _ago(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    n, step = number(match["n"]), unit(match["unit"])
    if match["half"]:
        later, earlier = cal.add(now, -n, step), cal.add(now, -n - 1, step)
        return cal.near(later - (later - earlier) / 2, step)
    return cal.near(cal.add(now, -n, step), step)


def _half_ago(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    step = unit(match["unit"])
    smaller: Unit = "month" if step == "year" else "day" if step in ("month", "week") else "hour"
    return cal.near(now - (now - cal.add(now, -1, step)) / 2, smaller)


def _ahead(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    step = unit(match["unit"])
    return cal.near(cal.add(now, number(match["n"]), step), step)


def _year(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    before, after = match.string[: match.start()], match.string[match.end() :]
    if match["named"] or (_BEFORE_YEAR.search(before) and not _COUNTED.match(after)):
        return cal.years(int(match["year"]))
    return None


def _short_year(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    return cal.years(_century_of(int(match["short"]), now))


def _century_of(two_digits: int, now: datetime) -> int:
    """The newest year up to now that ends in these digits."""
    return now.year - (now.year - two_digits) % 100


def _decade(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    first = int(match["digits"]) if match["digits"] else _DECADES[match["word"].lower()]
    if match["hundreds"]:
        first += {"eighteen": 1800, "nineteen": 1900}[match["hundreds"].lower()]
    return cal.years(first if first > 99 else _century_of(first, now), 10)


def _century(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    n = int(match["digits"]) if match["digits"] else ORDINALS[match["word"].lower()]
    return cal.years(100 * (n - 1) + 1, 100)


def _quarter(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    n = int(match["digit"]) if match["digit"] else ORDINALS[match["word"].lower()]
    first = cal.date(int(match["year"]), 3 * n - 2)
    return cal.stretch(first, cal.add(first, 3, "month"), "month")


def _since_then(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    whole = cal.unit_around(now, unit(match["unit"]))
    at = seconds(now)
    if match["side"].lower() == "earlier":
        return replace(whole, end=max(at, whole.start + 1))
    return replace(whole, start=min(at, whole.end - 1))


def _days_of_month(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    first = _day_of_month(match, now, ahead)
    return first and When(first.start, first.end + 86400 * (int(match["last"]) - int(match["day"])), "day")


def _years(match: re.Match[str], now: datetime, ahead: Direction) -> When | None:
    first, last = int(match["year"]), int(match["last"])
    return cal.years(first, last - first % 100 + 1)


_BEFORE_TIME = pattern(
    r"\b(?:in|on|by|of|since|before|after|until|till|during|through(?:out)?|between|and|from|to|over|around|about|early|"
    r"late|mid|every|for|at|or)[ -](?:the )?$",
    re.IGNORECASE,
)
_BEFORE_YEAR = pattern(
    r"(?:\b(?:in|on|by|of|since|before|after|until|till|during|through(?:out)?|between|and|from|to|over|around|about|"
    r"circa|early|late|mid|prior to|or)[ -]|[,–—(-] ?)(?:the )?$",
    re.IGNORECASE,
)
_COUNTED = pattern(
    r"\s+(?!(?:and|or|to|did|was|were|is|are|do|does|has|had|have|until|till|through|when|where|who|what|which|for|in|"
    r"at|on|the|a|an|he|she|they|it|we|i|you|my|his|her|as|with|by|from|if|but|so|before|after|on|onwards?|season|"
    r"world|summer|winter|olympics|election)\b)[a-z]+|[\d,.:/]\d|\s*%|\s*b\.?c"
)

_RULES: list[tuple[re.Pattern[str], Rule]] = [
    (pattern(rf"(?<!\w){words}\b", re.IGNORECASE), rule)
    for words, rule in (
        (r"[12]\d{3}[-/]\d{1,2}[-/]\d{1,2}(?:\s*\([a-z]{3}\))?"
         r"(?:[t ]+\d{1,2}:\d{2}(?::\d{2})?(?:z|[+-]\d\d:?\d\d)?)?", _iso),
        (r"[12]\d{3}-\d{2}(?!-?\d)", _iso),
        (rf"(\d{{1,2}})[/.](\d{{1,2}})[/.]{_YEAR}", _slashed),
        (rf"{_MONTH}\s+(?:the\s+)?{_DAY}(?!\d)(?:,?\s+(?:of\s+|in\s+)?{_YEAR})?", _day_of_month),
        (rf"{_MONTH}\s+(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\s*(?:[-–—]|to|through|and)\s*(?P<last>[0-3]?\d)(?:st|nd|rd|th)?(?!\d)"
         rf"(?:,?\s+{_YEAR})?", _days_of_month),
        (rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+(?:of\s+|in\s+)?{_YEAR})?", _day_of_month),
        (r"the\s+(?P<day>[0-3]?\d)(?:st|nd|rd|th)(?!\s+(?:century|time|of|[a-z]))", _bare_day),
        (rf"(?:{_DIRECTION}\s+)?{_MONTH}(?:,?\s+(?:of\s+)?{_YEAR})?", _month),
        (rf"(?:the\s+)?(?:{_DIRECTION}\s+)?{_SEASON}(?:\s+(?:of\s+)?{_YEAR})?", _season),
        (rf"(?:{_DIRECTION}\s+)?{_FEAST}(?:\s+(?:of\s+)?{_YEAR})?", _feast),
        (rf"(?:{_DIRECTION}\s+)?{_WEEKDAY}", _weekday),
        (rf"{_WEEKDAY}\s+(?P<of>last|this|next)\s+week", _weekday_of_week),
        (rf"(?P<of>last|this|next)\s+week['’]s\s+{_WEEKDAY}", _weekday_of_week),
        (r"(?P<base>the day before yesterday|the day after tomorrow|yesterday|today|tonight)"
         r"(?:\s+(?P<part>morning|afternoon|evening|night))?", _relative_day),
        (r"(?P<base>last)\s+(?P<part>night|evening)", _relative_day),
        (r"(?P<base>this)\s+(?P<part>morning|afternoon|evening)", _relative_day),
        (rf"(?:the\s+(?=previous))?{_DIRECTION}\s+(?P<unit>week|month|quarter|year|decade|century|weekend)"
         r"(?P<before>\s+before\s+last)?", _calendar_unit),
        (r"the\s+(?P<unit>week|month|year|weekend)\s+(?P<before>before)\s+(?P<direction>last)", _calendar_unit),
        (rf"(?:the|these)\s+(?P<way>last|past|next|coming)\s+(?:{NUMBER}\s+)?{UNIT}", _rolling),
        (rf"(?P<way>past|last|next|coming)\s+{NUMBER}\s+{UNIT}", _rolling),
        (rf"{NUMBER}\s+{UNIT}(?P<half>\s+and\s+a\s+half)?\s+ago", _ago),
        (rf"half\s+an?\s+{UNIT}\s+ago", _half_ago),
        (rf"{NUMBER}\s+{UNIT}\s+from\s+now", _ahead),
        (rf"in\s+{NUMBER}\s+{UNIT}(?=['’]?\s*(?:time)?\s*[?.]?$)", _ahead),
        (rf"{_YEAR}[-–—/](?P<last>\d\d)(?!\d)", _years),
        (rf"(?P<named>the\s+year\s+|year\s+)?{_YEAR}", _year),
        (r"['’](?P<short>\d\d)(?!\s*s|\d)", _short_year),
        (rf"(?:the\s+)?(?:['’]?(?P<digits>[12]\d\d0|\d0)['’]?s|"
         rf"(?:(?P<hundreds>nineteen|eighteen)[- ])?(?P<word>{_any(_DECADES)}))", _decade),
        (rf"(?:the\s+)?(?:(?P<digits>\d{{1,2}})(?:st|nd|rd|th)|(?P<word>{_any(ORDINALS)}))[- ]century",
         _century),
        (rf"(?:q(?P<digit>[1-4])|(?:the\s+)?(?P<word>first|second|third|fourth)\s+quarter)(?:\s+of)?\s+{_YEAR}",
         _quarter),
        (r"(?P<side>earlier|later)\s+(?:this|that)\s+(?P<unit>week|month|quarter|year|decade|century)",
         _since_then),
    )
]  # fmt: skip
_CLUE = pattern(  # every rule needs a digit, or a word that begins or ends so
    r"\d|day|ties\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|spring|summer|autumn|fall|winter|tomorrow|"
    r"tonight|night|evening|morning|afternoon|second|minute|hour|week|fortnight|month|quarter|year|centur|christmas|"
    r"new year|valentine|hallow|easter|fourth of july|thanksgiving)",
    re.IGNORECASE,
)


# --------------------------------------------------------------------------- atoms


def atoms(text: str, now: datetime, ahead: Direction) -> list[Atom]:
    """The matches of all rules, of those that overlap the earliest and longest; earlier rules win a draw."""
    if not _CLUE.search(text):
        return []
    found = []
    for rank, (words, rule) in enumerate(_RULES):
        for match in words.finditer(text):
            found.append((match.start(), -match.end(), rank, match, rule))
    kept: list[Atom] = []
    for start, _, _, match, rule in sorted(found, key=lambda it: it[:3]):
        if kept and start < kept[-1].end:
            continue
        try:
            when = rule(match, now, ahead)
        except (ValueError, OverflowError):  # the 31st of June, a year after 9999
            continue
        if when is not None:
            kept.append(Atom(start, match.end(), when))
    return kept
