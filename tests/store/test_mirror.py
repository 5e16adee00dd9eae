"""A mirror answers as the file would, after any change by anyone, and keeps spaces apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mnemic.index.words import WordIndex, terms
from mnemic.store import Store, mirror
from mnemic.store.mirror import Mirror
from mnemic.types import Filter, Part, Record, When

DIM = 3
SPACES = ("default", "other")


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32) / np.float32(np.linalg.norm(values))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "m.mnemic", durability="normal") as store:
        yield store


class Churn(RuleBasedStateMachine):
    """Three mirrors of one file against the file: asked after every step, now and then, and new each time."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.kept_from, mirror.KEPT = mirror.KEPT, 2
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "m.mnemic"
        self.store = Store.open(path, durability="normal")
        self.other = Store.open(path, durability="normal")
        self.near, self.far = Mirror(self.store), Mirror(self.other)

    def teardown(self) -> None:
        self.store.close()
        self.other.close()
        self.folder.cleanup()
        mirror.KEPT = self.kept_from

    @rule(
        space=st.sampled_from(SPACES),
        session=st.sampled_from([None, "s", "t"]),
        texts=st.lists(st.text("ab c", max_size=8), min_size=1, max_size=4),
        order=st.integers(0, 3),
        when=st.sampled_from([None, "2020", "2021-05-06"]),
        vectors=st.lists(st.integers(0, 5), max_size=3),
    )
    def put(self, space, session, texts, order, when, vectors) -> None:
        records = [
            Record(text=text, space=space, session=session, author=text[:1], order=order + n,
                   when=When.parse(when) if when else None)
            for n, text in enumerate(texts)
        ]  # fmt: skip
        parts = [
            [Part(n, n + 1, vector(v + 1, n + 1, len(r.text) + 1)) for n, v in enumerate(vectors)]
            for r in records
        ]
        self.store.put(records, parts)

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from([record.id for record in self.store.scan()]))

    @precondition(lambda self: any(True for _ in self.store.scan()))
    @rule(data=st.data(), what=st.sampled_from(["forget", "purge", "supersede", "parts"]))
    def change(self, data, what) -> None:
        id = self.some(data)
        if what == "forget":
            self.store.forget([id])
        elif what == "purge":
            self.store.purge([id])
        elif what == "parts":
            self.store.put_parts([id], [[Part(0, 1, vector(id, 1, 2)), Part(1, 2, vector(1, id, 2))]])
        else:
            self.store.supersede(id, "b a " + "c" * (id % 4))

    @rule()
    def drop_vectors(self) -> None:
        self.store.drop_parts()

    @rule()
    def undo(self) -> None:
        self.store.undo()

    @rule()
    def look_from_afar(self) -> None:
        self.agrees(self.far, self.other)

    @rule()
    def look_anew(self) -> None:
        self.agrees(Mirror(self.other), self.other)

    @invariant()
    def the_near_mirror_agrees(self) -> None:
        self.agrees(self.near, self.store)

    @staticmethod
    def agrees(mirror: Mirror, store: Store) -> None:
        mirror.refresh()
        records = list(store.scan())
        assert mirror.ids.tolist() == [record.id for record in records]
        for name in ("space", "source", "session", "author", "kind"):
            assert [mirror.names[code] for code in getattr(mirror, name)] == [getattr(r, name) for r in records]
        assert mirror.order.tolist() == [record.order for record in records]
        for row, record in enumerate(records):
            place = (record.space, record.source, record.session)
            later = [
                (other.order, n) for n, other in enumerate(records)
                if (other.space, other.source, other.session) == place
                and (other.order, n) > (record.order, row)
            ]  # fmt: skip
            assert mirror.next[row] == (min(later)[1] if later else -1)
            if later:
                assert mirror.previous[mirror.next[row]] == row
        assert (mirror.previous >= 0).sum() == (mirror.next >= 0).sum()
        query = vector(1, 2, 0.5)
        of, starts, ends, vectors = store.parts()
        scores, parts = mirror.vectors(query)
        spans = mirror.spans(np.arange(len(records)), parts)
        for row, record in enumerate(records):
            own = of == record.id
            if not own.any():
                assert (scores[row], parts[row], spans[row]) == (-1, -1, (0, 0))
                continue
            near = vectors[own] @ query
            assert scores[row] == pytest.approx(near.max(), abs=1e-5)
            assert near[parts[row]] == pytest.approx(near.max(), abs=1e-5)
            assert spans[row] == (starts[own][parts[row]], ends[own][parts[row]])
        for space in SPACES:
            inside = mirror.mask(Filter(space=space))
            assert inside.tolist() == [record.space == space for record in records]
            scores = mirror.words(terms("a c"), space)
            ids, found = store.words(terms("a c"), Filter(space=space), len(records))
            assert set(np.flatnonzero(scores)) == set(mirror.rows(ids))
            assert inside[scores > 0].all()
            np.testing.assert_allclose(scores[mirror.rows(ids)], found, rtol=1e-4)


TestChurn = Churn.TestCase
TestChurn.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def test_a_filter_lets_through_what_the_file_would(store: Store) -> None:
    store.put(
        [
            Record(text=f"{n}", source="book" if n % 2 else None, author="me" if n % 3 else "you",
                   session=f"s{n % 4}", kind="turn" if n % 5 else "text", order=n,
                   when=When.parse(f"20{n:02d}-03") if n % 7 else None)
            for n in range(40)
        ]
    )  # fmt: skip
    copy = Mirror(store)
    copy.refresh()
    moment = When.parse("2017-03-20").start
    for where in (
        Filter(source="book"),
        Filter(author="you", kind="text"),
        Filter(session="s3", before=moment),
        Filter(after=moment),
        Filter(before=When.parse("2017-04").start),
        Filter(during=When.parse("2017-03-10")),
        Filter(during=When.parse("2016")),
        Filter(author="nobody"),
        Filter(space="elsewhere"),
    ):
        assert copy.ids[copy.mask(where)].tolist() == [record.id for record in store.scan(where)], where


def test_the_file_and_the_index_give_the_same_words(store: Store) -> None:
    store.put([Record(text=f"common rare{n % 9} {'x ' * n}", order=n) for n in range(60)])
    copy = Mirror(store)
    copy.refresh()
    answers = []
    for _ in range(mirror.PATIENCE + 2):
        copy.refresh()
        answers.append(copy.words(terms("common rare4 x"), "default"))
    assert len(copy._words[int(copy.space[0])]) == 60
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-5)


def test_a_kept_word_index_answers_like_a_new_one_and_is_gone_with_a_purge(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "FEW", 0)
    monkeypatch.setattr(mirror, "KEPT", 5)
    store.put([Record(text=f"harbour quixotry{n} {'sand ' * (n % 3)}", order=n) for n in range(20)])
    first = Mirror(store)
    first.refresh()
    expected = first.words(terms("harbour sand quixotry7"), "default")
    held = store.kept("words:default")
    assert held is not None
    assert b"quixotry7" in held

    with monkeypatch.context() as strict:
        strict.setattr(WordIndex, "add", lambda *_: pytest.fail("built again"))
        second = Mirror(store)
        second.refresh()
        np.testing.assert_array_equal(second.words(terms("harbour sand quixotry7"), "default"), expected)

    store.forget([2])
    store.put([Record(text="sand quixotry7", order=99)])
    for late in (Mirror(store), second):
        late.refresh()
        ids, found = store.words(terms("sand quixotry7"), Filter(), 99)
        scores = late.words(terms("sand quixotry7"), "default")
        assert set(late.ids[scores > 0]) == set(ids)
        np.testing.assert_allclose(scores[late.rows(ids)], found, rtol=1e-4)

    assert any(b"quixotry5" in file.read_bytes() for file in store.path.parent.iterdir())
    store.purge([6])
    assert store.kept("words:default") is None
    assert not store.keep("words:default", held, seq=first._seq)
    assert not any(b"quixotry5" in file.read_bytes() for file in store.path.parent.iterdir())


def test_kept_rows_are_not_read_again_and_nothing_of_a_purged_record_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "KEPT", 5)
    store.put([Record(text="sand", session=f"quixotry{n}", order=n) for n in range(20)])
    first = Mirror(store)
    first.refresh()
    assert b"quixotry5" in (store.kept("rows") or b"")
    store.put([Record(text="late", session="quixotry0", order=1)])
    second = Mirror(store)
    with monkeypatch.context() as strict:
        read = []
        columns = Store.columns
        strict.setattr(Store, "columns", lambda self, ids: read.extend(ids.tolist()) or columns(self, ids=ids))
        second.refresh()
    assert read == [21]
    assert second.next[0] == 20

    store.purge([6])
    assert store.kept("rows") is None
    first._rows_kept = 0
    first.refresh()
    held = store.kept("rows")
    assert held is not None
    assert b"quixotry5" not in held
    assert b"quixotry6" in held
    assert not any(b"quixotry5" in file.read_bytes() for file in store.path.parent.iterdir())


def test_vectors_of_another_embedder_take_the_place_of_the_old_ones(store: Store) -> None:
    records = store.put([Record(text=f"{n}", order=n) for n in range(5)], [[Part(0, 1, vector(1, 0))]] * 5)
    near, late = Mirror(store), Mirror(store)
    for copy in (near, late):
        copy.refresh()
        assert copy.vectors(vector(1, 0))[0].tolist() == [1] * 5
    store.drop_parts()
    near.refresh()
    assert near.vectors(vector(1, 0, 0))[0].tolist() == [-1] * 5
    store.put_parts([records[3].id], [[Part(0, 1, vector(0, 1, 0))]])
    for copy in (near, late):
        copy.refresh()
        assert copy.vectors(vector(0, 1, 0))[0].tolist() == [-1, -1, -1, 1, -1]


def test_a_mirror_holds_no_text(store: Store) -> None:
    store.put([Record(text="zanzibarish words that nobody else has", title="quokkas")])
    copy = Mirror(store)
    copy.refresh()
    for _ in range(mirror.PATIENCE + 2):
        copy.refresh()
        copy.words(["zanzibarish"], "default")
    held = repr([vars(copy), [vars(index) for index in copy._words.values()]])
    assert "zanzibarish words" not in held
    assert "quokkas" not in held


def test_nothing_is_read_when_nothing_was_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put([Record(text="one")])
    copy = Mirror(store)
    copy.refresh()
    before = copy.ids
    monkeypatch.setattr(Store, "columns", lambda *_, **__: pytest.fail("read again"))
    copy.refresh()
    assert copy.ids is before
    assert copy.rows([1, 99]).tolist() == [0, -1]


def test_a_mirror_asked_while_the_memory_was_empty_finds_what_another_process_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "KEPT", 2)
    path = tmp_path / "m.mnemic"
    with Store.open(path, durability="normal") as store, Store.open(path, durability="normal") as other:
        near, far = Mirror(store), Mirror(other)
        far.refresh()
        far.vectors(vector(1, 2))
        far.words(["sea"], "default")
        store.put([Record(text="the sea", order=n) for n in range(3)], [[Part(0, 1, vector(1, 2))]] * 3)
        near.refresh()  # keeps its rows in the file
        far.refresh()
        np.testing.assert_allclose(far.vectors(vector(1, 2))[0], 1, atol=1e-3)
        assert (far.words(["sea"], "default") > 0).all()
