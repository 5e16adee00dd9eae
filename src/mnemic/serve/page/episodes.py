"""The timeline: records grouped into episodes, newest first.

An episode is what belongs together and happened at one stretch: the records of a conversation, else of a
source, until time leaps by more than `GAP`. What has no date of its own counts as of when it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Filter, Ints, Record, moment

GAP = 8 * 3600.0
SHOWN = 3  # records of an episode that the timeline shows
MONTHS = 72  # with records, from which the overview counts years


@dataclass(frozen=True, slots=True)
class Episode:
    """Some records that belong together.

    Attributes:
        name: the id of its first record, by which it is linked.
        start, end: seconds of its first and last record; dated: whether that is when it happened.
        count: how many records; records: the first few, or all.
    """

    name: int
    start: float
    end: float
    dated: bool
    count: int
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        """What it stands under: the title of the conversation or document, else the source."""
        first = self.records[0]
        return first.title or (first.place[0] if first.place else None) or first.source or "Note"


class Episodes:
    """The episodes of one space, as arrays; made anew for every view, from a mirror in step with the file."""

    def __init__(self, mirror: Mirror, space: str) -> None:
        rows = np.flatnonzero(
            mirror.mask(Filter(space=space)) & ~mirror.mask(Filter(space=space, kind="profile"))
        )
        dated = ~np.isnan(mirror.when_start[rows])
        at = np.where(dated, mirror.when_start[rows], mirror.written[rows])
        conversation = mirror.conversation[rows].astype(np.int64)
        group = np.where(conversation >= 0, conversation, -2 - mirror.source[rows])
        order = np.lexsort((mirror.ids[rows], mirror.order[rows], at, group))
        self.ids: Ints = mirror.ids[rows][order]
        self.at: NDArray[np.float64] = at[order]
        self._dated = dated[order]
        leaps = (np.diff(group[order]) != 0) | (np.diff(self.at) > GAP)
        self._starts = np.concatenate([[0], np.flatnonzero(leaps) + 1]) if len(rows) else np.empty(0, np.int64)
        self._stops = np.append(self._starts[1:], len(rows)) if len(rows) else self._starts
        self._newest_first = np.lexsort((-self._starts, -self.at[self._starts]))

    def __len__(self) -> int:
        return len(self._starts)

    def page(self, store: Store, first: int, count: int, until: float | None = None) -> list[Episode]:
        """`count` of the episodes that began before `until`, from the `first` (0: the newest) on."""
        chosen = self._newest_first
        if until is not None:
            chosen = chosen[self.at[self._starts[chosen]] < until]
        return [self._episode(store, int(n), SHOWN) for n in chosen[first : first + count]]

    def holding(self, store: Store, id: int, most: int) -> Episode | None:
        """The episode that a record belongs to, with at most so many records."""
        rows = np.flatnonzero(self.ids == id)
        if not len(rows):
            return None
        return self._episode(store, int(np.searchsorted(self._starts, rows[0], side="right")) - 1, most)

    def _episode(self, store: Store, n: int, most: int) -> Episode:
        start, stop = int(self._starts[n]), int(self._stops[n])
        records = store.get(self.ids[start : min(stop, start + most)])
        return Episode(
            int(self.ids[start]),
            float(self.at[start]),
            float(self.at[stop - 1]),
            bool(self._dated[start]),
            stop - start,
            tuple(records),
        )

    def overview(self) -> list[tuple[str, int]]:
        """How many records each month has ("2023-04"), or each year where months are too many, in order."""
        if not len(self.at):
            return []
        days, counts = np.unique(np.floor(self.at / 86400), return_counts=True)
        seen = [moment(86400.0 * float(day)) for day in days]
        names = [f"{it:%Y-%m}" for it in seen]
        spread = _months(seen[0], seen[-1])
        if len(set(names)) > MONTHS:
            names = [name[:4] for name in names]
            spread = [f"{year:04d}" for year in range(seen[0].year, seen[-1].year + 1)]
        found = dict.fromkeys(spread, 0)
        for name, count in zip(names, counts.tolist(), strict=True):
            found[name] += count
        return list(found.items())


def _months(first: datetime, last: datetime) -> Sequence[str]:
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{it // 12:04d}-{it % 12 + 1:02d}" for it in months]


def end_of(period: str) -> float:
    """The second after "2023-04" or "2023".

    Raises:
        ValueError: it is neither.
    """
    parts = [int(part) for part in period.split("-")]
    if not 1 <= len(parts) <= 2 or not 1 <= parts[0] <= 9998 or not 1 <= (parts[1:] or [1])[0] <= 12:
        raise ValueError(f"{period!r} is neither a month (2023-04) nor a year (2023)")
    month = parts[0] * 12 + (parts[1] if len(parts) == 2 else 12)
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()
