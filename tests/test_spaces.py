"""A space never sees another: whatever is done in one, each answers as if it were alone in its own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hash_embedder import HashEmbedder
from mnemic import Budget, Memory, MnemicError

NOUNS = ("boat", "barn", "clock", "garden", "letter", "pear")
NOUN = st.sampled_from(NOUNS)
SENTENCES = st.builds("The {} and the {} belong to {}.".format, NOUN, NOUN, st.sampled_from("ABC"))
WISHES = st.sampled_from(("Always answer in French.", "I'm vegetarian.", "Call me Sam."))
RANK = st.integers(0, 8)  # of a record among those of its space, oldest first

ACTIONS = st.one_of(
    st.tuples(st.just("text"), SENTENCES),
    st.tuples(st.just("turn"), st.one_of(SENTENCES, WISHES)),
    st.tuples(st.just("supersede"), RANK, SENTENCES),
    st.tuples(st.just("forget"), RANK, st.booleans()),
    st.tuples(st.just("forget_query"), NOUN, st.booleans()),
    st.tuples(st.just("forget_all")),
    st.tuples(st.just("budget"), st.integers(1, 6)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("recall"), SENTENCES),
)


class Alone:
    """One space of a memory; ids are ranks, so that answers of different files can be compared."""

    def __init__(self, memory: Memory, space: str) -> None:
        self.memory, self.space = memory, space

    def ids(self) -> list[int]:
        states = ("live", "superseded", "forgotten")
        return [it.id for it in self.memory.store.scan(states=states) if it.space == self.space]

    def act(self, name: str, *given: Any) -> None:
        memory, space = self.memory, self.space
        if name == "text":
            memory.remember(given[0], source="notes", space=space)
        elif name == "turn":
            memory.remember([{"role": "user", "content": given[0]}], session="s", space=space)
        elif name in ("supersede", "forget") and given[0] < len(ids := self.ids()):
            id = ids[given[0]]
            if name == "forget":
                memory.forget(ids=[id], space=space, purge=given[1])
            elif memory.show(id, space=space).state == "live":
                memory.supersede(id, given[1], space=space)
        elif name == "forget_query":
            memory.forget(query=given[0], space=space, purge=given[1])
        elif name == "forget_all":
            memory.forget(space=space)
        elif name == "budget":
            memory.budget(space, Budget(records=given[0]), rule="recency")
        elif name == "undo":
            memory.undo(space=space)
        elif name == "recall":
            memory.recall(given[0], space=space)

    def scores(self, query: str) -> dict[int, float]:
        """What a recall finds."""
        rank = {id: n for n, id in enumerate(self.ids())}
        return {rank[hit.record.id]: hit.score for hit in self.memory.recall(query, k=50, space=self.space)}

    def seen(self) -> list[Any]:
        """Everything else the space answers, ids as ranks."""
        rank = {id: n for n, id in enumerate(self.ids())}
        memory, space = self.memory, self.space
        stats = memory.stats(space)
        return [
            [(rank[it.id], it.text) for it in memory.profile(space=space)],
            [(rank[it.id], it.text) for it in memory.timeline(space=space)],
            [memory.show(id, space=space).state for id in rank],
            [[(c.op, [rank.get(id) for id in c.ids]) for c in memory.history(id, space=space)] for id in rank],
            {name: stats[name] for name in ("live", "superseded", "forgotten", "text_bytes", "vectors")},
        ]


@given(st.lists(st.tuples(st.sampled_from("ab"), ACTIONS), max_size=14))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_spaces_of_one_memory_answer_like_two_memories(told: list[tuple[str, tuple[Any, ...]]]) -> None:
    embedder = HashEmbedder()
    with (
        TemporaryDirectory() as folder,
        Memory.open(Path(folder, "both"), embedder, "normal") as both,
        Memory.open(Path(folder, "a"), embedder, "normal") as a,
        Memory.open(Path(folder, "b"), embedder, "normal") as b,
    ):
        apart = {"a": Alone(a, "a"), "b": Alone(b, "b")}
        for space, action in told:
            Alone(both, space).act(*action)
            apart[space].act(*action)
        for space, alone in apart.items():
            shared = Alone(both, space)
            assert shared.seen() == alone.seen()
            for noun in NOUNS:
                assert shared.scores(noun) == pytest.approx(alone.scores(noun), abs=1e-4)


@given(st.sampled_from(("show", "history", "supersede", "forget", "purge")))
def test_a_record_of_another_space_is_not_there_for_any_verb(verb: str) -> None:
    with TemporaryDirectory() as folder, Memory.open(Path(folder, "m"), None, "normal") as memory:
        (record,) = memory.remember("The safe is behind the clock.", space="a")
        call: dict[str, Callable[[], object]] = {
            "show": lambda: memory.show(record.id, space="b"),
            "history": lambda: memory.history(record.id, space="b"),
            "supersede": lambda: memory.supersede(record.id, "It moved.", space="b"),
            "forget": lambda: memory.forget(ids=[record.id], space="b"),
            "purge": lambda: memory.forget(ids=[record.id], space="b", purge=True),
        }
        with pytest.raises(MnemicError, match=f"^space 'b' has no record {record.id};"):
            call[verb]()
        assert memory.show(record.id, space="a") == record
