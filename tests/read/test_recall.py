from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.index.words import terms
from mnemic.read import recall as reading
from mnemic.read.recall import recall, strictly_falling
from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Filter, Floats, Part, Record, When, moment, seconds


class Bag:
    """A tiny embedder: words thrown into 64 bins, so that texts that share words are near."""

    name, dim, fingerprint = "bag", 64, "bag-64"

    def encode(self, texts: Sequence[str]) -> Floats:
        vectors = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in terms(text):
                vectors[row, crc32(word.encode()) % self.dim] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        return [[Part(0, len(t), v)] for t, v in zip(texts, self.encode(texts), strict=True)]


class Memory:
    def __init__(self, path: Path) -> None:
        self.store = Store.open(path / "m.mnemic", durability="normal")
        self.mirror = Mirror(self.store)
        self.bag = Bag()

    def add(self, *records: Record) -> list[Record]:
        return self.store.put(records, self.bag.parts([record.text for record in records]))

    def recall(self, query: str, **options: object) -> object:
        return recall(self.store, self.mirror, self.bag, query, **options)  # type: ignore[arg-type]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path)
    yield memory
    memory.store.close()


THINGS = ("kettle lantern saddle harbour orchard violin ladder copper thunder meadow pepper window anchor "
          "button candle feather garden hammer island jacket").split()  # fmt: skip


def chatter(seed: int, count: int, sessions: int = 6, **fields: object) -> list[Record]:
    draw = np.random.default_rng(seed)
    return [
        Record(
            text="the " + " ".join(draw.choice(THINGS, 6)),
            session=f"s{draw.integers(sessions)}",
            kind="turn",
            order=i,
            when=When.parse(f"2024-0{1 + i % 9}-1{i % 7}"),
            **fields,  # type: ignore[arg-type]
        )
        for i in range(count)
    ]


def ids(found: object) -> list[int]:
    return [hit.record.id for hit in found]  # type: ignore[attr-defined]


# --------------------------------------------------------------------------- ranking


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), max_size=30))
def test_scores_fall_strictly_and_hardly_move(scores: list[float]) -> None:
    falling = strictly_falling(np.array(sorted(scores, reverse=True)))
    assert all(a > b for a, b in pairwise(falling))
    np.testing.assert_allclose(falling, sorted(scores, reverse=True), atol=1e-12)


def test_equal_evidence_is_ranked_by_id_with_strictly_falling_scores(memory: Memory) -> None:
    stored = memory.add(*(Record(text="a zeppelin over the bay", source=f"shelf {i}") for i in range(5)))
    memory.add(*chatter(0, 20))
    found = memory.recall("the zeppelin", k=5)
    assert ids(found) == [record.id for record in stored]
    scores = [hit.score for hit in found]  # type: ignore[attr-defined]
    assert all(a > b for a, b in pairwise(scores))


def test_the_best_k_are_the_first_k_of_all(memory: Memory) -> None:
    memory.add(*chatter(1, 60))
    every = memory.recall("the violin on the ladder", k=60)
    for k in (1, 3, 10):
        assert ids(memory.recall("the violin on the ladder", k=k)) == ids(every)[:k]


def test_one_record_alone_is_found(memory: Memory) -> None:
    (only,) = memory.add(Record(text="Ishmael went to sea."))
    assert ids(memory.recall("who went to sea?")) == [only.id]
    assert ids(recall(memory.store, memory.mirror, None, "who went to sea?")) == [only.id]


def test_nothing_in_memory_is_an_empty_recall(memory: Memory) -> None:
    assert len(memory.recall("anything?")) == 0  # type: ignore[arg-type]


def test_without_an_embedder_only_records_that_share_a_word_are_found(memory: Memory) -> None:
    memory.add(*chatter(2, 40))
    found = recall(memory.store, memory.mirror, None, "anchor or feather", k=40)
    with_word = [r.id for r in memory.store.scan() if {"anchor", "feather"} & set(r.text.split())]
    assert with_word
    assert set(with_word) <= set(ids(found))
    assert all(hit.channels.keys() <= {"words", "session"} for hit in found)


def test_what_has_no_vector_yet_is_still_found_by_its_words(memory: Memory) -> None:
    memory.add(*chatter(3, 20))
    (bare,) = memory.store.put([Record(text="a zeppelin over the bay")])
    assert ids(memory.recall("zeppelin", k=1)) == [bare.id]


# --------------------------------------------------------------------------- filters come before ranking


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_filter_gives_what_a_memory_of_only_those_records_would(tmp_path_factory, seed: int) -> None:  # type: ignore[no-untyped-def]
    draw = np.random.default_rng(seed)
    whole = Memory(tmp_path_factory.mktemp("whole"))
    alone = Memory(tmp_path_factory.mktemp("alone"))
    texts = chatter(seed, 24)
    mine = [bool(draw.integers(2)) for _ in texts]
    for record, own in zip(texts, mine, strict=True):
        whole.add(_in(record, "mine" if own else "theirs"))
        if own:
            alone.add(_in(record, "mine"))
    query = " ".join(draw.choice(THINGS, 3))
    found = whole.recall(query, where=Filter(space="mine"), k=24)
    expected = alone.recall(query, where=Filter(space="mine"), k=24)
    of_whole = {hit.record.order: hit.score for hit in found}  # type: ignore[attr-defined]
    of_alone = {hit.record.order: hit.score for hit in expected}  # type: ignore[attr-defined]
    assert of_whole == pytest.approx(of_alone, rel=1e-4)
    whole.store.close()
    alone.store.close()


def _in(record: Record, space: str) -> Record:
    return Record(
        text=record.text, session=record.session, kind="turn", order=record.order, when=record.when, space=space
    )


def test_every_hit_passes_the_filter(memory: Memory) -> None:
    memory.add(*chatter(4, 30, author="Ada"), *chatter(5, 30, author="Bo"))
    start = When.parse("2024-05").start
    found = memory.recall("garden hammer", where=Filter(author="Bo", after=start), k=60)
    assert len(found)  # type: ignore[arg-type]
    for hit in found:  # type: ignore[attr-defined]
        assert hit.record.author == "Bo"
        assert hit.record.when.start >= start


def test_the_profile_comes_along_and_is_not_searched(memory: Memory) -> None:
    (standing,) = memory.add(Record(text="always answer about the kettle in metric units", kind="profile"))
    memory.add(Record(text="their kettle", kind="profile", space="other"))
    (kettle,) = memory.add(Record(text="the kettle leaks"))
    found = memory.recall("kettle")
    assert ids(found) == [kettle.id]
    assert [record.id for record in found.profile] == [standing.id]  # type: ignore[attr-defined]
    assert ids(memory.recall("kettle", where=Filter(kind="profile"))) == [standing.id]


# --------------------------------------------------------------------------- contiguity, budget


def test_neighbours_stand_beside_the_hits_and_displace_none(memory: Memory) -> None:
    memory.add(*chatter(6, 50, sessions=3))
    plain = memory.recall("thunder over the island", k=4)
    beside = memory.recall("thunder over the island", k=4, beside=1)
    assert ids(beside)[:4] == ids(plain)
    lent = list(beside)[4:]  # type: ignore[call-overload]
    of_session: dict[str | None, list[int]] = {}
    for record in sorted(memory.store.scan(), key=lambda record: record.order):
        of_session.setdefault(record.session, []).append(record.id)
    near = set()
    for hit in plain:  # type: ignore[attr-defined]
        run = of_session[hit.record.session]
        at = run.index(hit.record.id)
        near |= set(run[max(at - 1, 0) : at + 2])
    assert {hit.record.id for hit in lent} == near - set(ids(plain))
    scores = [hit.score for hit in beside]  # type: ignore[attr-defined]
    assert all(a > b for a, b in pairwise(scores))


def test_a_token_budget_leaves_out_whole_records_from_the_end(memory: Memory) -> None:
    memory.add(*chatter(7, 30))
    whole = memory.recall("pepper window", k=10)
    small = memory.recall("pepper window", k=10, tokens=40)
    assert 0 < len(small) < len(whole)  # type: ignore[arg-type]
    assert ids(small) == ids(whole)[: len(small)]  # type: ignore[arg-type]


# --------------------------------------------------------------------------- time


NOW = seconds(moment(When.parse("2024-06-15").start))


def visits(memory: Memory) -> list[Record]:
    memory.add(*chatter(8, 30))
    return memory.add(
        *(Record(text="I went to the dentist.", when=When.parse(day)) for day in
          ("2023-03-02", "2023-11-20", "2024-02-07", "2024-05-30"))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Did I go to the dentist in 2023?", {0, 1}),
        ("Did I go to the dentist in February?", {2}),
        ("Did I go to the dentist last month?", {3}),
        ("Did I go to the dentist before 2024?", {0, 1}),
    ],
)
def test_what_happened_in_the_time_asked_for_comes_first(
    memory: Memory, question: str, expected: set[int]
) -> None:
    stored = visits(memory)
    found = ids(memory.recall(question, k=4, now=NOW))
    assert set(found[: len(expected)]) == {stored[i].id for i in expected}
    assert set(found) == {record.id for record in stored}  # the others count less, they are not hidden


def test_the_latest_state_comes_first_when_it_is_asked_for(memory: Memory) -> None:
    stored = visits(memory)
    assert ids(memory.recall("When did I last go to the dentist?", k=4, now=NOW))[0] == stored[3].id
    assert ids(memory.recall("When did I first go to the dentist?", k=4, now=NOW))[0] == stored[0].id
    assert ids(memory.recall("Did I go to the dentist?", k=4, now=NOW)) == [record.id for record in stored]


def test_a_later_record_about_something_else_does_not_profit(memory: Memory) -> None:
    stored = visits(memory)
    memory.add(Record(text="We bought a new kettle for the island.", when=When.parse("2024-06-14")))
    assert ids(memory.recall("When did I last go to the dentist?", k=1, now=NOW)) == [stored[3].id]


def test_an_event_in_memory_dates_the_question_that_leans_on_it(memory: Memory) -> None:
    stored = visits(memory)
    memory.add(Record(text="Today we moved into the house in Norland.", when=When.parse("2024-01-05")))
    dentist = {record.id for record in stored}
    found = ids(memory.recall("Where did I see the dentist before we moved to Norland?", k=9, now=NOW))
    assert [id for id in found if id in dentist][:2] == [stored[0].id, stored[1].id]
    found = ids(memory.recall("Where did I see the dentist after we moved to Norland?", k=9, now=NOW))
    assert [id for id in found if id in dentist][:2] == [stored[2].id, stored[3].id]


# --------------------------------------------------------------------------- why


def test_a_hit_says_which_words_and_which_name_led_to_it(memory: Memory) -> None:
    memory.add(
        Record(text="Ashcombe Mill\nAshcombe Mill stands on the Tarn. It is seen in the film Low Water."),
        Record(text="Low Water\nLow Water is a drama directed by Petra Lindqvist."),
        *(Record(text=f"{thing.title()}\nThe {thing} is kept in the shed.") for thing in THINGS),
    )
    found = {
        hit.record.text[:9]: hit for hit in memory.recall("Who made the picture seen at Ashcombe Mill?", k=3)
    }  # type: ignore[attr-defined]
    assert "ashcombe" in found["Ashcombe "].why
    assert "Low Water" in found["Low Water"].why
    assert found["Low Water"].channels["hop"] > 0


def test_the_part_that_matched_is_shown(memory: Memory) -> None:
    text = "First a long tale of copper and thunder. Then the violin."
    vectors = memory.bag.encode([text[:40], text[40:]])
    memory.add(*chatter(9, 10))
    memory.store.put([Record(text=text)], [[Part(0, 40, vectors[0]), Part(40, len(text), vectors[1])]])
    (hit,) = [h for h in memory.recall("Then the violin", k=11) if h.record.text == text]  # type: ignore[attr-defined]
    assert (hit.start, hit.end) == (40, len(text))


def test_what_cannot_be_asked_is_refused_with_the_reason(memory: Memory) -> None:
    for query, options, reason in (
        ("  ", {}, "empty question"),
        ("kettle", {"k": 0}, "at least 1"),
        ("kettle", {"beside": -1}, "at least 0"),
    ):
        with pytest.raises(ValueError, match=reason):
            memory.recall(query, **options)


def test_the_second_look_up_is_off_for_conversations(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add(*chatter(10, 40))
    with_hops = memory.recall("Candle and Feather on the Island", k=40)
    monkeypatch.setattr(reading.hops, "follow", lambda question, scores, text, find: (scores, {}))
    assert ids(memory.recall("Candle and Feather on the Island", k=40)) == ids(with_hops)


def test_the_pages_of_one_document_do_not_lead_to_each_other(memory: Memory) -> None:
    opening = Record(text="Low Water\nLow Water is a drama directed by Petra Lindqvist.", source="a")
    lead = Record(text="Ashcombe Mill stands on the Tarn. It is seen in the film Low Water.", source="b")
    memory.add(
        lead, opening, *(Record(text=f"The {thing} is kept in the shed.", source=thing) for thing in THINGS)
    )
    question = "Who made the picture seen at Ashcombe Mill?"
    assert ids(memory.recall(question, k=2)) == [1, 2]
    later = Record(text=opening.text, source="b", start=900, end=950, order=9)
    memory.store.purge([2])
    (stored,) = memory.add(later)
    assert all("hop" not in hit.channels for hit in memory.recall(question, k=30) if hit.record.id == stored.id)  # type: ignore[attr-defined]
