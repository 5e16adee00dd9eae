"""Which of two passages came first (Sequence Order Recall, paper 24), answered from the text itself.

A passage is located in two steps. Its words vote for records (BM25: rare words count most). Then, in each
candidate record and its neighbours in time, every pair of equal words votes for the diagonal they lie on:

    memory    w0 w1 w2 w3 w4 w5 w6 ...        word j of the memory equals word i of the passage:
    passage         p0 p1 p2 p3               one vote for the start j - i

The diagonal with most votes, its close neighbours counted with it, is where the passage starts; a word that was
changed loses its own vote only. Within one source the character decides, across sources the time it happened.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from mnemic.index.words import query_terms
from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Claim, Filter, Ints, Order, Place, Record

PAPER = 24
CLAIM = Claim(
    says="with the text in memory, which of two passages came first is answered almost without error",
    task="booksort",
    method="mnemic",
    baseline="string search",
    sabotage="mnemic, half the bytes",
    metric="accuracy@2500",
    budget="the same book in memory",
)

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

FOUND = 0.4  # least share of a passage's words on one diagonal
SURE = 0.8  # with so many the first few candidates are enough
CANDIDATES = (4, 32)  # records looked into at first, and when these do not settle it


def words(text: str) -> list[tuple[str, int]]:
    """The words of `text`, folded, each with the character it starts at; unspaced scripts by character."""
    return [(_fold(match[0]), match.start()) for match in _WORD.finditer(text)]


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))


def align(passage: Sequence[str], memory: Sequence[str]) -> tuple[int, int]:
    """The start (may be negative) of `passage` in `memory` and how many of its words agree there.

    A word replaced by two moves all that follow by one: diagonals up to a tenth of the passage apart count
    together, and the most voted one is the start. (0, 0) when no word is shared.
    """
    places = defaultdict(list)
    for i, word in enumerate(passage):
        places[word].append(i)
    agreeing: dict[int, list[int]] = defaultdict(list)  # start -> words of the passage that vote for it
    for j, word in enumerate(memory):
        for i in places.get(word, ()):
            agreeing[j - i].append(i)
    reach = len(passage) // 10
    near: Counter[int] = Counter()
    for start, voters in agreeing.items():
        for shift in range(-reach, reach + 1):
            near[start + shift] += len(voters)
    if not agreeing:
        return 0, 0
    middle = min(near, key=lambda start: (-near[start], start))
    close = [start for start in range(middle - reach, middle + reach + 1) if start in agreeing]
    best = min(close, key=lambda start: (-len(agreeing[start]), start))
    return best, len({i for start in close for i in agreeing[start]})


def locate(store: Store, mirror: Mirror, passage: str, where: Filter) -> Place | None:
    """Where `passage` stands in memory, or None: at least `FOUND` of its words in place, in the right order.

    Raises:
        ValueError: a passage without a word.
    """
    sought = [word for word, _ in words(passage)]
    if not sought:
        raise ValueError(f"{passage!r} has no word to look for; give a passage of text")
    scores = np.where(mirror.mask(where), mirror.words(query_terms(passage), where.space), 0.0)
    ranked = np.lexsort((mirror.ids, -scores))[: CANDIDATES[-1]]
    ranked = ranked[scores[ranked] > 0]
    text = _Text(store, mirror)
    best: Place | None = None
    for first, last in zip((0, *CANDIDATES), CANDIDATES, strict=False):
        for row in ranked[first:last]:
            place = _inside(text, int(row), sought)
            if best is None or place.agreement > best.agreement:
                best = place
        if best is not None and best.agreement >= SURE:
            break
    return best if best is not None and best.agreement >= FOUND else None


class _Text:
    """The words of the records looked into, each read once."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self.mirror = mirror
        self._get = lru_cache(maxsize=None)(lambda row: store.get([int(mirror.ids[row])])[0])
        self._words = lru_cache(maxsize=None)(lambda row: words(self.record(row).text))

    def record(self, row: int) -> Record:
        return self._get(row)

    def words(self, row: int) -> list[tuple[str, int]]:
        return self._words(row)

    def reach(self, row: int, step: Ints, least: int) -> list[int]:
        """Rows from `row` on along `step` (previous or next) until they hold `least` words."""
        rows: list[int] = []
        while least > 0 and (row := int(step[row])) >= 0:
            rows.append(row)
            least -= len(self.words(row))
        return rows


def _inside(text: _Text, row: int, sought: list[str]) -> Place:
    """The best start of `sought` in the record at `row` and as many neighbours as it could reach into."""
    mirror = text.mirror
    before = text.reach(row, mirror.previous, len(sought))
    rows = [*before[::-1], row, *text.reach(row, mirror.next, len(sought))]
    run = [(word, at, owner) for owner in rows for word, at in text.words(owner)]
    start, agreeing = align(sought, [word for word, _, _ in run])
    _, at, owner = run[max(start, 0)]
    record = text.record(owner)
    return Place(record, record.start + at, agreeing / len(sought))


def order(store: Store, mirror: Mirror, a: str, b: str, where: Filter) -> Order:
    """Which of the passages `a` and `b` came first, and where each is.

    Undecided (`first` is None) when one is not in memory, or when they come from different sources or
    sessions whose times are unknown or overlap.

    Raises:
        ValueError: a passage without a word.
    """
    places = locate(store, mirror, a, where), locate(store, mirror, b, where)
    return Order(_earlier(*places), *places)


def _earlier(a: Place | None, b: Place | None) -> Literal["a", "b"] | None:
    if a is None or b is None:
        return None
    one, other = a.record, b.record
    if (one.source, one.session) == (other.source, other.session):
        first, second = (one.order, a.start), (other.order, b.start)
        return None if first == second else "a" if first < second else "b"
    if one.when is None or other.when is None or one.when.overlaps(other.when):
        return None
    return "a" if one.when.start < other.when.start else "b"
