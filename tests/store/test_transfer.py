"""Out and in again without loss, or not at all."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from mnemic.store import Store
from mnemic.types import Filter, MnemicError, Part, Record, When


def fill(store: Store) -> None:
    """A little of everything, in two spaces."""
    store.set_meta("fingerprint", "eight numbers")
    for space in ("mine", "other"):
        records = [
            Record(
                text=f"{space} whale {i}\n\u6d77",
                space=space,
                session="s",
                order=i,
                place=("a", "b"),
                author="me",
                when=When.parse("about 1851-10-18T04:05+02:00"),
                meta={"importance": 0.25, "x": [i]},
            )
            for i in range(6)
        ]
        ids = [
            r.id
            for r in store.put(
                records,
                [[Part(0, 4, np.full(8, i, np.float32)), Part(4, 9, np.ones(8, np.float32))] for i in range(6)],
            )
        ]
        store.supersede(ids[0], f"{space} new whale", when=When.parse("1852"))
        store.forget(ids[1:2], reason="too old")
        store.link(ids[2], ids[3], "follows", 0.5)
        store.touch(ids[2:4], 99.0)
        store.purge(ids[5:])


def everything(store: Store) -> str:
    out = io.StringIO()
    store.export(out)
    return out.getvalue()


@pytest.fixture
def exported(tmp_path: Path) -> str:
    with Store.open(tmp_path / "from") as store:
        fill(store)
        return everything(store)


def test_an_empty_memory_becomes_exactly_what_was_exported(tmp_path: Path, exported: str) -> None:
    with Store.open(tmp_path / "from") as old, Store.open(tmp_path / "to") as new:
        assert new.import_(io.StringIO(exported)) == 12
        assert everything(new) == exported
        states = ("live", "superseded", "forgotten")
        assert list(new.scan(states=states)) == list(old.scan(states=states))
        assert new.log() == old.log()
        assert [x.tolist() for x in new.parts()] == [x.tolist() for x in old.parts()]
        where = Filter(space="other")
        assert [x.tolist() for x in new.words(["whale"], where, 9)] == [
            x.tolist() for x in old.words(["whale"], where, 9)
        ]
        assert new.get_meta("fingerprint") == "eight numbers"
        (a,), (b,) = (store.put([Record(text="next")]) for store in (old, new))
        assert a.id == b.id
        assert new.undo()[:12] == old.undo()[:12]
        assert new.undo().split("UTC")[1] == old.undo().split("UTC")[1]
        report = new.doctor()
        assert (report.found, report.mended) == ((), ())


def test_one_space_comes_out_without_a_trace_of_the_others(tmp_path: Path, exported: str) -> None:
    with Store.open(tmp_path / "from") as old, Store.open(tmp_path / "to") as new:
        out = io.StringIO()
        old.export(out, space="mine")
        assert "other" not in out.getvalue()
        new.import_(io.StringIO(out.getvalue()))
        assert new.spaces() == {"mine": 4}
        assert new.doctor().healthy


def test_import_into_a_memory_in_use_adds_what_is_new_and_can_be_undone(tmp_path: Path, exported: str) -> None:
    with Store.open(tmp_path / "to") as new:
        (there,) = new.put([Record(text="was here before", space="mine")])
        assert new.import_(io.StringIO(exported)) == 12
        assert new.import_(io.StringIO(exported)) == 0
        assert new.spaces() == {"mine": 5, "other": 4}
        (changed,) = [r for r in new.scan() if r.supersedes and r.space == "mine"]
        assert new.get([changed.supersedes or 0])[0].text == "mine whale 0\n\u6d77"
        linked = new.links([r.id for r in new.scan(Filter(space="mine"))])
        assert [(link.kind, link.weight) for link in linked] == [("follows", 0.5)]
        assert new.get_meta("fingerprint") == "eight numbers"
        report = new.doctor()
        assert (report.found, report.mended) == ((), ())
        new.undo()
        new.undo()
        assert list(new.scan()) == [there]


def test_vectors_of_another_embedder_are_not_mixed_in(tmp_path: Path, exported: str) -> None:
    with Store.open(tmp_path / "to") as new:
        new.put([Record(text="here")], [[Part(0, 1, np.ones(8, np.float32))]])
        new.set_meta("fingerprint", "eight other numbers")
        before = everything(new)
        with pytest.raises(MnemicError, match="cannot be compared"):
            new.import_(io.StringIO(exported))
        assert everything(new) == before


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda lines: lines[:-1], "ends before its last line"),
        (lambda lines: lines[:5], "ends before its last line"),
        (lambda lines: [], "ends before its last line"),
        (lambda lines: lines[1:], "header is missing"),
        (lambda lines: [*lines[:3], *lines[4:]], "is not of an export"),
        (lambda lines: [*lines[:6], *lines[7:]], "sums differ"),
        (lambda lines: [*lines[:3], lines[3].replace("whale", "snail"), *lines[4:]], "sums differ"),
        (lambda lines: [*lines[:3], "{}\n", *lines[3:]], "line 4 is not of an export"),
        (lambda lines: [*lines[:3], '"\x00"\n', *lines[3:]], "line 4 is not of an export"),
        (lambda lines: [*lines, lines[3]], "something follows"),
        (lambda lines: [lines[0].replace('"format": 1', '"format": 9'), *lines[1:]], "newer mnemic"),
    ],
)
def test_a_spoilt_export_changes_nothing(tmp_path: Path, exported: str, spoil: object, match: str) -> None:
    with Store.open(tmp_path / "to") as new:
        new.put([Record(text="here")])
        before = everything(new)
        with pytest.raises(MnemicError, match=match):
            new.import_(spoil(exported.splitlines(keepends=True)))  # type: ignore[operator]
        assert everything(new) == before


def test_every_line_of_an_export_is_json_and_the_last_counts_them(exported: str) -> None:
    lines = [json.loads(line) for line in exported.splitlines()]
    kinds = [next(iter(line)) for line in lines]
    assert lines[-1]["manifest"]["counts"] == {k: kinds.count(k) for k in ("record", "link", "change")}


def test_a_backup_is_a_memory_and_never_overwrites(tmp_path: Path, exported: str) -> None:
    with Store.open(tmp_path / "from") as store:
        store.backup(tmp_path / "copies" / "monday")
        with pytest.raises(MnemicError, match="exists already"):
            store.backup(tmp_path / "copies" / "monday")
    assert [file.name for file in (tmp_path / "copies").iterdir()] == ["monday"]
    with Store.open(tmp_path / "copies" / "monday") as copy:
        assert everything(copy) == exported
