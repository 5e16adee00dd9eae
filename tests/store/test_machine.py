"""Any sequence of operations in several spaces gives what a dictionary gives, and no space sees another."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mnemic.store import Store
from mnemic.types import Filter, MnemicError, Part, Record

SPACES = st.sampled_from(["a", "b", "c"])
WORDS = ("whale", "ship", "sea")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
PICK = st.integers(0, 10**6)
VECTORS = {word: np.eye(3, dtype=np.float32)[i] for i, word in enumerate(WORDS)}


@dataclass
class Known:
    """What the model knows of a record."""

    space: str
    text: str
    state: str = "live"
    before: int | None = None
    after: int | None = None


class Memory(RuleBasedStateMachine):
    """The store beside a dictionary of records and a list of what can be undone."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name) / "m", durability="normal")
        self.known: dict[int, Known] = {}
        self.purged: set[int] = set()
        self.links: dict[tuple[int, int], float] = {}
        self.past: list[tuple[str, set[int], Any]] = []
        self.mirror: set[int] = set()
        self.seq = 0
        self.count = 0
        for space in ("a", "b", "c"):
            self.put(space, "whale")

    def teardown(self) -> None:
        if hasattr(self, "store"):
            report = self.store.doctor()
            assert (report.found, report.mended) == ((), ())
            self.store.close()
            self.folder.cleanup()

    def pick(self, at: int, state: str | None = None) -> int | None:
        ids = [id for id, one in self.known.items() if state in (None, one.state)]
        return ids[at % len(ids)] if ids else None

    def snapshot(self, *ids: int) -> dict[int, tuple[str, int | None, int | None]]:
        return {id: (self.known[id].state, self.known[id].before, self.known[id].after) for id in ids}

    # ------------------------------------------------------------- what can happen

    @rule(space=SPACES, text=TEXTS)
    def put(self, space: str, text: str) -> None:
        self.count += 1
        record = Record(text=text, space=space, session="s", order=self.count)
        (stored,) = self.store.put([record], [[Part(0, len(text), VECTORS[text.split()[0]])]])
        assert stored.id not in self.known
        assert stored.id not in self.purged
        self.known[stored.id] = Known(space, text)
        self.past.append(("new", {stored.id}, None))

    @rule(at=PICK)
    def put_again(self, at: int) -> None:
        id = self.pick(at)
        if id is not None and self.known[id].state != "forgotten":
            (told,) = self.store.get([id])
            (stored,) = self.store.put([told])
            assert (stored.text, stored.order) == (told.text, told.order)
            assert stored.id in self.known

    @rule(at=PICK, text=TEXTS)
    def supersede(self, at: int, text: str) -> None:
        id = self.pick(at)
        if id is None:
            return
        old = self.known[id]
        if old.state != "live":
            with pytest.raises(MnemicError):
                self.store.supersede(id, text)
            return
        was = self.snapshot(id)
        new = self.store.supersede(id, text)
        assert new.space == old.space
        self.known[new.id] = Known(old.space, text, before=id)
        old.state, old.after = "superseded", new.id
        self.past.append(("supersede", {id, new.id}, (was, new.id)))

    @rule(at=PICK)
    def forget(self, at: int) -> None:
        id = self.pick(at)
        if id is not None:
            was = self.snapshot(id)
            changed = self.store.forget([id])
            assert changed == (self.known[id].state != "forgotten")
            if changed:
                self.known[id].state = "forgotten"
                self.past.append(("forget", {id}, was))

    @rule(one=PICK, other=PICK, weight=st.sampled_from([0.5, 1.0]))
    def link(self, one: int, other: int, weight: float) -> None:
        a, b = self.pick(one), self.pick(other)
        if a is None or b is None or a == b:
            return
        if self.known[a].space != self.known[b].space:
            with pytest.raises(MnemicError, match="different spaces"):
                self.store.link(a, b, "tie", weight)
            return
        self.store.link(a, b, "tie", weight)
        was = self.links.get((a, b))
        if was != weight:
            self.links[a, b] = weight
            self.past.append(("link", {a, b}, ((a, b), was)))

    @rule(at=PICK)
    def purge(self, at: int) -> None:
        id = self.pick(at)
        if id is None:
            return
        assert self.store.purge([id]).done
        gone = self.known.pop(id)
        self.purged.add(id)
        if gone.before is not None:
            self.known[gone.before].after = None
        if gone.after is not None:
            self.known[gone.after].before = None
        self.links = {pair: weight for pair, weight in self.links.items() if id not in pair}
        self.past = [
            (kind, ids - {id}, what)
            for kind, ids, what in self.past
            if ids - {id} and not (kind == "link" and id in ids)
        ]

    @rule()
    def undo(self) -> None:
        told = self.store.undo()
        if not self.past:
            assert told == "nothing to undo"
            return
        kind, ids, what = self.past.pop()
        assert told.startswith("undone: ")
        if kind == "new":
            for id in ids:
                self.known[id].state = "forgotten"
        elif kind == "forget":
            for id in ids:
                self.known[id].state = what[id][0]
        elif kind == "link":
            pair, was = what
            self.links.pop(pair)
            if was is not None:
                self.links[pair] = was
        else:
            was, new = what
            for id in ids:
                one = self.known[id]
                if id == new:
                    one.state, one.before, one.after = "forgotten", None, None
                else:
                    one.state, one.after = was[id][0], None

    @precondition(lambda self: self.known)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.store.path, durability="normal")

    # ------------------------------------------------------------- what always holds

    @invariant()
    def agrees(self) -> None:
        found = {r.id: r for r in self.store.scan(states=("live", "superseded", "forgotten"))}
        assert {i: (r.space, r.text, r.state, r.supersedes, r.superseded_by) for i, r in found.items()} == {
            i: (o.space, o.text, o.state, o.before, o.after) for i, o in self.known.items()
        }

    @invariant()
    def a_space_sees_only_itself(self) -> None:
        for space in ("a", "b", "c"):
            live = {id for id, one in self.known.items() if one.space == space and one.state == "live"}
            assert {r.id for r in self.store.scan(Filter(space=space))} == live
            for word in WORDS:
                ids = self.store.words([word], Filter(space=space), 99)[0].tolist()
                assert set(ids) == {id for id in live if word in self.known[id].text.split()}
            assert {(k.a, k.b): k.weight for k in self.store.links(sorted(live))} == {
                pair: weight for pair, weight in self.links.items() if live.issuperset(pair)
            }
            assert set(self.store.trace_stats(space)[0].tolist()) == live
            for change in self.store.log(space=space):
                for id in change.ids:
                    assert id in self.purged or self.known[id].space == space
        columns = self.store.columns()
        assert [self.known[id].space for id in columns["id"].tolist()] == columns["space"].tolist()

    @invariant()
    def a_mirror_can_follow(self) -> None:
        self.seq, came, went = self.store.changes(self.seq)
        self.mirror = (self.mirror | set(came.tolist())) - set(went.tolist())
        assert self.mirror == {id for id, one in self.known.items() if one.state == "live"}
        ids, _, _, vectors = self.store.parts()
        for id, vector in zip(ids.tolist(), vectors, strict=True):
            assert self.known[id].state == "live"
            assert (vector == VECTORS[self.known[id].text.split()[0]]).all()


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
