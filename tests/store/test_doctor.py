"""What is derived is mended, what is not is named; a healthy memory is left as it is."""

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mnemic.store import Store
from mnemic.types import Filter, Part, Record


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "m") as store:
        store.put(
            [Record(text=f"whale {i}", order=i) for i in range(20)],
            [[Part(0, 5, np.ones(4, np.float32))] for _ in range(20)],
        )
        yield store


def broken(store: Store, *statements: str) -> None:
    for statement in statements:
        store._connection().execute(statement)


def test_a_healthy_memory_is_left_as_it_is(store: Store) -> None:
    store.supersede(1, "ship")
    store.forget([2])
    before, after = io.StringIO(), io.StringIO()
    store.export(before)
    report = store.doctor()
    assert (report.healthy, report.found, report.mended) == (True, (), ())
    store.export(after)
    assert after.getvalue() == before.getvalue()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO words (words, rowid, terms) VALUES ('delete', 3, '1:whale 1:2')",
        "INSERT INTO words (rowid, terms) VALUES (99, '1:whale')",
        "INSERT INTO words (words, rowid, terms) VALUES ('delete', 3, '1:ship')",
        "UPDATE record SET text = 'a harpoon' WHERE id = 3",
        "INSERT INTO words (words) VALUES ('delete-all')",
        "UPDATE words_data SET block = x'00ff00ff' WHERE id > 10",
    ],
)
def test_a_word_index_out_of_step_is_built_anew(store: Store, statement: str) -> None:
    broken(store, statement)
    assert "word index" in store.doctor().mended[0]
    texts = {r.id: r.text for r in store.scan()}
    for term in ("whale", "harpoon"):
        found = store.words([term], Filter(), 99)[0].tolist()
        assert sorted(found) == [id for id, text in texts.items() if term in text]
    assert not store.doctor().mended


@pytest.mark.parametrize(
    ("statement", "mended"),
    [
        ("INSERT INTO part SELECT 99, spans, vectors FROM part WHERE record = 1", "1 vectors of no record"),
        ("UPDATE part SET vectors = x'00' WHERE record IN (1, 2)", "2 spoilt vectors"),
        ("INSERT INTO use VALUES (99, 1, 1.0)", "1 use counts"),
        ("INSERT INTO link VALUES (1, 99, 'x', 1)", "1 links"),
    ],
)
def test_strays_are_removed(store: Store, statement: str, mended: str) -> None:
    broken(store, statement)
    report = store.doctor()
    assert report.healthy
    assert mended in report.mended[0]
    assert not store.doctor().mended


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM touched WHERE record = 4", "where these came from: records 4"),
        (
            "UPDATE record SET superseded_by = 9, state = 'superseded' WHERE id = 4",
            "does not name them: records 4",
        ),
        ("UPDATE record SET supersedes = 9 WHERE id = 4", "does not name them: records 4"),
        ("UPDATE record SET space = 77 WHERE id = 4", "no space: records 4"),
    ],
)
def test_what_cannot_be_mended_is_named(store: Store, statement: str, found: str) -> None:
    broken(store, statement)
    report = store.doctor()
    assert not report.healthy
    assert any(found in line for line in report.found)


def test_a_look_up_table_that_lost_its_way_is_built_anew(store: Store) -> None:
    path = store.path
    store.close()

    def raw(*statements: str) -> None:
        con = sqlite3.connect(path, isolation_level=None)
        con.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            con.execute(statement)
        con.close()

    hidden = "sqlite_schema WHERE name = 'record_digest'"
    raw(f"CREATE TABLE aside AS SELECT * FROM {hidden}", f"DELETE FROM {hidden}")
    raw("UPDATE record SET digest = x'ff' WHERE id = 3")
    raw("INSERT INTO sqlite_schema SELECT * FROM aside", "DROP TABLE aside")
    with Store.open(path) as again:
        report = again.doctor()
        assert report.healthy
        assert "look-up tables" in report.mended[0]
        assert not again.doctor().mended
