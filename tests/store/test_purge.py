"""Forgotten means gone: no byte of any file holds what was purged, and everything else is still found."""

import io
import random
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mnemic.store import Store
from mnemic.store.rows import digest
from mnemic.types import Filter, Part, Record

SECRET = "Xylophagous zebrawood quincunx"
STEMS = (b"xylophag", b"zebrawood", b"quincunx")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "life.mnemic") as store:
        yield store


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=16).astype(np.float32)


def traces(record: Record) -> list[bytes]:
    """Everything by which a purged record could be known again."""
    return [
        SECRET.encode(), SECRET[:12].encode(), *STEMS, b"secret-source", b"secret-session", b"why-secret",
        b"secret-kind", b"secret-meta", digest(record), vector(7).astype("<f2").tobytes(),
        vector(7).tobytes(), struct.pack(">d", 4.25),
    ]  # fmt: skip


def files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def filled(store: Store) -> tuple[Record, list[int]]:
    """A secret that was changed, linked, used, forgotten and brought back among 300 others."""
    told = Record(
        text=SECRET, source="secret-source", session="secret-session", meta={"k": "secret-meta"}, order=3
    )
    (secret,) = store.put([told], [[Part(0, 9, vector(7))]])
    others = store.put(
        [Record(text=f"ordinary whale number {i}", order=i) for i in range(300)],
        [[Part(0, 9, vector(i + 100))] for i in range(300)],
    )
    store.link(secret.id, others[0].id, "secret-kind", 4.25)
    store.forget([secret.id, others[5].id], reason="why-secret")
    store.undo()
    store.touch([secret.id], 1.0)
    new = store.supersede(secret.id, SECRET + " again", parts=[Part(0, 9, vector(7))])
    return told, [secret.id, new.id]


def test_no_byte_of_any_file_holds_what_was_purged(store: Store, tmp_path: Path) -> None:
    told, ids = filled(store)
    before = files(tmp_path)
    assert all(trace in before for trace in traces(told) if trace not in (STEMS[0], vector(7).tobytes()))
    purged = store.purge(ids)
    assert (purged.done, purged.ids, store.pending()) == (True, tuple(ids), ())
    store.backup(tmp_path / "copy.mnemic")
    exported = io.StringIO()
    store.export(exported)
    (tmp_path / "export.jsonl").write_text(exported.getvalue(), encoding="utf-8")
    for moment in ("open", "closed"):
        left = files(tmp_path)
        for trace in traces(told):
            assert trace not in left, (moment, trace)
        store.close()
    with Store.open(store.path) as again:
        assert len(list(again.scan())) == 300
        assert len(again.words(["whale"], Filter(), 999)[0]) == 300
        assert len(again.parts()[0]) == 300
        assert again.history(ids[0])[-1].op == "purge"
        assert again.doctor().healthy


def test_what_moving_rows_left_in_other_pages_is_gone_too(tmp_path: Path) -> None:
    rng = random.Random(29)  # with this history, zeroing what is deleted alone leaves two copies behind
    with Store.open(tmp_path / "m", durability="normal") as store:
        told = [
            Record(text=("zebrawood " if i % 7 == 0 else "plain ") * rng.randint(1, 69), order=i)
            for i in range(400)
        ]
        records = store.put(told)
        for record in records:
            if "plain" in record.text and rng.random() < 0.5:
                store.supersede(record.id, "now " + record.text)
        store.purge([r.id for r in records if "zebra" in r.text])
        assert b"zebrawood" not in files(tmp_path)


def test_a_reader_makes_it_pending_until_it_leaves(store: Store, tmp_path: Path) -> None:
    told, ids = filled(store)
    reader = sqlite3.connect(store.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchone()
    purged = store.purge(ids, patience=0.1)
    assert not purged.done
    assert purged.ids == store.pending() == tuple(ids)
    assert "purge pending" in purged.detail
    assert not [r for r in store.scan(states=("live", "superseded", "forgotten")) if SECRET in r.text]
    copy = tmp_path / "copy" / "copy.mnemic"
    store.backup(copy)
    assert STEMS[1] not in copy.read_bytes()
    assert not store.doctor(patience=0.1).healthy
    reader.close()
    (record,) = store.put([Record(text="the next write")])
    assert store.pending() == ()
    left = files(tmp_path / "copy") + b"".join(f.read_bytes() for f in tmp_path.iterdir() if f.is_file())
    assert not [trace for trace in traces(told) if trace in left]
    assert record in list(store.scan())


def test_a_purge_cut_short_is_finished_when_the_file_is_opened(store: Store, tmp_path: Path) -> None:
    told, ids = filled(store)
    reader = sqlite3.connect(store.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchone()
    store.purge(ids, patience=0.1)
    store.close()
    reader.close()
    with Store.open(store.path) as again:
        assert again.pending() == ()
        assert not [trace for trace in traces(told) if trace in files(tmp_path)]


def test_ids_survive_and_are_not_given_twice(store: Store) -> None:
    first = [r.id for r in store.put([Record(text=t, order=i) for i, t in enumerate("abc")])]
    store.purge([first[1], first[2]])
    (new,) = store.put([Record(text="d")])
    assert new.id > max(first)
    assert [r.text for r in store.scan()] == ["a", "d"]


def test_a_version_that_is_purged_is_named_by_no_other(store: Store) -> None:
    (a,) = store.put([Record(text="one")])
    b = store.supersede(a.id, "two")
    c = store.supersede(b.id, "three")
    store.purge([b.id])
    assert [(r.supersedes, r.superseded_by) for r in store.get([a.id, c.id])] == [(None, None)] * 2
    assert store.purge([b.id, 999]).detail == "nothing to purge"


def test_a_space_without_records_leaves_no_name(store: Store) -> None:
    (a,) = store.put([Record(text="one", space="tenant-zebrawood")])
    store.purge([a.id])
    assert store.spaces() == {}
    assert b"zebrawood" not in files(store.path.parent)
