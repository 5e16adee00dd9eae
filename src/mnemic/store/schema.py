"""The shape of a memory file: its mark, and the numbered steps that lead an older file here.

A step is a function on a connection, named after what it brings; it is never edited once released. The file
carries how many steps it has seen in `PRAGMA user_version`, and that it is a memory in `PRAGMA application_id`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

APPLICATION_ID = 0x6D6E6D63  # "mnmc"

RECORDS = """
CREATE TABLE space (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);

CREATE TABLE record (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  space INTEGER NOT NULL,
  state TEXT NOT NULL,
  kind TEXT NOT NULL,
  source TEXT,
  author TEXT,
  session TEXT,
  title TEXT,
  place TEXT NOT NULL,
  rank INTEGER NOT NULL,
  char_start INTEGER NOT NULL,
  char_end INTEGER NOT NULL,
  when_start REAL,
  when_end REAL,
  when_precision TEXT,
  when_offset INTEGER,
  when_about INTEGER,
  written REAL NOT NULL,
  valid_to REAL,
  supersedes INTEGER,
  superseded_by INTEGER,
  terms INTEGER NOT NULL,
  digest BLOB NOT NULL,
  meta TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX record_state ON record (space, state, id, terms);
CREATE INDEX record_rank ON record (space, session, source, rank);
CREATE INDEX record_digest ON record (digest);

CREATE TABLE part (record INTEGER PRIMARY KEY, spans BLOB NOT NULL, vectors BLOB NOT NULL);

CREATE TABLE link (
  a INTEGER NOT NULL, b INTEGER NOT NULL, kind TEXT NOT NULL, weight REAL NOT NULL, PRIMARY KEY (a, b, kind)
) WITHOUT ROWID;
CREATE INDEX link_back ON link (b);

CREATE TABLE use (record INTEGER PRIMARY KEY, uses INTEGER NOT NULL, used REAL NOT NULL);

CREATE TABLE change (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  op TEXT NOT NULL,
  space INTEGER,
  detail TEXT NOT NULL,
  undone_by INTEGER
);
CREATE TABLE touched (
  seq INTEGER NOT NULL, record INTEGER NOT NULL, was TEXT, PRIMARY KEY (seq, record)
) WITHOUT ROWID;
CREATE INDEX touched_record ON touched (record);

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

WORDS = (
    """CREATE VIRTUAL TABLE words USING fts5(terms, content='', tokenize="ascii tokenchars ':'")""",
    "CREATE VIRTUAL TABLE words_at USING fts5vocab(words, instance)",
)


def records_and_words(con: sqlite3.Connection) -> None:
    """Records, vectors, links, the log, and the word index over stemmed terms."""
    for statement in RECORDS.split(";"):
        con.execute(statement)
    for statement in WORDS:
        con.execute(statement)


def kept_indexes(con: sqlite3.Connection) -> None:
    """Indexes that take long to build, as bytes; a purge drops them."""
    con.execute("CREATE TABLE kept (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID")


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [records_and_words, kept_indexes]


def migrate(con: sqlite3.Connection) -> None:
    """Bring a file to this version, all steps or none; the caller holds the write transaction."""
    version = int(con.execute("PRAGMA user_version").fetchone()[0])
    for step in MIGRATIONS[version:]:
        step(con)
    con.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
