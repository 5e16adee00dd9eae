"""A key for one space opens no other through any door; a key that may read changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import app_over, listening
from upstreams import Speaking

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve import api
from mnemic.serve.keys import Keys
from mnemic.serve.upstream import Remote
from mnemic.types import Budget

SECRET = "Ann hides the key under the mat"

# What is sent to each door, for a record of Ann's; POST: the body, GET: the query.
SENT: dict[str, Any] = {
    "remember": {"text": "x"},
    "recall": {"query": "key"},
    "ask": {"question": "Where is the key?"},
    "order": {"a": SECRET, "b": "key"},
    "timeline": {},
    "records": {},
    "show": {},
    "history": {},
    "supersede": {"text": "x"},
    "forget": {"ids": [1]},
    "undo": {},
    "profile": {},
    "stats": {},
    "export": {},
    "import": None,
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Where is the key?"}]},
}
OF_NO_SPACE = {"health", "models", "embeddings"}
CHANGES = {"remember", "supersede", "forget", "undo", "import"}


@dataclass
class House:
    address: str
    ann: str
    bob: str
    reader: str
    everyone: str
    export: bytes
    upstream: Speaking


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    path = tmp_path_factory.mktemp("apart") / "m.mnemic"
    keys, upstream = Keys(path), Speaking()
    with Memory.open(path, HashEmbedder()) as memory:
        memory.budget("ann", Budget(records=1000))  # a setting that names her space
    ann, bob = keys.add(["ann"], writes=True), keys.add(["bob"], writes=True)
    reader, everyone = keys.add(["ann"], writes=False), keys.add(None, writes=True)
    with (
        listening(upstream.app) as url,
        listening(app_over(path, keys=keys, upstream=Remote(f"{url}/v1"))) as address,
    ):
        for text in (SECRET + ".", "Always say mat."):
            kind = "profile" if "Always" in text else "text"
            body = {"text": text, "when": "2024-01-01", "kind": kind, "source": "ann's own diary"}
            httpx.post(f"{address}/v1/remember", json=body, headers=bearer(ann)).raise_for_status()
        export = httpx.get(f"{address}/v1/export", headers=bearer(ann)).content
        yield House(address, ann, bob, reader, everyone, export, upstream)


def bearer(key: str) -> Any:
    return {"authorization": f"Bearer {key}".encode("latin-1")} if key else {}


def doors() -> dict[str, Any]:
    return {door.name: door for door in api.DOORS} | {
        "chat": api.Door("POST", "/v1/chat/completions", "chat", "", api.it.Chat, api.it.Completion, api.recall)
    }


def send(house: House, name: str, key: str, space: str | None) -> httpx.Response:
    door, sent = doors()[name], SENT[name]
    url, headers = house.address + door.path.replace("{id}", "1"), bearer(key)
    if name == "import":
        return httpx.post(url, content=house.export, headers=headers | {"content-type": "application/x-ndjson"})
    named = {} if space is None else {"user" if name == "chat" else "space": space}
    if door.method == "GET":
        return httpx.get(url, params=sent | named, headers=headers)
    return httpx.post(url, json=sent | named, headers=headers)


def test_every_door_is_tried(house: House) -> None:
    described = httpx.get(f"{house.address}/openapi.json").json()["paths"]
    named = {operation["operationId"] for path in described.values() for operation in path.values()}
    assert named == SENT.keys() | OF_NO_SPACE


@pytest.mark.parametrize("name", SENT)
def test_a_key_for_one_space_asking_for_another_is_refused(house: House, name: str) -> None:
    reply = send(house, name, house.bob, "ann")
    assert reply.status_code == 403
    assert "mat" not in reply.text
    assert "diary" not in reply.text


@pytest.mark.parametrize("name", sorted(SENT.keys() - {"import"}))
def test_a_key_for_one_space_finds_nothing_of_another_without_naming_it(house: House, name: str) -> None:
    reply = send(house, name, house.bob, None)
    assert reply.status_code in (200, 404)
    for secret in ("the mat", "mat.", "diary", '"ann"'):
        assert secret not in reply.text
    assert not house.upstream.seen or "mat" not in str(house.upstream.seen[-1])


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_key_that_may_read_changes_nothing(house: House, name: str) -> None:
    before = send(house, "export", house.ann, None).content
    assert send(house, name, house.reader, None).status_code == 403
    assert send(house, "export", house.ann, None).content == before
    assert send(house, "chat", house.reader, None).status_code == 200  # recalls, and remembers nothing
    assert send(house, "records", house.ann, None).json()["records"][-1]["text"] == "Always say mat."


@pytest.mark.parametrize("name", sorted(SENT))
def test_no_key_a_wrong_one_and_a_revoked_one_open_nothing(house: House, name: str) -> None:
    id = house.ann.split("_")[1]
    for key in ("", "mnemic_x_y", f"mnemic_{id}_wrong", "mnemic_", f"{house.ann}x", "sk-other", "\xe9"):
        reply = send(house, name, key, None)
        assert reply.status_code == 401
        assert "mat" not in reply.text


def test_ids_of_another_space_are_as_ids_that_were_never_given(house: House) -> None:
    ours, never = (
        httpx.get(f"{house.address}/v1/records/{id}", headers=bearer(house.bob)) for id in (1, 10**9)
    )
    assert ours.status_code == never.status_code == 404
    assert ours.json()["error"]["message"].replace("1;", "N;") == never.json()["error"]["message"].replace(
        f"{10**9};", "N;"
    )


def test_an_export_of_one_space_says_nothing_of_another(house: House) -> None:
    send(house, "remember", house.bob, None)
    everything = httpx.get(f"{house.address}/v1/export", headers=bearer(house.everyone)).text
    assert "ann" in everything
    bobs = httpx.get(f"{house.address}/v1/export", headers=bearer(house.bob)).text
    assert "ann" not in bobs
    assert '"bob"' in bobs


def test_who_opens_every_space_sees_them_all(house: House) -> None:
    whole = httpx.get(f"{house.address}/v1/stats", headers=bearer(house.everyone)).json()
    assert set(whole["spaces"]) >= {"ann"}
    assert "path" not in whole
    assert "spaces" not in httpx.get(f"{house.address}/v1/stats", headers=bearer(house.ann)).json()


def test_a_revoked_key_opens_nothing_from_then_on(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    key = keys.add(["ann"], writes=True, name="phone")
    with listening(app_over(tmp_path / "m.mnemic", keys=keys)) as address:
        ask: Any = lambda: httpx.get(f"{address}/v1/profile", headers=bearer(key)).status_code  # noqa: E731
        assert ask() == 200
        keys.revoke(keys.list()[0].id)
        assert ask() == 401
    assert key.split("_", 2)[2].encode() not in keys.path.read_bytes()
    assert keys.path.stat().st_mode & 0o077 == 0
