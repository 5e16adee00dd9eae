"""What a memory is made of: plain, frozen values and the few contracts that organs are plugged by.

A *record* is something remembered: words with their time, place and source. A *stream* is anything
that arrives in order (sentences, turns, tokens) and a *span* is a stretch of it. Nothing here does
input or output, and nothing here knows how a record is stored or found.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

DEFAULT_SPACE = "default"


class MnemicError(Exception):
    """A failure a user can act on; the message says what happened and what to do next."""


# --------------------------------------------------------------------------- time

Precision = Literal["second", "minute", "hour", "day", "month", "year"]

_ISO = re.compile(
    r"""\s*(?P<about>about|circa|around|c\.|~)?\s*
    (?P<year>\d{4})
    (?:[-/](?P<month>\d{1,2})
      (?:[-/](?P<day>\d{1,2})
        (?:\s*\([A-Za-z]{3,9}\))?
        (?:[T\s]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?
          \s*(?P<zone>Z|[+-]\d{2}:?\d{2})?
        )?
      )?
    )?\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(moment: datetime) -> float:
    """Seconds since 1970-01-01T00:00Z; a naive datetime counts as UTC; years 1 to 9999."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH).total_seconds()


def moment(at: float, offset: int | None = None) -> datetime:
    """The aware datetime of `at` seconds, shown `offset` minutes east of UTC."""
    zone = timezone(timedelta(minutes=offset)) if offset else UTC
    return (_EPOCH + timedelta(seconds=at)).astimezone(zone)


@dataclass(frozen=True, slots=True)
class When:
    """The stretch of time something happened in, exactly as wide as it was said.

    "1851" is a year long, "1851-10-18" a day; comparisons use the whole stretch.

    Attributes:
        start: first second, since 1970-01-01T00:00Z.
        end: the second after the last.
        precision: the unit it was said in.
        offset: minutes east of UTC it was said in; None if none was said (then UTC is meant).
        about: whether it was said to be approximate.
    """

    start: float
    end: float
    precision: Precision = "second"
    offset: int | None = None
    about: bool = False

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a time must start before it ends, not {self.start} to {self.end}")

    @classmethod
    def parse(cls, text: str | float | datetime | When) -> When:
        """Read an ISO date or time ("2023-04-25T04:07:00+02:00", "1851-10", "about 1851").

        Raises:
            ValueError: not a date, or one outside the years 1 to 9999.
        """
        if isinstance(text, When):
            return text
        if isinstance(text, datetime):
            zone = text.utcoffset()
            at = seconds(text)
            return cls(at, at + 1, "second", None if zone is None else int(zone.total_seconds() // 60))
        if isinstance(text, int | float):
            moment(text)
            return cls(float(text), float(text) + 1)
        match = _ISO.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a date; write it as 2023-04-25, 2023-04-25T04:07:00, 2023-04 or 2023"
            )
        part = match.groupdict()
        offset: int | None = None
        if part["zone"]:
            digits = part["zone"].replace(":", "")
            offset = 0 if digits in "Zz" else int(digits[0] + "1") * (int(digits[1:3]) * 60 + int(digits[3:5]))
        precision: Precision = "year"
        units: tuple[Precision, ...] = ("month", "day", "minute", "second")
        for name in units:
            if part[name] is not None:
                precision = name
        try:
            first = datetime(
                int(part["year"]), int(part["month"] or 1), int(part["day"] or 1),
                int(part["hour"] or 0), int(part["minute"] or 0), int(part["second"] or 0), tzinfo=UTC,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"{text!r} is not a date: {error}") from None
        shift = 60 * (offset or 0)
        about = part["about"] is not None
        return cls(seconds(first) - shift, _after(first, precision) - shift, precision, offset, about)

    @property
    def iso(self) -> str:
        """The date as it was said: as many places of ISO 8601 as the precision has."""
        at = moment(self.start, self.offset)
        text = {
            "year": f"{at.year:04d}",
            "month": f"{at.year:04d}-{at.month:02d}",
            "day": at.date().isoformat(),
        }.get(self.precision) or at.replace(tzinfo=None).isoformat(timespec="seconds")
        if self.offset is not None and "T" in text:
            text += "Z" if self.offset == 0 else at.isoformat()[-6:]
        return f"about {text}" if self.about else text

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def overlaps(self, other: When) -> bool:
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return self.iso


def _after(first: datetime, precision: Precision) -> float:
    """Seconds at which the unit that starts at `first` is over."""
    days = {"day": 1, "month": monthrange(first.year, first.month)[1], "year": 365 + isleap(first.year)}
    if precision in days:
        return seconds(first) + 86400 * days[precision]
    return seconds(first) + {"hour": 3600, "minute": 60, "second": 1}[precision]


# --------------------------------------------------------------------------- what is remembered

Kind = Literal["text", "turn", "summary", "profile"]
State = Literal["live", "superseded", "forgotten"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing remembered, verbatim, with where and when it came from.

    Attributes:
        id: given by the store, never used twice; 0 until stored.
        text: the words, exactly.
        space: the tenant; no query ever crosses it.
        kind: "text" (a passage), "turn" (of a conversation), "summary", "profile" (a standing
            instruction or preference).
        source: a path, address or name of where it came from.
        author: who said or wrote it.
        session: the conversation it belongs to; title: that session's or document's title.
        place: headings it stands under, outermost first.
        order: its rank within (source, session), from 0, in the order of the original.
        start, end: its characters [start, end) within the source; 0, 0 if unknown.
        when: when it happened; None if unknown.
        written: when it was stored, seconds since 1970 (0 until stored).
        valid_to: from when it is no longer true (set when superseded), seconds; None while true.
        supersedes, superseded_by: ids of the neighbouring versions.
        state: "live" records are found; the others are history.
        meta: anything else, JSON values.
    """

    text: str
    id: int = 0
    space: str = DEFAULT_SPACE
    kind: Kind = "text"
    source: str | None = None
    author: str | None = None
    session: str | None = None
    title: str | None = None
    place: tuple[str, ...] = ()
    order: int = 0
    start: int = 0
    end: int = 0
    when: When | None = None
    written: float = 0.0
    valid_to: float | None = None
    supersedes: int | None = None
    superseded_by: int | None = None
    state: State = "live"
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a record that one vector stands for: long texts have several, none is cut off.

    Attributes:
        start, end: characters [start, end) of the record's text.
        vector: [dim], unit length.
    """

    start: int
    end: int
    vector: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which records may be found; applied before ranking. None means no restriction.

    `before` and `after` compare with the event time: a record whose `when` is unknown passes neither.
    `before` keeps what ended by then, `after` what started from then on (seconds); `during` what overlaps.
    """

    space: str = DEFAULT_SPACE
    source: str | None = None
    author: str | None = None
    session: str | None = None
    kind: Kind | None = None
    before: float | None = None
    after: float | None = None
    during: When | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found, and why.

    Attributes:
        score: larger is better; comparable within one recall only.
        channels: the score each channel gave ("words", "vectors", "neighbours", "hop", ...).
        start, end: the characters of the record's text that matched best.
        why: one line for a reader, e.g. the words that matched or the title that led here.
    """

    record: Record
    score: float
    channels: Mapping[str, float] = field(default_factory=dict)
    start: int = 0
    end: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Recall(Sequence[Hit]):
    """What a query brought back: hits, best first, and the profile that always comes along."""

    hits: tuple[Hit, ...]
    profile: tuple[Record, ...] = ()
    query: str = ""
    during: When | None = None

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class Citation:
    """Words of a record that an answer rests on: `record.text[start:end] == quote`."""

    record: Record
    quote: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that says where it comes from, or that it is not in memory.

    Attributes:
        confidence: 0 to 1; under the threshold in force the answer is withheld (`abstained`).
        evidence: what was recalled for it.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    confidence: float = 0.0
    evidence: Recall = Recall(())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage was found: the record and the character of its source it starts at."""

    record: Record
    start: int
    agreement: float  # share of the passage's words found there, 0 to 1


@dataclass(frozen=True, slots=True)
class Order:
    """Which of two passages came first; None when a passage is not in memory."""

    first: Literal["a", "b"] | None
    a: Place | None
    b: Place | None


# --------------------------------------------------------------------------- streams


@dataclass(frozen=True, slots=True)
class Stream:
    """Anything in order, with whatever signals exist: sentences, turns, tokens.

    Attributes:
        items: n of them; strings for records, ids for tokens.
        times: [n] seconds, non-decreasing where known (NaN where not).
        surprise: [n] how unexpected each item was.
        embeddings: [n, d] one vector per item (keys, at the scale of tokens).
    """

    items: Sequence[Any]
    times: NDArray[np.float64] | None = None
    surprise: Floats | None = None
    embeddings: Floats | None = None

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Span:
    """Items [start, stop) of a stream. `level` is the depth in a hierarchy, 0 outermost."""

    start: int
    stop: int
    label: str = ""
    level: int = 0


@dataclass(frozen=True, slots=True)
class TraceStats:
    """What a retention rule may look at, one row per memory trace; all arrays are [n].

    Attributes:
        written: seconds at which it was stored.
        used: seconds at which it was last recalled (= written if never).
        uses: how often it was recalled.
        importance: 0 to 1, given or estimated.
        nbytes: what it costs.
    """

    written: NDArray[np.float64]
    used: NDArray[np.float64]
    uses: NDArray[np.float64]
    importance: NDArray[np.float64]
    nbytes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be kept, per space. None is no limit."""

    nbytes: int | None = None
    records: int | None = None


# --------------------------------------------------------------------------- claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The smallest experiment that shows what a paper reports, as plain data that the bench executes.

    It holds when, over the cases of `task`, the 95% interval of (method - baseline) in `metric` lies
    wholly above `margin` (wholly below -margin when less is better). The same condition must fail when
    the method is replaced by its sabotaged twin.

    Attributes:
        says: the effect, in one sentence.
        task: the bench task; method, baseline, sabotage: names of its systems.
        options: of the bench, as `--option` gives them.
        metric: a per-case metric of that task.
        budget: what is held equal between the two, e.g. "the same 10 records".
        better: which direction is better.
    """

    says: str
    task: str
    method: str
    baseline: str
    sabotage: str
    metric: str
    budget: str
    margin: float = 0.0
    better: Literal["more", "less"] = "more"
    options: Mapping[str, str] = field(default_factory=dict)


# --------------------------------------------------------------------------- contracts


class Embedder(Protocol):
    """Turns text into unit vectors.

    Attributes:
        name: what a user asks for it by; dim: length of a vector.
        fingerprint: changes exactly when its vectors would.
    """

    name: str
    dim: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> Floats:
        """[n, dim], unit rows, in order; a long text is the normalised mean of its parts."""
        ...

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """The parts of each text; every character that carries words is inside one."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


class LanguageModel(Protocol):
    """Writes text. Whatever it says about memory is checked, never trusted."""

    name: str

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str: ...


class Segmenter(Protocol):
    """Cuts a stream: the spans tile it, in order."""

    def __call__(self, stream: Stream) -> list[Span]: ...


class Retention(Protocol):
    """A keep-score per trace: the lowest go first when the budget is full."""

    def __call__(self, traces: TraceStats, now: float) -> NDArray[np.float64]: ...
