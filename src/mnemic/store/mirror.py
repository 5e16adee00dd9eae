"""The live records of a memory in arrays, one row each, so that a question is a few array operations.

A mirror holds no text: columns, postings of words, and vectors. Words and vectors are loaded when first asked
for; all are kept in step with the file by its log of changes, whoever wrote them. Rows are in the order of ids.
A mirror can always be thrown away; of a large one the file keeps columns and words, so that the next process
need not make them anew.

How common a word is, and how long a record, is counted within each space, so no tenant can feel another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from mnemic.heap import give_back
from mnemic.index.flat import FlatIndex, top
from mnemic.index.rounded import products, rounded
from mnemic.index.words import WordIndex
from mnemic.store.store import Store
from mnemic.store.words import indexed
from mnemic.types import Filter, Floats, Ints, Mask, MnemicError

PAGE = 1000  # records fetched at a time
TEXTS = 200  # and with their text
FEW = 20_000  # records of a space up to which the file itself answers the first questions about words
KEPT = 2000  # records from which the file keeps columns, and of a space its word index
EXACT = 50  # records whose similarity is computed from the vectors in the file
TIDY = 100  # records after which the gaps that arrays made anew leave behind are given back
PATIENCE = 3  # refreshes (one a recall) at which it does, before a word index is built

_CODED = ("space", "source", "session", "author", "kind")
_ROW = np.dtype(
    [("ids", np.int64), *((name, np.int32) for name in (*_CODED, "_group")), ("order", np.int64)]
    + [(name, np.float64) for name in ("when_start", "when_end", "written")]
)


class Mirror:
    """The arrays of one store. `refresh` fills them and keeps them in step; not for several threads at once.

    Attributes:
        ids: [n] int64, ascending.
        space, source, session, author, kind: [n] int32, places in `names`.
        order: [n] int64.
        when_start, when_end: [n] float64 seconds, NaN where unknown; written: [n] float64 seconds.
        previous, next: [n] int64, rows of the neighbours by order within (space, source, session), -1 if none.
        names: what the codes stand for.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = 0
        self.ids: Ints = np.empty(0, np.int64)
        self.order: Ints = np.empty(0, np.int64)
        self.space, self.source, self.session, self.author, self.kind, self._group = (
            np.empty(0, np.int32) for _ in range(6)
        )
        self.when_start, self.when_end, self.written = (np.empty(0, np.float64) for _ in range(3))
        self.previous: Ints = np.empty(0, np.int64)
        self.next: Ints = np.empty(0, np.int64)
        self.names: list[str | None] = []
        self._codes: dict[str | None, int] = {}
        self._groups: dict[tuple[int, int, int], int] = {}
        self._words: dict[int, WordIndex] = {}
        self._word_rows: dict[int, NDArray[np.int32]] = {}  # row here of each row there, -1 where removed
        self._refreshes = 0
        self._first: dict[int, int] = {}  # the refresh after which a space was first asked for words
        self._kept: dict[int, int] = {}  # documents in the word index as the file last kept it
        self._rows_kept = 0  # rows as the file last kept them
        self._untidy = 0  # rows added and removed since memory was last given back
        self._vectors: FlatIndex | None = None
        self._vector_rows = np.empty(0, np.int32)  # row here of each row there, -1 where removed
        self._vector_parts = np.empty(0, np.int32)  # which part of its record

    def __len__(self) -> int:
        return len(self.ids)

    # ----------------------------------------------------------------- in step with the file

    def refresh(self) -> None:
        """Take in what was written since the last call, by any process; a moment's work if nothing was."""
        self._refreshes += 1
        if not self._seq:
            self._load_rows()
        seq, live, gone = self._store.changes(self._seq)
        if seq == self._seq:
            return
        self._seq = seq
        gone = gone[np.isin(gone, self.ids)]
        new = live[~np.isin(live, self.ids)]
        if len(gone):
            self._keep(~np.isin(self.ids, gone))
        for some in _pages(new):
            self._append(self._store.columns(ids=some))
        if len(new) and not (np.diff(self.ids) > 0).all():
            self._keep(np.argsort(self.ids))
        if len(gone) or len(new):
            self._join()
            self._untidy += len(gone) + len(new)
            if self._untidy >= TIDY:
                self._untidy = 0
                give_back()
        self._keep_rows()
        for code in self._words:
            self._match_words(code)
        if self._vectors is not None:
            self._vectors.remove(np.concatenate([gone, live]))
            if (self._vectors.ids < 0).all():  # another embedder's may follow, of another length
                self._vectors = FlatIndex()
            self._add_vectors(self._vectors, live)

    def _load_rows(self) -> None:
        """Take the rows that the file has kept, as of an earlier entry of its log, if it has."""
        data = self._store.kept("rows")
        if data is None:
            return
        head, _, body = data.partition(b"\n")
        self._seq, self.names = json.loads(head)
        table = np.frombuffer(body, _ROW)
        for name in _ROW.fields or ():
            setattr(self, name, table[name].copy())
        self._codes = {value: code for code, value in enumerate(self.names)}
        _, first, numbers = np.unique(self._group, return_index=True, return_inverse=True)
        self._group = numbers.astype(np.int32)  # without gaps
        groups = zip(*(getattr(self, name)[first].tolist() for name in _CODED[:3]), strict=True)
        self._groups = {group: number for number, group in enumerate(groups)}
        self._rows_kept = len(self)
        self._words, self._vectors = {}, None  # those of an empty memory, if it was asked when it was one
        self._join()

    def _keep_rows(self) -> None:
        """Have the file keep the rows when they have grown much; no name that only removed ones had."""
        if len(self) < KEPT or 4 * (len(self) - self._rows_kept) <= len(self):
            return
        table = np.empty(len(self), _ROW)
        for name in _ROW.fields or ():
            table[name] = getattr(self, name)
        used, codes = np.unique([table[name] for name in _CODED], return_inverse=True)
        for name, recoded in zip(_CODED, codes.reshape(len(_CODED), -1), strict=True):
            table[name] = recoded
        head = json.dumps([self._seq, [self.names[code] for code in used]]).encode()
        with suppress(MnemicError):  # a file that cannot be written answers all the same
            if self._store.keep("rows", head + b"\n" + table.tobytes(), self._seq):
                self._rows_kept = len(self)

    def _keep(self, rows: Mask | Ints) -> None:
        for name in _ROW.fields or ():
            setattr(self, name, getattr(self, name)[rows])

    def _append(self, columns: dict[str, NDArray[np.generic]]) -> None:
        coded = {name: self._coded(columns[name].tolist()) for name in _CODED}
        together = zip(*(coded[name].tolist() for name in ("space", "source", "session")), strict=True)
        group = [self._groups.setdefault(key, len(self._groups)) for key in together]
        more = columns | coded | {"ids": columns["id"], "_group": np.array(group, np.int32)}
        for name in _ROW.fields or ():
            setattr(self, name, np.concatenate([getattr(self, name), more[name]]))

    def _coded(self, values: list[str | None]) -> NDArray[np.int32]:
        """A number per value, the same for the same; new values get the next ones."""
        for value in dict.fromkeys(values):
            if value not in self._codes:
                self._codes[value] = len(self.names)
                self.names.append(value)
        return np.fromiter(map(self._codes.__getitem__, values), np.int32, len(values))

    def _join(self) -> None:
        """Find every row's neighbours; what stands in the profile is nobody's."""
        ranked = np.argsort(
            self._group.astype(np.int64) << 32 | np.clip(self.order, 0, 2**32 - 1), kind="stable"
        )
        ranked = ranked[self.kind[ranked] != self._codes.get("profile", -1)]
        together = self._group[ranked[:-1]] == self._group[ranked[1:]]
        before, after = ranked[:-1][together], ranked[1:][together]
        self.previous, self.next = np.full(len(self), -1), np.full(len(self), -1)
        self.previous[after], self.next[before] = before, after

    # ----------------------------------------------------------------- questions

    def rows(self, ids: Sequence[int] | Ints) -> Ints:
        """The rows of `ids`, -1 for those that are not live."""
        wanted = np.asarray(ids, np.int64)
        if not len(self):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self) - 1)
        return np.where(self.ids[at] == wanted, at, -1)

    def mask(self, where: Filter) -> Mask:
        """[n] which rows a filter lets through."""
        passed: Mask = self.space == self._codes.get(where.space, -1)
        for name in ("source", "session", "author", "kind"):
            value = getattr(where, name)
            if value is not None:
                passed &= getattr(self, name) == self._codes.get(value, -1)
        if where.before is not None:
            passed &= self.when_end <= where.before
        if where.after is not None:
            passed &= self.when_start >= where.after
        if where.during is not None:
            passed &= (self.when_start < where.during.end) & (self.when_end > where.during.start)
        return passed

    def words(self, terms: Sequence[str], space: str) -> Floats:
        """[n] BM25 of the records of a space for any of some stemmed terms; 0 where none stands."""
        scores = np.zeros(len(self), np.float32)
        code = self._codes.get(space, -1)
        if code not in self._words and not self._load_words(code):
            size = int((self.space == code).sum())
            since = self._refreshes - self._first.setdefault(code, self._refreshes)
            if size <= FEW and since < PATIENCE:
                ids, found = self._store.words(terms, Filter(space=space), size)
                rows = self.rows(ids)
                scores[rows[rows >= 0]] = found[rows >= 0]
                return scores
            self._words[code] = WordIndex()
            self._match_words(code)
        at = self._word_rows[code]
        scores[at[at >= 0]] = self._words[code].scores(terms)[at >= 0]
        return scores

    def _load_words(self, code: int) -> bool:
        """Take the word index of a space that the file has kept, if it has."""
        data = self._store.kept(f"words:{self.names[code]}") if code >= 0 else None
        if data is None:
            return False
        self._words[code] = WordIndex.from_bytes(data)
        self._kept[code] = len(self._words[code])
        self._match_words(code)
        give_back()
        return True

    def _match_words(self, code: int) -> None:
        """Bring a word index to the live records of its space; have the file keep it when it has grown much."""
        index, ids = self._words[code], self.ids[self.space == code]
        index.remove(index.ids[~np.isin(index.ids, ids)])
        self._add_words(index, ids[~np.isin(ids, index.ids)])
        if len(index) >= KEPT and 4 * (len(index) - self._kept.get(code, 0)) > len(index):
            with suppress(MnemicError):  # a file that cannot be written answers all the same
                if self._store.keep(f"words:{self.names[code]}", index.to_bytes(), self._seq):
                    self._kept[code] = len(index)
            give_back()
        self._word_rows[code] = self.rows(index.ids).astype(np.int32)

    def _add_words(self, index: WordIndex, ids: Ints) -> None:
        for some in _pages(ids, TEXTS):
            records = self._store.get(some.tolist())
            index.add(some, [indexed(record.author, record.text) for record in records])

    def vectors(self, query: Floats) -> tuple[Floats, Ints]:
        """Similarity of every record to `query` [dim], and the part of it that is nearest: ([n], [n]).

        A record's similarity is that of its nearest part; without any vector it is -1, and so is its part. The
        `EXACT` nearest records are compared as the file has them, the others to about 0.002 (rounded vectors).
        """
        scores, parts = np.full(len(self), -1, np.float32), np.full(len(self), -1)
        if self._vectors is None:
            self._vectors = FlatIndex()
            self._add_vectors(self._vectors, self.ids)
            give_back()
        there = self._vector_rows >= 0
        if not there.any():
            return scores, parts
        rows, found = self._vector_rows[there], products(self._vectors.keys, query)[there]
        np.maximum.at(scores, rows, found)
        best = np.flatnonzero(found == scores[rows])[::-1]
        parts[rows[best]] = self._vector_parts[there][best]
        self._compare_exactly(query, scores, parts)
        return scores, parts

    def _compare_exactly(self, query: Floats, scores: Floats, parts: Ints) -> None:
        nearest = np.sort(top(scores, EXACT)[1])
        of, _, _, vectors = self._store.parts_of(self.ids[nearest])
        found = vectors @ query
        for row, id in zip(nearest, self.ids[nearest], strict=True):
            own = found[np.searchsorted(of, id) : np.searchsorted(of, id, "right")]
            if len(own):
                scores[row], parts[row] = own.max(), own.argmax()

    def _add_vectors(self, index: FlatIndex, ids: Ints) -> None:
        for some in _pages(ids):
            of, _, _, vectors = self._store.parts_of(some)
            if len(of):
                index.add(rounded(vectors), of)
        self._vector_rows = self.rows(index.ids).astype(np.int32)
        first = np.flatnonzero(np.diff(index.ids, prepend=-2))
        self._vector_parts = np.arange(len(index.ids), dtype=np.int32)
        self._vector_parts -= np.repeat(first, np.diff(first, append=len(index.ids))).astype(np.int32)

    def spans(self, rows: Sequence[int] | Ints, parts: Sequence[int] | Ints) -> list[tuple[int, int]]:
        """The characters [start, end) of some rows' texts that parts of them stand for; (0, 0) for part -1."""
        of, starts, ends, _ = self._store.parts_of(self.ids[rows])
        first = np.searchsorted(of, self.ids[rows])
        return [
            (int(starts[at + part]), int(ends[at + part])) if part >= 0 else (0, 0)
            for at, part in zip(first, parts, strict=True)
        ]

    @property
    def conversation(self) -> NDArray[np.int32]:
        """[n] a number per session of a source of a space, -1 where a record belongs to no session."""
        return np.where(self.session == self._codes.get(None, -1), np.int32(-1), self._group)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays (the tables of names and groups are not counted)."""
        columns = sum(int(getattr(self, name).nbytes) for name in _ROW.fields or ())
        joined = self.previous.nbytes + self.next.nbytes + self._vector_rows.nbytes + self._vector_parts.nbytes
        vectors = 0 if self._vectors is None else self._vectors.nbytes
        words = sum(index.nbytes + 4 * len(self._word_rows[code]) for code, index in self._words.items())
        return columns + joined + vectors + words


def _pages(ids: Ints, size: int = PAGE) -> Iterator[Ints]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
