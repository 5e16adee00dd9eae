"""Words: one tokeniser for the whole house, and an inverted index that ranks by BM25 while it grows.

Robertson and Zaragoza (2009), with the constants and the clipped IDF of SQLite's FTS5, so that both rank alike:

    score(q, d) = sum_t idf(t) f(t, d) (k1 + 1) / (f(t, d) + k1 (1 - b + b |d| / avgdl))
    idf(t)      = max(log((N - n(t) + 1/2) / (n(t) + 1/2)), 1e-6)

f(t, d): how often term t stands in d; |d|: terms in d; N: documents; n(t): documents with t.
k1 = 1.2, b = 0.75.

Postings lie in a few sorted segments that are merged as they grow, each at most half as large as the one
before it, so that adding costs O(log n) per posting. A removed document keeps its row for a while; its postings
are passed over when they are counted, so that N, n(t) and avgdl always follow.
"""

from __future__ import annotations

import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import Stemmer
from numpy.typing import NDArray

from mnemic.patterns import pattern
from mnemic.types import Floats, Ints, Mask

K1, B, LEAST_IDF = 1.2, 0.75, 1e-6

# --------------------------------------------------------------------------- text -> terms

# Scripts taken by pairs of neighbours: Han, kana, Hangul, Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3\u3005-\u3007\u3041-\u3096"
    "\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs of the Indic scripts lie at the same offsets in each block; they belong to the word they stand in.
_SIGNS = "".join(
    f"{chr(block + first)}-{chr(block + last)}"
    for block in range(0x900, 0xE00, 0x80)
    for first, last in ((0x00, 0x03), (0x3A, 0x4F), (0x62, 0x63))
)
_ASCII = pattern(r"[a-z0-9]+")
_WORD = pattern(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])(?:[^\W_]|[{_SIGNS}]))+")
_PAIRED = pattern(rf"[{_UNSPACED}]")
_ACCENT = pattern("[\u0300-\u036f]+")
_FUNCTION_WORDS = """
a about all am an and any are as at be because been being but by can could did do does doing for from had has
have having he her hers him his how i if in into is it its just me my of on or our ours she so some such than
that the their them then there these they this those to too us very was we were what when where which who whom
whose why will with would you your yours d ll m re s t ve
"""
_STOP = frozenset(_FUNCTION_WORDS.split())


@lru_cache(maxsize=1 << 13)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word)) if len(word) > 2 else word


@lru_cache(maxsize=1)
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("porter", 0)


def _words(text: str) -> list[str]:
    """Folded alphanumeric words in order; unspaced scripts as pairs of characters."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = unicodedata.normalize("NFC", _ACCENT.sub("", folded))
    if plain.isascii():
        return _ASCII.findall(plain)
    return list(chain.from_iterable(map(_pairs, _WORD.findall(plain))))


def _pairs(word: str) -> Sequence[str]:
    if len(word) > 2 and _PAIRED.match(word):
        return [word[i : i + 2] for i in range(len(word) - 1)]
    return (word,)


def terms(text: str) -> list[str]:
    """The terms a text is indexed by, in order: NFKC, casefold, no diacritics, Porter stems, no stop list.

    Han, kana, Hangul and the unspaced scripts of South-East Asia become overlapping pairs of characters.
    """
    return [_stem(word) for word in _words(text)]


def query_terms(text: str) -> list[str]:
    """The terms a question is asked by: `terms` without function words, unless it has nothing else."""
    words = _words(text)
    return [_stem(word) for word in words if word not in _STOP] or [_stem(word) for word in words]


# --------------------------------------------------------------------------- terms -> documents


@dataclass(frozen=True, slots=True)
class _Segment:
    """Postings sorted by (term, row): those of terms[i] are rows[starts[i]:starts[i + 1]]."""

    terms: NDArray[np.int32]
    starts: NDArray[np.int32]
    rows: NDArray[np.int32]
    counts: NDArray[np.uint16]

    @classmethod
    def of(cls, term: NDArray[np.int32], row: NDArray[np.int32], count: NDArray[np.uint16]) -> _Segment:
        """From parallel arrays sorted by (term, row)."""
        first = np.flatnonzero(np.diff(term, prepend=-1))
        return cls(term[first], np.append(first, len(term)).astype(np.int32), row, count)

    def spread(self) -> NDArray[np.int32]:
        """The term of every posting."""
        return np.repeat(self.terms, np.diff(self.starts))

    def find(self, term: int) -> slice:
        at = int(np.searchsorted(self.terms, term))
        if at == len(self.terms) or self.terms[at] != term:
            return slice(0)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    @property
    def nbytes(self) -> int:
        return self.terms.nbytes + self.starts.nbytes + self.rows.nbytes + self.counts.nbytes


def _merge(older: _Segment, newer: _Segment) -> _Segment:
    """One segment out of two; every row of `newer` is larger than those of `older`."""
    term = np.concatenate([older.spread(), newer.spread()])
    order = np.argsort(term, kind="stable")  # two sorted runs: one merge
    row = np.concatenate([older.rows, newer.rows])[order]
    return _Segment.of(term[order], row, np.concatenate([older.counts, newer.counts])[order])


def _numbered(terms: Iterable[str] = ()) -> defaultdict[str, int]:
    """A table that numbers terms in the order they are first looked up by `[]`."""
    table: defaultdict[str, int] = defaultdict()
    table.default_factory = table.__len__
    for term in terms:
        table[term]
    return table


class WordIndex:
    """An inverted index over documents of terms, ranked by BM25.

    Attributes:
        ids: [rows] the id of every row, in the order of adding, -1 where the document was removed.
    """

    def __init__(self) -> None:
        self.ids: Ints = np.empty(0, np.int64)
        self._lengths: NDArray[np.int32] = np.empty(0, np.int32)  # 0 where removed
        self._vocabulary = _numbered()
        self._segments: list[_Segment] = []
        self._norms: Floats | None = None

    def __len__(self) -> int:
        return int((self.ids >= 0).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays and, estimated at 120 a term, of the vocabulary."""
        norms = 0 if self._norms is None else self._norms.nbytes
        rows = self.ids.nbytes + self._lengths.nbytes + norms
        return rows + sum(segment.nbytes for segment in self._segments) + 120 * len(self._vocabulary)

    def add(self, ids: Iterable[int] | Ints, docs: Sequence[Sequence[str]]) -> None:
        """Index `docs` (lists of terms) under `ids`.

        Raises:
            ValueError: not one document per id, or an id that is already indexed.
        """
        new = np.fromiter(ids, np.int64)
        if len(new) != len(docs):
            raise ValueError(f"{len(new)} ids for {len(docs)} documents; give one document per id")
        if not len(new):
            return
        if new.min() < 0 or len(np.unique(new)) < len(new):
            raise ValueError("ids must be 0 or larger, and each stand once in a call")
        if len(self.ids) and new.min() <= self.ids.max() and (known := np.isin(new, self.ids)).any():
            raise ValueError(f"id {new[known][0]} is already indexed; remove it first")
        lengths = np.fromiter(map(len, docs), np.int32, len(docs))
        flat = np.fromiter(map(self._vocabulary.__getitem__, chain.from_iterable(docs)), np.int64)
        row = np.repeat(np.arange(len(docs), dtype=np.int64), lengths)
        posting, count = np.unique(flat * len(docs) + row, return_counts=True)
        term, row = np.divmod(posting, len(docs))
        self._push(
            _Segment.of(
                term.astype(np.int32),
                (row + len(self.ids)).astype(np.int32),
                np.minimum(count, np.iinfo(np.uint16).max).astype(np.uint16),
            )
        )
        self.ids = np.concatenate([self.ids, new])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._norms = None

    def _push(self, segment: _Segment) -> None:
        while self._segments and 2 * len(segment.rows) > len(self._segments[-1].rows):
            segment = _merge(self._segments.pop(), segment)
        self._segments.append(segment)

    def remove(self, ids: Iterable[int] | Ints) -> int:
        """Take documents out of every score and statistic; returns how many were there.

        Rows move up once a quarter of them is gone.
        """
        gone = (self.ids >= 0) & np.isin(self.ids, np.fromiter(ids, np.int64))
        if not gone.any():
            return 0
        self.ids = np.where(gone, -1, self.ids)
        self._lengths = np.where(gone, 0, self._lengths).astype(np.int32)
        self._norms = None
        if 4 * len(self) <= 3 * len(self.ids):
            self.compact()
        return int(gone.sum())

    def compact(self) -> None:
        """Give the rows of removed documents back, the others move up; terms nobody holds are forgotten."""
        alive = self.ids >= 0
        whole = _Segment.of(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16))
        for segment in self._segments:
            whole = _merge(whole, segment)
        keep = alive[whole.rows]
        spread = whole.spread()[keep]
        held = np.zeros(len(self._vocabulary), np.bool_)
        held[spread] = True
        codes = (np.cumsum(held) - 1).astype(np.int32)
        moved = (np.cumsum(alive) - 1).astype(np.int32)
        self._vocabulary = _numbered(term for term, code in self._vocabulary.items() if held[code])
        self._segments = [_Segment.of(codes[spread], moved[whole.rows[keep]], whole.counts[keep])]
        self.ids, self._lengths, self._norms = self.ids[alive], self._lengths[alive], None

    def to_bytes(self) -> bytes:
        """The index as bytes for `from_bytes`; it is compacted, so nothing of a removed document is in them."""
        self.compact()
        (whole,) = self._segments
        names = np.frombuffer("\n".join(self._vocabulary).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(
            file, ids=self.ids, lengths=self._lengths, names=names,
            terms=whole.terms, starts=whole.starts, rows=whole.rows, counts=whole.counts,
        )  # fmt: skip
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> WordIndex:
        """The index that `to_bytes` wrote."""
        index = cls()
        with np.load(io.BytesIO(data)) as file:
            index.ids, index._lengths = file["ids"], file["lengths"]
            index._segments = [_Segment(file["terms"], file["starts"], file["rows"], file["counts"])]
            index._vocabulary = _numbered(filter(None, file["names"].tobytes().decode().split("\n")))
        return index

    def scores(self, terms: Iterable[str]) -> Floats:
        """[rows] BM25 of every document for the distinct `terms`; 0 where none of them stands (or removed)."""
        scores = np.zeros(len(self.ids), np.float32)
        alive = self.ids >= 0
        n, whole = int(alive.sum()), bool(alive.all())
        norms = self._length_norms()
        for term in dict.fromkeys(terms):
            code = self._vocabulary.get(term)
            if code is None:
                continue
            found = [(s.rows[at], s.counts[at]) for s in self._segments if (at := s.find(code)).stop]
            if not whole:
                found = [(rows[keep], counts[keep]) for rows, counts in found for keep in [alive[rows]]]
            holding = sum(len(rows) for rows, _ in found)
            idf = np.float32(max(np.log((n - holding + 0.5) / (holding + 0.5)), LEAST_IDF))
            for rows, counts in found:
                count = counts.astype(np.float32)
                scores[rows] += idf * np.float32(K1 + 1) * count / (count + norms[rows])
        return scores

    def _length_norms(self) -> Floats:
        """[rows] k1 (1 - b + b |d| / avgdl)."""
        if self._norms is None:
            mean = max(float(self._lengths.sum()), 1.0) / max(len(self), 1)
            self._norms = (K1 * (1 - B + B * self._lengths / mean)).astype(np.float32)
        return self._norms

    def search(self, terms: Iterable[str], k: int, where: Mask | Ints | None = None) -> tuple[Floats, Ints]:
        """Scores and ids of the best `k` documents with any of `terms`, best first, equal ones by row.

        `where` restricts the result (not the statistics): a mask over rows, or ids.
        """
        scores = self.scores(terms)
        if where is not None:
            scores = np.where(where if where.dtype == np.bool_ else np.isin(self.ids, where), scores, 0)
        rows = np.flatnonzero(scores)
        if len(rows) > k:
            least = np.partition(scores[rows], len(rows) - k)[len(rows) - k] if k else np.inf
            rows = rows[scores[rows] >= least]
        rows = rows[np.argsort(-scores[rows], kind="stable")][:k]
        return scores[rows], self.ids[rows]
