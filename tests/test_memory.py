"""The verbs of a memory, end to end on text written here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hash_embedder import HashEmbedder
from mnemic import Memory, MnemicError
from mnemic.types import Embedder


@pytest.fixture
def memory(tmp_path: Path, embedder: Embedder) -> Iterator[Memory]:
    with Memory.open(tmp_path / "life.mnemic", embedder=embedder, durability="normal") as opened:
        yield opened


def test_what_is_remembered_is_found_with_its_source_and_time(memory: Memory) -> None:
    memory.remember(
        "Marta planted the pear tree behind the barn.", when="2021-03-14", source="diary", author="me"
    )
    memory.remember("The barn roof leaks when it rains.", when="2022", source="letters")
    (record, *_) = (hit.record for hit in memory.recall("who planted a pear tree?"))
    assert record.text == "Marta planted the pear tree behind the barn."
    assert (str(record.when), record.source, record.author) == ("2021-03-14", "diary", "me")


def test_an_exact_repeat_is_the_record_that_is_there(memory: Memory) -> None:
    (first,) = memory.remember("The boat is called Heron.", source="diary", when="2020-06-01")
    (again,) = memory.remember("The boat is called Heron.", source="diary", when="2020-06-01")
    assert first == again
    assert len(memory.recall("the boat")) == 1


def test_a_conversation_told_again_from_the_start_grows_only_by_what_is_new(memory: Memory) -> None:
    told = [
        {"role": "user", "content": "The ferry to Skye was late today.", "created_at": "2024-05-02T09:00:00"},
        {"role": "assistant", "content": "Did you still catch the bus?", "created_at": "2024-05-02T09:00:10"},
    ]
    memory.remember(told, session="s1", title="Ferry")
    told.append({"role": "user", "content": "No, I walked.", "created_at": "2024-05-02T09:01:00"})
    records = memory.remember(told, session="s1", title="Ferry")
    assert [record.id for record in sorted(records, key=lambda it: it.order)] == [1, 2, 3]
    assert memory.store.spaces() == {"default": 3}


def test_messages_that_come_one_by_one_keep_their_order(memory: Memory) -> None:
    for text in ("one goes first", "two comes after", "three ends it"):
        memory.remember([{"role": "user", "content": text}], session="s1")
    found = sorted(memory.store.scan(), key=lambda it: it.order)
    assert [it.text for it in found] == ["one goes first", "two comes after", "three ends it"]


def test_a_broken_message_leaves_nothing_behind(memory: Memory) -> None:
    with pytest.raises(MnemicError, match="message 2 has no content"):
        memory.remember([{"role": "user", "content": "Hello there."}, {"role": "assistant"}])
    assert memory.store.spaces() == {}


def test_forget_is_undone_and_purge_is_not(memory: Memory) -> None:
    (record,) = memory.remember("The spare key hangs in the cellar.", source="notes")
    memory.forget(ids=[record.id])
    assert not memory.recall("spare key")
    memory.undo()
    assert [hit.record.id for hit in memory.recall("spare key")] == [record.id]
    assert memory.forget(source="notes", purge=True).purged
    assert not memory.recall("spare key")
    assert memory.undo() == "nothing to undo"


def test_a_purge_takes_older_versions_along(memory: Memory) -> None:
    (old,) = memory.remember("Her number is 555 0182.")
    new = memory.supersede(old.id, "Her number is 555 0199.")
    assert set(memory.forget(ids=[new.id], purge=True).ids) == {old.id, new.id}
    assert b"555 01" not in memory.store.path.read_bytes()


def test_forgetting_by_query_takes_exactly_what_holds_every_word(memory: Memory) -> None:
    texts = ("Anna's dentist is Dr Voss.", "The dentist moved to Mill Lane.", "Anna lives on Mill Lane.")
    records = [memory.remember(text)[0] for text in texts]
    assert memory.forget(query="dentists mill").ids == (records[1].id,)


@pytest.mark.parametrize("given", [{}, {"ids": [1], "source": "a"}, {"query": "a", "before": "2020"}])
def test_forget_wants_exactly_one_choice(memory: Memory, given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="exactly one"):
        memory.forget(**given)  # type: ignore[arg-type]


def test_a_space_alone_is_forgotten_whole_and_no_other(memory: Memory) -> None:
    memory.remember("The gate code is 4711.", space="work")
    memory.remember("The gate squeaks.", space="home")
    memory.forget(space="work")
    assert not memory.recall("gate", space="work")
    assert len(memory.recall("gate", space="home")) == 1


def test_superseding_closes_the_old_words_and_keeps_them_in_history(memory: Memory) -> None:
    (old,) = memory.remember("Tom lives in Leeds.", when="2019")
    new = memory.supersede(old.id, "Tom lives in York.", when="2023-02")
    assert [hit.record.text for hit in memory.recall("where does Tom live?")] == ["Tom lives in York."]
    assert memory.show(old.id).superseded_by == new.id
    assert [change.op for change in memory.history(old.id) if change.op != "parts"] == ["put", "supersede"]


def test_the_timeline_is_in_the_order_of_events_not_of_writing(memory: Memory) -> None:
    for when, text in (
        ("2003", "moved to Bath"),
        ("1999-04", "born in Wells"),
        ("2001-09-03", "went to school"),
    ):
        memory.remember(text, when=when)
    memory.remember("nobody knows when this was")
    assert [it.text for it in memory.timeline()] == ["born in Wells", "went to school", "moved to Bath"]
    assert [it.text for it in memory.timeline(k=1, after="2000")] == ["went to school"]
    memory.remember([{"role": "user", "content": "Call me Robin, please.", "created_at": "2005-01-01"}])
    assert [it.kind for it in memory.timeline(after="2004")] == ["turn"]


def test_a_changed_embedder_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, embedder: Embedder
) -> None:
    path = tmp_path / "life.mnemic"
    with Memory.open(path, embedder=embedder) as memory:
        memory.remember("The cat is called Pixel.")
    other = type(embedder)("other", 32)  # type: ignore[call-arg]
    with pytest.raises(MnemicError, match=f"mnemic reembed --model other --memory {path}"):
        Memory.open(path, embedder=other)
    with Memory.open(path, embedder=None) as memory:
        assert len(memory.recall("cat")) == 1


def test_ids_of_another_space_are_not_there(memory: Memory) -> None:
    (record,) = memory.remember("The safe is behind the clock.", space="a")
    for verb in (memory.show, memory.history, lambda id, space: memory.forget(ids=[id], space=space)):
        with pytest.raises(MnemicError, match=f"has no record {record.id}"):
            verb(record.id, space="b")
    with pytest.raises(MnemicError, match="has no record"):
        memory.supersede(record.id, "moved", space="b")
    assert memory.show(record.id, space="a").state == "live"


# ----------------------------------------------------------------- recalled text that comes back


def told(memory: Memory, text: str, role: str = "assistant") -> list[str]:
    records = memory.remember([{"role": role, "content": text}], session="now")
    return [record.text for record in records]


def test_recalled_text_that_comes_back_is_not_stored_again(memory: Memory) -> None:
    memory.remember("Grandfather kept bees on the south slope.", source="diary", when="1974")
    memory.recall("what did grandfather keep?")
    assert told(memory, "grandfather kept  bees on the south slope!") == []
    assert told(memory, "As you wrote: “Grandfather kept bees on the south slope.” Shall I say more?") == [
        "As you wrote:  Shall I say more?"
    ]
    assert memory.show(2).meta["recalled"] == [1]


def test_what_was_not_recalled_may_be_said_again(memory: Memory) -> None:
    memory.remember("Grandfather kept bees on the south slope.", source="diary")
    assert told(memory, "Grandfather kept bees on the south slope.") != []


def test_recalled_text_is_known_to_the_next_process(tmp_path: Path, embedder: Embedder) -> None:
    path = tmp_path / "life.mnemic"
    with Memory.open(path, embedder=embedder) as memory:
        memory.remember("The lighthouse keeper paints in winter.")
        memory.recall("lighthouse")
    with Memory.open(path, embedder=embedder) as memory:
        assert told(memory, "The lighthouse keeper paints in winter.") == []


def test_text_recalled_in_one_space_may_be_said_in_another(memory: Memory) -> None:
    memory.remember("The lighthouse keeper paints in winter.", space="a")
    memory.recall("lighthouse", space="a")
    turn = [{"role": "user", "content": "The lighthouse keeper paints in winter."}]
    assert len(memory.remember(turn, space="b")) == 1


def test_what_was_forgotten_after_it_was_recalled_may_be_told_anew(memory: Memory) -> None:
    (record,) = memory.remember("The lighthouse keeper paints in winter.")
    memory.recall("lighthouse")
    memory.forget(ids=[record.id], purge=True)
    assert len(told(memory, "The lighthouse keeper paints in winter.")) == 1


def test_the_order_of_passages_is_known_to_the_next_process(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m", embedder=None) as memory:
        memory.remember(
            "# One\n\nThe heron came back in March.\n\n# Two\n\nNobody saw it leave.", source="tale"
        )
    with Memory.open(tmp_path / "m", embedder=None) as memory:
        assert memory.order("nobody saw it leave", "the heron came back").first == "b"


def test_the_timeline_shows_a_turn_but_not_what_stands_because_of_it(memory: Memory) -> None:
    memory.remember([{"role": "user", "content": WISH, "created_at": "2005-01-01"}])
    assert [it.kind for it in memory.timeline()] == ["turn"]


# ----------------------------------------------------------------- the profile

WISH = "Call me Robin, please."


def test_what_the_user_asks_for_in_general_comes_along_with_every_recall(memory: Memory) -> None:
    turns = [{"role": "user", "content": WISH}, {"role": "assistant", "content": "Of course, Robin."}]
    told = memory.remember(turns, session="s1")
    memory.remember("The pear tree is in bloom.")
    found = memory.recall("what is in bloom?")
    assert [it.text for it in found.profile] == [WISH]
    assert all(hit.record.kind != "profile" for hit in memory.recall("Robin"))
    assert [it.text for it in told] == [WISH, "Of course, Robin."]


def test_the_profile_stands_between_no_two_turns(memory: Memory) -> None:
    turns = [{"role": "user", "content": WISH}, {"role": "assistant", "content": "Of course, Robin."}]
    wish, reply = memory.remember(turns, session="s1")
    memory.remember([{"role": "user", "content": "The pear tree is in bloom."}], session="s1")
    memory.mirror.refresh()
    row = int(memory.mirror.rows([wish.id])[0])
    assert memory.mirror.ids[memory.mirror.next[row]] == reply.id
    last = int(memory.mirror.next[memory.mirror.next[row]])
    assert memory.store.get([int(memory.mirror.ids[last])])[0].text == "The pear tree is in bloom."


def test_only_the_user_is_listened_to_for_what_stands(memory: Memory) -> None:
    memory.remember([{"role": "assistant", "content": WISH}, {"role": "system", "content": WISH}])
    memory.remember(WISH, source="moby.txt")
    assert memory.profile() == ()


def test_what_was_asked_for_is_forgotten_with_the_turn_that_said_it(memory: Memory) -> None:
    (turn,) = memory.remember([{"role": "user", "content": f"Hello. {WISH}"}], session="s1")
    memory.forget(ids=[turn.id])
    assert memory.profile() == ()
    memory.undo()
    assert [it.text for it in memory.profile()] == [WISH]
    memory.forget(ids=[turn.id], purge=True)
    assert b"Robin" not in memory.store.path.read_bytes()


def test_the_profile_is_edited_like_any_record(memory: Memory) -> None:
    (entry,) = memory.remember("Answer in French.", kind="profile")
    memory.supersede(entry.id, "Answer in Dutch.")
    assert [it.text for it in memory.profile()] == ["Answer in Dutch."]


# ----------------------------------------------------------------- vectors


def test_every_record_gets_a_vector_of_the_new_embedder_when_it_changes(memory: Memory) -> None:
    memory.remember("The cat is called Pixel.")
    memory.remember("The dog is called Bit.", vectors=False)
    other = HashEmbedder("other", 32)
    assert memory.reembed(other) == 2
    assert memory.reembed(other) == 0
    vectors = memory.store.parts()[3]
    assert np.allclose(vectors, other.encode(["The cat is called Pixel.", "The dog is called Bit."]), atol=1e-3)
    assert memory.recall("Pixel")[0].record.text == "The cat is called Pixel."


def test_an_interrupted_change_of_the_embedder_goes_on_where_it_was(memory: Memory) -> None:
    for n in range(300):
        memory.remember(f"Number {n} is on the door.", vectors=False)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.reembed(HashEmbedder("other", 32), stop)
    assert len(memory.store.parts()[0]) == 256
    assert memory.reembed(HashEmbedder("other", 32)) == 44
