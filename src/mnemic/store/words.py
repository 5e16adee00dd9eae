"""The durable word index: FTS5 holds the stemmed terms of every live record, coded by space.

A term is stored as "space:term", so the postings of one tenant are never read for another, and how common a
word is elsewhere cannot be felt. Scores are BM25 with the statistics of the space, computed from the postings
(fts5vocab) and the same constants as `mnemic.index.words`; see there for the formula.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemic.index.words import K1, LEAST_IDF, B
from mnemic.index.words import terms as terms_of
from mnemic.types import Floats, Ints

LONGEST = 256  # characters of a term that are told apart


def coded(space: int, terms: Sequence[str]) -> list[str]:
    return [f"{space}:{term[:LONGEST]}" for term in terms]


def indexed(author: str | None, text: str) -> list[str]:
    """The terms a record is found by: those of "author: text"."""
    return terms_of(f"{author}: {text}" if author else text)


def add(con: sqlite3.Connection, rows: Sequence[tuple[int, int, Sequence[str]]]) -> None:
    """Index (record id, space, terms) rows."""
    con.executemany(
        "INSERT INTO words (rowid, terms) VALUES (?, ?)",
        ((id, " ".join(coded(space, terms))) for id, space, terms in rows),
    )


def remove(con: sqlite3.Connection, id: int, space: int, terms: Sequence[str]) -> None:
    """Take one record out; `terms` must be those it went in with."""
    con.execute(
        "INSERT INTO words (words, rowid, terms) VALUES ('delete', ?, ?)", (id, " ".join(coded(space, terms)))
    )


def rebuild(con: sqlite3.Connection) -> None:
    """Index every live record anew."""
    con.execute("INSERT INTO words (words) VALUES ('delete-all')")
    live = con.execute("SELECT id, space, author, text FROM record WHERE state = 'live' ORDER BY id")
    while batch := live.fetchmany(1000):
        rows = [(id, space, indexed(author, text)) for id, space, author, text in batch]
        add(con, rows)
        con.executemany("UPDATE record SET terms = ? WHERE id = ?", [(len(t), id) for id, _, t in rows])


def in_step(con: sqlite3.Connection) -> bool:
    """Whether the index holds exactly the terms of the live records (counted per term and per record)."""
    terms: Counter[str] = Counter()
    live: set[int] = set()
    for id, space, author, text, length in con.execute(
        "SELECT id, space, author, text, terms FROM record WHERE state = 'live'"
    ):
        found = coded(space, indexed(author, text))
        if len(found) != length:
            return False
        live.add(id)
        terms.update(found)
    con.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words_counted USING fts5vocab(main, words, row)")
    try:
        con.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        counted = dict(con.execute("SELECT term, cnt FROM words_counted"))
        held = {id for (id,) in con.execute("SELECT id FROM words_docsize")}
    except sqlite3.DatabaseError:
        return False
    return counted == terms and held == live


def score(con: sqlite3.Connection, space: int, terms: Sequence[str]) -> tuple[Ints, NDArray[np.float64]]:
    """BM25 of the live records of a space that hold any of the distinct `terms`: (ids ascending, scores)."""
    rows = con.execute("SELECT id, terms FROM record WHERE space = ? AND state = 'live' ORDER BY id", (space,))
    table = np.array(rows.fetchall(), np.int64).reshape(-1, 2)
    ids, lengths = table[:, 0], table[:, 1]
    scores = np.zeros(len(ids))
    norms = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9)) if len(ids) else lengths
    for term in coded(space, list(dict.fromkeys(terms))):
        (postings,) = con.execute("SELECT group_concat(doc) FROM words_at WHERE term = ?", (term,)).fetchone()
        docs, counts = np.unique(np.fromstring(postings or "", np.int64, sep=","), return_counts=True)
        live = np.isin(docs, ids)
        docs, counts = docs[live], counts[live]
        at = np.searchsorted(ids, docs)
        idf = max(np.log((len(ids) - len(docs) + 0.5) / (len(docs) + 0.5)), LEAST_IDF)
        scores[at] += idf * (K1 + 1) * counts / (counts + norms[at])
    found = np.flatnonzero(scores)
    return ids[found], scores[found]


def best(ids: Ints, scores: NDArray[np.float64], limit: int) -> tuple[Ints, Floats]:
    """The `limit` highest, best first, equal ones by id."""
    top = np.lexsort((ids, -scores))[:limit]
    return ids[top], scores[top].astype(np.float32)
