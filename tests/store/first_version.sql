-- A memory file as version 1 wrote it. Never edit: it stands for the files that users have.
PRAGMA journal_mode = WAL;
BEGIN;
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

CREATE VIRTUAL TABLE words USING fts5(terms, content='', tokenize="ascii tokenchars ':'");
CREATE VIRTUAL TABLE words_at USING fts5vocab(words, instance);

INSERT INTO space (id, name) VALUES (1, 'default');
INSERT INTO record VALUES (
  1, 1, 'superseded', 'text', 'diary', 'me', '1851', 'Moby', '["Loomings"]', 0, 0, 19,
  -3730233600.0, -3730147200.0, 'day', NULL, 1, 1000.5, 2000.5, NULL, 2, 5, x'000102030405060708090a0b0c0d0e0f',
  '{"importance": 1.0}', 'Ishmael went to sea'
);
INSERT INTO record VALUES (
  2, 1, 'live', 'text', 'diary', 'me', '1851', 'Moby', '["Loomings"]', 0, 0, 0,
  -3730233600.0, -3730147200.0, 'day', NULL, 1, 2000.5, NULL, 1, NULL, 4, x'f00102030405060708090a0b0c0d0e0f',
  '{"importance": 1.0}', 'Ishmael stayed home'
);
INSERT INTO part VALUES (2, x'0000000013000000', x'003c0000');
INSERT INTO meta VALUES ('dim', '2');
INSERT INTO change VALUES (1, 1000.5, 'put', 1, '{}', NULL), (2, 2000.5, 'supersede', 1, '{}', NULL);
INSERT INTO touched VALUES (1, 1, NULL), (2, 1, 'live'), (2, 2, NULL);
INSERT INTO words (rowid, terms) VALUES (2, '1:me 1:ishmael 1:stai 1:home');
PRAGMA application_id = 1835953507;
PRAGMA user_version = 1;
COMMIT;
