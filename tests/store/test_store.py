"""What is put is found again, as it was, once; what changes leaves a trace and can be taken back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemic.store import Link, Store, UnknownRecord
from mnemic.types import Filter, MnemicError, Part, Record, When

FULL = Record(
    text="Ishmael went to sea.\0 \u6d77 \U0001f40b", space="ahab", kind="turn", source="diary", author="me",
    session="1851", title="Loomings", place=("Book", "Chapter 1"), order=7, start=10, end=30,
    when=When.parse("about 1851-10"), meta={"importance": 0.5, "tags": ["sea", None]},
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "life.mnemic") as store:
        yield store


def part(*numbers: float) -> list[Part]:
    return [Part(0, 3, np.array(numbers, np.float32))]


def test_a_record_comes_back_as_it_was_given(store: Store) -> None:
    (stored,) = store.put([FULL])
    assert stored == replace(FULL, id=stored.id, written=stored.written)
    with Store.open(store.path) as other:
        assert other.get([stored.id]) == [stored]


def test_an_exact_repeat_is_the_record_already_there(store: Store) -> None:
    first = store.put([FULL, replace(FULL, text="other")])
    again = store.put([replace(FULL, text="other"), FULL, FULL])
    assert again == [first[1], first[0], first[0]]
    assert len(list(store.scan())) == 2
    assert len(store.log()) == 1
    new = store.put([replace(FULL, text="new")] * 2, [part(1, 0)] * 2)
    assert new[0] == new[1]
    assert len(list(store.scan())) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"space": "s"}, {"source": "s"}, {"session": "s"}, {"order": 1}, {"author": "s"}, {"text": "s"},
        {"when": When.parse("1851-11")},
    ],
)  # fmt: skip
def test_what_differs_in_who_when_where_or_words_is_another_record(
    store: Store, changed: dict[str, Any]
) -> None:
    first, second = store.put([FULL, replace(FULL, **changed)])
    assert first.id != second.id


def test_a_repeat_brings_the_vectors_that_were_missing_and_replaces_none(store: Store) -> None:
    (stored,) = store.put([FULL])
    assert store.without_parts() == [stored.id]
    store.put([FULL], [part(1, 0)])
    store.put([FULL], [part(0, 1)])
    assert store.parts_of([stored.id])[3].tolist() == [[1, 0]]


def test_order_is_filled_where_a_session_came_without_any(store: Store) -> None:
    for text in ("a", "b"):
        store.put([Record(text=text, session="s"), Record(text=text, session="t")])
    store.put([Record(text="c", session="s"), Record(text="d", session="s")])
    given = store.put([Record(text="x", session="u", order=0), Record(text="y", session="u", order=5)])
    assert [r.order for r in store.scan() if r.session == "s"] == [0, 1, 2, 3]
    assert [r.order for r in given] == [0, 5]


def test_an_unknown_id_is_named(store: Store) -> None:
    with pytest.raises(UnknownRecord, match="no record 41"):
        store.get([41])
    with pytest.raises(LookupError):
        store.forget([41])


def test_scan_reads_in_order_by_pages_and_by_filter(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemic.store.store.PAGE", 3)
    many = [Record(text=str(i), space="ab"[i % 2], session=str(i // 5)) for i in range(20)]
    ids = [r.id for r in store.put(many)]
    assert [r.id for r in store.scan()] == ids
    assert [r.id for r in store.scan(after=ids[3], limit=7)] == ids[4:11]
    assert [r.text for r in store.scan(Filter(space="b", session="1"))] == ["5", "7", "9"]
    store.forget(ids[:2])
    assert [r.id for r in store.scan(states=("forgotten",))] == ids[:2]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"before": When.parse("2024-02").start}, "a"),
        ({"after": When.parse("2024-02").start}, "b"),
        ({"during": When.parse("2024-01-31")}, "a"),
        ({"during": When.parse("2024")}, "ab"),
        ({"author": "me"}, "b"),
        ({"kind": "turn"}, "b"),
        ({"source": "s"}, "c"),
        ({}, "abc"),
    ],
)
def test_filters_compare_the_whole_stretch_of_time(store: Store, where: dict[str, Any], found: str) -> None:
    store.put(
        [
            Record(text="a", when=When.parse("2024-01")),
            Record(text="b", when=When.parse("2024-02-01"), author="me", kind="turn"),
            Record(text="c", source="s"),
        ]
    )
    assert "".join(r.text for r in store.scan(Filter(**where))) == found


def test_columns_and_parts_say_what_the_live_records_say(store: Store) -> None:
    records = [replace(FULL, text=str(i), when=FULL.when if i % 2 else None) for i in range(6)]
    vectors = np.random.default_rng(0).normal(size=(6, 2, 4)).astype(np.float16).astype(np.float32)
    given = [[Part(0, 1, v[0]), Part(1, 5, v[1])] for v in vectors]
    ids = [r.id for r in store.put(records, given)]
    store.forget(ids[:1])
    columns = store.columns()
    for at, record in enumerate(store.scan()):
        for name in ("id", "space", "source", "session", "author", "kind", "order", "written"):
            assert columns[name][at] == getattr(record, name)
        start = np.nan if record.when is None else record.when.start
        np.testing.assert_equal(columns["when_start"][at], start)
    assert store.columns(after=ids[3])["id"].tolist() == ids[4:]
    assert store.columns(ids=[ids[0], ids[2]])["id"].tolist() == [ids[2]]
    of, starts, ends, stored = store.parts()
    assert of.tolist() == list(np.repeat(ids[1:], 2))
    assert (starts.tolist(), ends.tolist()) == ([0, 1] * 5, [1, 5] * 5)
    np.testing.assert_array_equal(stored, vectors[1:].reshape(-1, 4))
    assert stored.dtype == np.float32


def test_a_vector_of_another_length_is_refused_and_nothing_is_stored(store: Store) -> None:
    store.put([FULL], [part(1, 0)])
    with pytest.raises(ValueError, match=r"shape \(3,\) among vectors of 2"):
        store.put([replace(FULL, text="new")], [part(1, 0, 0)])
    assert len(list(store.scan())) == 1
    store.drop_parts()
    store.put([FULL], [part(1, 0, 0)])


def test_half_a_character_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(ValueError, match="half a character"):
        store.put([FULL, replace(FULL, text="\ud800")])
    assert not list(store.scan())


def test_supersede_closes_the_old_one_and_inherits(store: Store) -> None:
    (old,) = store.put([replace(FULL, text="lives in Nantucket")])
    moved = When.parse("1852")
    new = store.supersede(old.id, "lives in New Bedford", when=moved)
    (closed,) = store.get([old.id])
    assert (closed.state, closed.superseded_by, closed.valid_to) == ("superseded", new.id, moved.start)
    assert new == replace(
        old, id=new.id, text=new.text, when=moved, start=0, end=0, written=new.written, supersedes=old.id
    )
    assert store.get([new.id]) == [new]
    assert [r.id for r in store.scan()] == [new.id]
    with pytest.raises(MnemicError, match=f"superseded; record {new.id} took its place"):
        store.supersede(old.id, "again")


def test_what_is_said_again_comes_back_unless_it_was_superseded(store: Store) -> None:
    event, bare = store.put([FULL, Record(text="Paris")])
    store.forget([event.id, bare.id])
    assert [r.state for r in store.put([FULL, Record(text="Paris")])] == ["live", "live"]
    store.supersede(event.id, "corrected")
    store.supersede(bare.id, "Rome")
    assert store.put([FULL])[0].state == "superseded"
    assert store.put([Record(text="Paris")])[0].id not in (event.id, bare.id)


def test_changes_tell_another_process_what_came_and_went(store: Store) -> None:
    with Store.open(store.path) as other:
        a, b, c = (r.id for r in other.put([Record(text=t, order=i) for i, t in enumerate("abc")]))
        seq, live, gone = store.changes(0)
        assert (live.tolist(), gone.tolist()) == ([a, b, c], [])
        other.forget([a])
        d = other.supersede(b, "B").id
        for _ in range(2):
            other.put_parts([c], [part(1, 0)])
        newest, live, gone = store.changes(seq)
        assert (live.tolist(), gone.tolist()) == ([c, d], [a, b])
        assert [x.size for x in store.changes(newest)[1:]] == [0, 0]
        other.undo()
        assert store.changes(newest)[1].tolist() == [b]


def test_of_two_versions_with_the_same_words_a_repeat_is_the_live_one(store: Store) -> None:
    (old,) = store.put([FULL])
    new = store.supersede(old.id, FULL.text)
    assert store.put([FULL]) == [new]
    store.supersede(new.id, "otherwise")
    assert store.put([FULL])[0].state == "superseded"


def test_a_repeat_of_a_superseded_version_leaves_a_forgotten_one_with_its_words_forgotten(store: Store) -> None:
    (old,) = store.put([FULL])
    new = store.supersede(old.id, FULL.text)
    store.supersede(new.id, "otherwise")
    store.forget([new.id])
    assert store.put([FULL])[0].id == old.id
    assert [r.id for r in store.scan(states=("forgotten",))] == [new.id]


def test_statistics_count_what_is_there(store: Store) -> None:
    a, b, c = store.put(
        [
            Record(text="caf\u00e9", when=When.parse("2024")),
            Record(text="sea", order=1),
            Record(text="oil", space="s"),
        ],
        [[*part(1, 0), *part(0, 1)], [], part(1, 1)],
    )
    store.supersede(b.id, "ocean")
    store.forget([c.id])
    store.link(a.id, b.id, "x")
    year = When.parse("2024")
    of_default = {
        "live": 2, "superseded": 1, "forgotten": 0, "text_bytes": 13, "vectors": 2, "vector_bytes": 8,
        "links": 1, "changes": 3, "first": year.start, "last": year.end,
    }  # fmt: skip
    assert store.stats("default") == of_default
    whole = store.stats()
    assert whole.pop("file_bytes") >= store.path.stat().st_size > 0
    assert whole == of_default | {
        "forgotten": 1, "text_bytes": 16, "vectors": 3, "vector_bytes": 12, "changes": 5, "pending": 0,
    }  # fmt: skip
    assert store.stats("nowhere")["live"] == 0
    assert store.spaces() == {"default": 2, "s": 0}


def test_a_setting_is_kept_with_the_memory_until_it_is_removed(store: Store) -> None:
    store.set_meta("fingerprint", "a")
    store.set_meta("fingerprint", "b")
    with Store.open(store.path) as other:
        assert other.get_meta("fingerprint") == "b"
        other.set_meta("fingerprint", None)
    assert store.get_meta("fingerprint") is None


def test_links_show_what_is_live_on_both_sides(store: Store) -> None:
    a, b, c = (r.id for r in store.put([Record(text=t, order=i) for i, t in enumerate("abc")]))
    store.link(a, b, "follows")
    store.link(c, a, "cites", 0.5)
    store.link(c, a, "cites", 0.25)
    assert store.links([a]) == [Link(a, b, "follows", 1.0), Link(c, a, "cites", 0.25)]
    assert store.links([b]) == [Link(a, b, "follows", 1.0)]
    store.forget([c])
    assert store.links([a, c]) == [Link(a, b, "follows", 1.0)]
    with pytest.raises(ValueError, match="itself"):
        store.link(a, a, "x")
    with pytest.raises(UnknownRecord, match="no record 99"):
        store.link(a, 99, "x")
    (elsewhere,) = store.put([Record(text="a", space="other")])
    with pytest.raises(MnemicError, match="different spaces"):
        store.link(a, elsewhere.id, "x")
