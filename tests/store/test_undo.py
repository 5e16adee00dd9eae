"""Every change can be taken back, one after the other, until the memory is what it was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnemic.store import Store
from mnemic.types import Filter, Record

Verb = Callable[[Store, list[int]], object]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "m") as store:
        yield store
        report = store.doctor()
        assert report.healthy
        assert not report.mended


def seen(store: Store) -> dict[str, Any]:
    """All that a reader can find."""
    live = list(store.scan())
    return {
        "live": live,
        "words": [x.tolist() for x in store.words(["whale", "ship", "new"], Filter(), 99)],
        "links": store.links([r.id for r in live]),
    }


@pytest.mark.parametrize(
    "verb",
    [
        lambda store, ids: store.put([Record(text="a new whale")]),
        lambda store, ids: store.put([Record(text="whale 4"), Record(text="a new ship")]),
        lambda store, ids: store.supersede(ids[0], "a new whale"),
        lambda store, ids: store.forget(ids[:2], reason="spring cleaning"),
        lambda store, ids: store.link(ids[0], ids[2], "follows", 0.5),
        lambda store, ids: store.link(ids[0], ids[1], "follows", 0.25),
    ],
    ids=["put", "put again", "supersede", "forget", "link", "link again"],
)
def test_undo_gives_back_what_was(store: Store, verb: Verb) -> None:
    ids = [r.id for r in store.put([Record(text=f"whale {i}") for i in range(5)])]
    store.forget(ids[4:])
    store.link(ids[0], ids[1], "follows")
    before = seen(store)
    verb(store, ids)
    after = seen(store)
    assert after != before
    assert store.undo().startswith("undone: ")
    assert seen(store) == before


def test_undo_goes_back_step_by_step_to_nothing(store: Store) -> None:
    (a,) = store.put([Record(text="whale one")])
    b = store.supersede(a.id, "whale two")
    store.supersede(b.id, "whale three")
    store.forget([a.id])
    states = []
    for _ in range(4):
        states.append([r.id for r in store.scan()])
        store.undo()
    assert states == [[3], [3], [2], [1]]
    assert not list(store.scan())
    assert store.undo() == "nothing to undo"
    assert [change.op for change in store.log()] == ["put", "supersede", "supersede", "forget"] + ["undo"] * 4


def test_a_purged_record_is_not_brought_back(store: Store) -> None:
    a, b = store.put([Record(text="whale one", order=1), Record(text="ship", order=2)])
    store.forget([a.id, b.id])
    store.purge([a.id])
    store.undo()
    assert [r.id for r in store.scan()] == [b.id]
    store.purge([b.id])
    assert store.undo() == "nothing to undo"


def test_undo_in_one_space_leaves_the_others_alone(store: Store) -> None:
    mine, other = store.put([Record(text="whale", space="mine"), Record(text="ship", space="other")])
    store.forget([mine.id])
    store.forget([other.id])
    store.undo("mine")
    assert [r.id for r in store.scan()] == [mine.id]
    assert store.undo("nowhere") == "nothing to undo"


def test_history_tells_what_happened_to_a_record_and_to_no_other(store: Store) -> None:
    a, b = store.put([Record(text="whale", space="mine"), Record(text="ship", space="other")])
    new = store.supersede(a.id, "a new whale")
    store.forget([new.id], reason="wrong")
    store.undo()
    assert [(c.op, c.ids, dict(c.detail), c.undone) for c in store.history(new.id)] == [
        ("supersede", (a.id, new.id), {}, False),
        ("forget", (new.id,), {"reason": "wrong"}, True),
        ("undo", (new.id,), {"of": 4}, False),
    ]
    assert [c.ids for c in store.history(b.id)] == [(b.id,)]
    assert [c.ids for c in store.log(space="other")] == [(b.id,)]
