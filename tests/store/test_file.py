"""What is no memory is refused and left as it is; what cannot be written is refused whole."""

import os
import sqlite3
from pathlib import Path

import pytest

from mnemic.store import Store, schema
from mnemic.types import Filter, MnemicError, Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed memory of 500 records."""
    path = tmp_path / "life.mnemic"
    with Store.open(path) as store:
        store.put([Record(text=f"ordinary whale number {i}", order=i) for i in range(500)])
    return path


def refused(path: Path, match: str) -> None:
    before = path.read_bytes(), sorted(path.parent.iterdir())
    with pytest.raises(MnemicError, match=match):
        Store.open(path)
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == before


@pytest.mark.parametrize("checked_whole", [0, 1 << 30])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_truncated_file_is_refused_untouched(
    path: Path, share: float, checked_whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnemic.store.file.CHECKED_WHOLE", checked_whole)
    os.truncate(path, int(path.stat().st_size * share))
    refused(path, "damaged .* backup")


@pytest.mark.parametrize("at", [0, 100, 4096, 20000, 60000])
def test_an_overwritten_file_is_refused_untouched(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(4096))
    refused(path, "not a memory file|damaged|another program")


def test_an_empty_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "is empty, not a memory")
    with pytest.raises(MnemicError, match="not a file"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"dear diary", b"\x00" * 5000, os.urandom(9000)])
def test_a_foreign_file_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    refused(tmp_path / "f", "not a memory file")


def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path) -> None:
    con = sqlite3.connect(tmp_path / "f")
    con.execute("CREATE TABLE t (x)")
    con.commit()
    con.close()
    refused(tmp_path / "f", "another program")


def test_a_file_of_a_newer_version_is_refused_untouched(path: Path) -> None:
    con = sqlite3.connect(path)
    con.execute("PRAGMA user_version = 99")
    con.close()
    refused(path, "format 99, .* newer mnemic")


def test_damage_found_later_is_a_sentence_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemic.store.file.CHECKED_WHOLE", 0)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    with pytest.raises(MnemicError, match="damaged"), Store.open(path) as store:
        list(store.scan())


def test_a_full_disk_is_one_sentence_and_nothing_half_written(path: Path) -> None:
    with Store.open(path) as store:
        before = list(store.scan())
        con = store._connection()
        (pages,) = con.execute("PRAGMA page_count").fetchone()
        con.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(MnemicError, match=r"disk .* is full; nothing of this change was written"):
            store.put([Record(text=f"one more {i} " * 50, order=i) for i in range(500)])
        assert list(store.scan()) == before
        assert len(store.words(["more"], Filter(), 9)[0]) == 0
        con.execute("PRAGMA max_page_count = 1000000")
        assert len(store.put([Record(text="there is room again")])) == 1
        assert store.doctor().healthy
        assert not store.doctor().mended


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store.open(path)
    store.close()
    store.close()
    with pytest.raises(MnemicError, match="is closed"):
        store.put([])


def test_durability_is_what_was_asked_for(path: Path) -> None:
    levels = {"normal": 1, "full": 2}
    for durability, level in levels.items():
        with Store.open(path, durability=durability) as store:  # type: ignore[arg-type]
            assert store._connection().execute("PRAGMA synchronous").fetchone() == (level,)


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """A file as the first version wrote it, by plain SQL that no later version may change."""
    path = tmp_path / "old.mnemic"
    con = sqlite3.connect(path)
    con.executescript((Path(__file__).parent / "first_version.sql").read_text(encoding="utf-8"))
    con.close()
    return path


def test_a_file_of_the_first_version_is_read_and_written(first_version: Path) -> None:
    with Store.open(first_version) as store:
        old, new = store.get([1, 2])
        assert (old.text, old.state, old.superseded_by) == ("Ishmael went to sea", "superseded", 2)
        assert (new.text, new.place, new.meta, str(new.when)) == (
            "Ishmael stayed home", ("Loomings",), {"importance": 1.0}, "about 1851-10-18",
        )  # fmt: skip
        assert store.parts_of([2])[3].tolist() == [[1.0, 0.0]]
        assert store.words(["home"], Filter(), 9)[0].tolist() == [2]
        assert store.undo().startswith("undone: supersede")
        assert store.words(["sea"], Filter(), 9)[0].tolist() == [1]
        assert store.doctor().healthy
        assert not store.doctor().mended


def test_each_step_runs_once_and_in_order_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(con: sqlite3.Connection) -> None:
        con.execute("ALTER TABLE record ADD COLUMN mood TEXT")

    def third(con: sqlite3.Connection) -> None:
        con.execute("UPDATE record SET mood = 'calm'")

    def broken(con: sqlite3.Connection) -> None:
        con.execute("ALTER TABLE record ADD COLUMN weather TEXT")
        raise sqlite3.OperationalError("no such thing")

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, second, third])
    for module in ("file", "schema"):
        monkeypatch.setattr(f"mnemic.store.{module}.MIGRATIONS", schema.MIGRATIONS)
    for _ in range(2):
        with Store.open(path) as store:
            found = store._connection().execute("SELECT DISTINCT mood FROM record").fetchall()
            assert found == [("calm",)]
    for module in ("file", "schema"):
        monkeypatch.setattr(f"mnemic.store.{module}.MIGRATIONS", [*schema.MIGRATIONS, broken])
    with pytest.raises(MnemicError):
        Store.open(path)
    con = sqlite3.connect(path)
    assert con.execute("PRAGMA user_version").fetchone() == (4,)
    assert "weather" not in str(con.execute("SELECT sql FROM sqlite_schema").fetchall())
    con.close()
