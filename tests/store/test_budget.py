"""A space is brought inside its budget by giving up what the rule values least, and says so."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.retain import decay, importance, recency, use
from mnemic.store import Store
from mnemic.store.budget import dropped, enforce
from mnemic.types import Budget, Filter, Part, Record

DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "m") as store:
        yield store


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=12),
    st.none() | st.integers(0, 40),
    st.none() | st.integers(0, 8),
)
def test_no_more_is_dropped_than_must_be_and_the_least_valued_first(
    traces: list[tuple[int, int]], nbytes: int | None, records: int | None
) -> None:
    scores = np.array([score for score, _ in traces], np.float64)
    sizes = np.array([size for _, size in traces], np.int64)
    ids = np.arange(1, len(traces) + 1)
    left = sorted(zip(scores.tolist(), ids.tolist(), sizes.tolist(), strict=True))
    expected = []
    while (nbytes is not None and sum(size for *_, size in left) > nbytes) or (
        records is not None and len(left) > records
    ):
        expected.append(left.pop(0)[1])
    assert dropped(scores, ids, sizes, Budget(nbytes, records)).tolist() == expected


def test_what_is_dropped_is_named_and_comes_back_by_undo(store: Store) -> None:
    store.put([Record(text=f"whale {i}", order=i, written=float(i)) for i in range(1, 11)])
    (other,) = store.put([Record(text="whale", space="other", written=1.0)])
    gone = enforce(store, Budget(records=4), recency.keep, "default", 100.0)
    assert [r.order for r in gone] == [1, 2, 3, 4, 5, 6]
    assert [r.order for r in store.scan(Filter())] == [7, 8, 9, 10]
    assert store.history(gone[0].id)[-1].detail == {"reason": "over budget"}
    assert store.get([other.id])[0].state == "live"
    assert enforce(store, Budget(records=4), recency.keep, "default", 100.0) == []
    store.undo()
    assert len(list(store.scan(Filter()))) == 10


def test_traces_say_what_is_known_of_each_record(store: Store) -> None:
    vector = np.ones(8, np.float32)
    a, b = store.put(
        [
            Record(text="caf\u00e9", written=5.0, meta={"importance": 2}),
            Record(text="sea", written=6.0, order=1),
        ],
        [[Part(0, 2, vector), Part(2, 4, vector)], []],
    )
    store.touch([a.id, b.id], 50.0)
    store.touch([a.id], 40.0)
    for _ in range(2):  # before and after the counts reach the file
        ids, traces = store.trace_stats("default")
        assert ids.tolist() == [a.id, b.id]
        assert traces.written.tolist() == [5, 6]
        assert traces.used.tolist() == [50, 50]
        assert traces.uses.tolist() == [2, 1]
        assert traces.importance.tolist() == [1, 0.5]
        assert traces.nbytes.tolist() == [5 + 2 * 8 + 2 * 2 * 8, 3]
        store.set_meta("anything", "written")
    store.forget([b.id])
    assert store.trace_stats("default")[0].tolist() == [a.id]
    assert len(store.trace_stats("nowhere")[0]) == 0


def test_use_counts_survive_closing(store: Store) -> None:
    (a,) = store.put([Record(text="sea")])
    store.touch([a.id, 999], 7e9)
    store.close()
    with Store.open(store.path) as again:
        assert again.trace_stats("default")[1].uses.tolist() == [1]


def test_use_counts_that_cannot_be_written_are_not_worth_an_error(store: Store) -> None:
    (a,) = store.put([Record(text="sea")])
    store._connection().execute("PRAGMA query_only = ON")
    store.touch([a.id], 1.0)
    store.close()


@pytest.mark.parametrize("rule", [recency.keep, use.keep, importance.keep, decay.keep])
def test_no_rule_minds_an_empty_space(store: Store, rule: object) -> None:
    assert enforce(store, Budget(0, 0), rule, "nowhere", 0.0) == []  # type: ignore[arg-type]
