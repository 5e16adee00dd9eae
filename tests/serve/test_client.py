"""The client has the verbs of `Memory`, and they say the same."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import app_over, listening

from hash_embedder import HashEmbedder
from mnemic import AsyncClient, Client, Memory, MnemicError
from mnemic.serve.keys import Keys, Refused
from mnemic.store import UnknownRecord
from mnemic.types import Record

NOT_SERVED = {"backup", "budget", "close", "doctor", "embedder", "open", "reembed", "remember_path"}
NOT_SERVED |= {"remember_batches", "answer"}
MESSAGES = [
    {"role": "user", "content": "I moved to Leeds last week.", "created_at": "2024-05-01T10:00:00Z"},
    {"role": "assistant", "content": "How is it there?", "created_at": "2024-05-01T10:00:05Z"},
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Client, Memory]]:
    """A client, and a memory of the same kind beside it."""
    with (
        listening(app_over(tmp_path / "served.mnemic")) as address,
        Client(address) as client,
        Memory.open(tmp_path / "plain.mnemic", HashEmbedder()) as memory,
    ):
        yield client, memory


def test_every_verb_of_a_memory_is_there_both_ways() -> None:
    verbs = {name for name, _ in inspect.getmembers(Memory) if not name.startswith("_")} - NOT_SERVED
    for kind in (Client, AsyncClient):
        assert verbs <= {name for name, _ in inspect.getmembers(kind)}
    for name in verbs - {"ask", "export", "import_"}:
        ours, theirs = (list(inspect.signature(getattr(it, name)).parameters) for it in (Client, Memory))
        assert ours == [one for one in theirs if one != "self"] or name in ("stats",), name


def same(it: Any) -> Any:
    """A value without what differs between two runs: when it was written."""
    if isinstance(it, Record):
        return dataclasses.replace(it, written=0.0, valid_to=None if it.valid_to is None else 0.0)
    if dataclasses.is_dataclass(it) and not isinstance(it, type):
        fields = {one.name: same(getattr(it, one.name)) for one in dataclasses.fields(it)}
        return fields | ({"at": 0} if "at" in fields else {})
    if isinstance(it, list | tuple):
        return [same(one) for one in it]
    return it


def test_what_the_client_brings_is_what_the_memory_says(served: tuple[Client, Memory]) -> None:
    steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("remember", ("Ishmael went to sea.\n\nHe met a captain.",), {"when": "1851", "source": "diary"}),
        ("remember", ("A later note.",), {"when": datetime(2024, 5, 2, tzinfo=UTC), "title": "T"}),
        ("remember", (MESSAGES,), {"session": "s1"}),
        ("remember", ("Please be brief.",), {"kind": "profile", "author": "user"}),
        ("recall", ("who went to sea?",), {"k": 2, "beside": 1}),
        ("recall", ("Leeds",), {"after": "2024", "now": "2024-05-03"}),
        ("ask", ("Where did I move?",), {"now": "2024-05-03"}),
        ("order", ("Ishmael went to sea.", "He met a captain."), {}),
        ("timeline", (), {}),
        ("timeline", ("captain",), {"k": 1}),
        ("profile", (), {}),
        ("supersede", (1, "Ishmael went home."), {"when": "1852"}),
        ("show", (1,), {}),
        ("history", (1,), {}),
        ("forget", ([2],), {}),
        ("undo", (), {}),
        ("undo", (), {}),
        ("forget", (), {"source": "diary"}),
        ("recall", ("sea",), {}),
    ]
    client, memory = served
    for verb, args, given in steps:
        here, there = getattr(memory, verb)(*args, **given), getattr(client, verb)(*args, **given)
        if verb != "undo":  # says at which second
            assert same(there) == same(here), verb
        else:
            assert there[:12] == here[:12]
    assert client.stats()["live"] == memory.stats()["live"]
    assert client.health()["status"] == "ok"


def test_errors_are_those_of_a_memory(served: tuple[Client, Memory]) -> None:
    client, _ = served
    with pytest.raises(UnknownRecord):
        client.show(7)
    with pytest.raises(ValueError, match="not a date"):
        client.recall("x", before="when pigs fly")
    with pytest.raises(TypeError, match="there is no colour"):
        client.recall("x", colour="red")  # type: ignore[call-arg]
    id = client.remember("One.")[0].id
    client.supersede(id, "Two.")
    with pytest.raises(MnemicError):
        client.supersede(id, "Three.")
    with pytest.raises(MnemicError, match="mnemic serve"), Client("http://127.0.0.1:9") as nowhere:
        nowhere.health()


def test_an_export_goes_out_and_comes_back_unchanged(tmp_path: Path) -> None:
    text = "A line\u2028separator, a next\x85line, a tab\tand \U0001f40b."
    with listening(app_over(tmp_path / "a.mnemic")) as address, Client(address) as client:
        client.remember(text, when="1851")
        assert client.export(tmp_path / "out.jsonl")["record"] == 1
    with listening(app_over(tmp_path / "b.mnemic")) as address:
        with Client(address) as client:
            assert client.import_(tmp_path / "out.jsonl") == 1
            assert client.import_(tmp_path / "out.jsonl") == 0
            assert client.show(1).text == text

        async def go() -> None:
            async with AsyncClient(address) as client:
                assert (await client.export(tmp_path / "again.jsonl"))["record"] == 1
                assert await client.import_(tmp_path / "again.jsonl") == 0
                assert (await client.recall("whale line"))[0].record.text == text

        asyncio.run(go())


def test_a_key_opens_its_space_without_naming_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    with listening(app_over(tmp_path / "m.mnemic", keys=keys)) as address:
        monkeypatch.setenv("MNEMIC_URL", address)
        monkeypatch.setenv("MNEMIC_KEY", keys.add(["ann"], writes=True))
        with Client() as ann:
            assert ann.remember("Mine.")[0].space == "ann"
            with pytest.raises(Refused):
                ann.recall("Mine", space="bob")


def test_a_change_whose_answer_is_lost_is_made_once(tmp_path: Path) -> None:
    """The connection breaks after the server has made the change; the client sends it again."""
    with listening(app_over(tmp_path / "m.mnemic")) as address, Client(address) as client:
        first, second = client.remember("One.")[0], client.remember("Two.")[0]
        real, lost = client._http.request, []

        def once_lost(**request: Any) -> Any:
            reply = real(**request)
            if not lost:
                lost.append(reply)
                raise httpx.ReadError("gone")
            return reply

        client._http.request = once_lost  # type: ignore[method-assign]
        client.undo()
        assert client.show(second.id).state == "forgotten"
        assert client.show(first.id).state == "live"
