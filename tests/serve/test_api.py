"""The verbs over HTTP: pages, streams, changes made once, limits, numbers and logs without contents."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import app_over, inside, listening
from upstreams import Speaking

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.app import create_app
from mnemic.serve.desk import Desk
from mnemic.serve.gather import Gathered
from mnemic.serve.guard import Limits
from mnemic.serve.keys import OWNER, Keys
from mnemic.serve.once import Conflict, Once
from mnemic.serve.upstream import Remote
from mnemic.types import Floats


def run(path: Path, steps: Any, **given: Any) -> Any:
    """What `steps(client)` returns, over a server without a socket."""

    async def go() -> Any:
        async with inside(app_over(path / "m.mnemic", **given)) as client:
            return await steps(client)

    return asyncio.run(go())


def test_pages_follow_one_another_and_none_is_left_out(tmp_path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> None:
        for number in range(7):
            await client.post("/v1/remember", json={"text": f"Whale {number}.", "source": str(number % 2)})
        seen, after = [], 0
        while after is not None:
            page = (await client.get("/v1/records", params={"limit": 3, "after": after})).json()
            assert len(page["records"]) <= 3
            seen += [record["id"] for record in page["records"]]
            after = page["next"]
        assert seen == list(range(1, 8))
        await client.post("/v1/forget", json={"ids": [2]})
        gone = (await client.get("/v1/records", params={"state": "forgotten", "source": "1"})).json()
        assert [record["id"] for record in gone["records"]] == [2]

    run(tmp_path, steps)


def test_an_answer_streams_its_evidence_first_and_is_the_same_answer(tmp_path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> None:
        await client.post("/v1/remember", json={"text": "Ishmael went to Nantucket.", "when": "1851-10-18"})
        asked = {"question": "Where did Ishmael go?", "now": "1852"}
        whole = (await client.post("/v1/ask", json=asked)).json()
        reply = await client.post("/v1/ask", json=asked | {"stream": True})
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = [
            dict(line.split(": ", 1) for line in one.splitlines()) for one in reply.text.strip().split("\n\n")
        ]
        assert [one["event"] for one in events] == ["evidence", "answer"]
        assert json.loads(events[1]["data"]) | {"evidence": json.loads(events[0]["data"])} == whole

    run(tmp_path, steps)


def test_questions_that_wait_together_are_embedded_together_and_answered_as_one_by_one(tmp_path: Path) -> None:
    class Counting(HashEmbedder):
        batches: list[int]

        def encode(self, texts: Sequence[str]) -> Floats:
            self.batches.append(len(texts))
            time.sleep(0.02)
            return super().encode(texts)

    def ids(found: Any) -> list[int]:
        return [hit["record"]["id"] for hit in found["hits"]]

    embedder = Counting()
    embedder.batches = []
    questions = [f"whale number {number}" for number in range(20)]

    async def go() -> None:
        app = create_app(Memory.open(tmp_path / "m.mnemic", embedder))
        async with inside(app) as client:
            for number in range(20):
                await client.post("/v1/remember", json={"text": f"This is whale number {number}."})
            embedder.batches.clear()
            ask: Any = lambda query: client.post("/v1/recall", json={"query": query, "k": 1})  # noqa: E731
            together = await asyncio.gather(*(ask(query) for query in questions))
            assert sum(embedder.batches) == 20
            assert len(embedder.batches) <= 4
            for query, reply in zip(questions, together, strict=True):
                alone = await ask(query)
                assert ids(reply.json()) == ids(alone.json())
            desk: Desk = app.state.mnemic.desk
            assert desk.gathered is not None
            assert not desk.gathered._held
            assert not desk.gathered._waiting
            assert "mnemic_embedded_together_count" in (await client.get("/metrics")).text

    asyncio.run(go())


def test_an_embedder_that_fails_fails_those_who_wait_and_nobody_after() -> None:
    class Failing(HashEmbedder):
        broken = True

        def encode(self, texts: Sequence[str]) -> Floats:
            if self.broken:
                raise RuntimeError("out of memory")
            return super().encode(texts)

    async def go() -> None:
        gathered = Gathered(inner := Failing())

        async def held(text: str) -> Floats:
            async with gathered.holding(text):
                return gathered.encode([text])[0]

        results = await asyncio.gather(*(held(text) for text in "abc"), return_exceptions=True)
        assert all(isinstance(result, RuntimeError) for result in results)
        inner.broken = False
        assert np.array_equal(await held("a"), inner.encode(["a"])[0])
        cancelled = asyncio.ensure_future(held("b"))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert np.array_equal(await held("b"), inner.encode(["b"])[0])
        gathered.close()

    asyncio.run(go())


# --------------------------------------------------------------------------- once


def test_a_change_asked_for_twice_under_one_key_is_made_once(tmp_path: Path) -> None:
    async def steps(client: httpx.AsyncClient) -> None:
        async def change(path: str, key: str, **body: Any) -> httpx.Response:
            return await client.post(f"/v1/{path}", json=body, headers={"Idempotency-Key": key})

        one = await change("remember", "a", text="One.")
        again = await change("remember", "a", text="One.")
        assert one.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in one.headers
        await change("remember", "b", text="Two.")
        undone = (await change("undo", "c")).json()
        assert (await change("undo", "c")).json() == undone
        assert (await client.get("/v1/stats", params={"space": "default"})).json()["live"] == 1
        assert (await change("remember", "a", text="Other.")).status_code == 409
        new = (await change("records/1/supersede", "d", text="Uno.")).json()
        assert (await change("records/1/supersede", "d", text="Uno.")).json() == new
        bad = await change("records/1/supersede", "e", text="Uno.")
        assert bad.status_code == 409  # it is superseded already: an error, which the key does not keep
        assert (await change("records/3/supersede", "e", text="Eins.")).status_code == 200
        assert (await change("remember", "", text="x")).status_code == 400
        await change("forget", "f", ids=[new["id"]], purge=True)
        assert (await change("records/1/supersede", "d", text="Uno.")).status_code == 404

    run(tmp_path, steps)


def test_what_was_begun_when_a_process_ended_is_repeated_only_where_that_does_no_harm(tmp_path: Path) -> None:
    before, after = Once(tmp_path / "m.mnemic"), Once(tmp_path / "m.mnemic")
    for harmless in (True, False):
        said = ("key", "/v1/x", f"k{harmless}", b"{}")
        assert before.begin(*said, harmless=harmless) is None
        with pytest.raises(Conflict, match="under way"):
            before.begin(*said, harmless=harmless)
    assert after.begin("key", "/v1/x", "kTrue", b"{}", harmless=True) is None
    with pytest.raises(Conflict, match="not known"):
        after.begin("key", "/v1/x", "kFalse", b"{}", harmless=False)
    assert after.begin("other", "/v1/x", "kFalse", b"{}", harmless=False) is None


# --------------------------------------------------------------------------- limits


def test_each_key_has_its_own_rate(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    one, other = keys.add(["a"], writes=True), keys.add(["b"], writes=True)

    async def steps(client: httpx.AsyncClient) -> None:
        async def ask(key: str) -> httpx.Response:
            return await client.get("/v1/profile", headers={"Authorization": f"Bearer {key}"})

        assert [(await ask(one)).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert int((await ask(one)).headers["retry-after"]) >= 1
        assert (await ask(other)).status_code == 200

    run(tmp_path, steps, keys=keys, limits=Limits(rate=0.1, burst=3))


# --------------------------------------------------------------------------- logs, numbers, forgetting


class Everything(logging.Handler):
    """Keeps every line that any logger says."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


SECRET = "xylophone"


def test_what_was_forgotten_through_any_door_is_in_no_file_no_log_and_no_cache(tmp_path: Path) -> None:
    """Remembered, asked for, answered, proxied and streamed; then purged: not one byte of it is left."""
    logs = Everything()
    root = logging.getLogger()
    level = root.level
    root.addHandler(logs)
    root.setLevel(logging.INFO)
    logging.getLogger("mnemic.serve").setLevel(logging.DEBUG)
    upstream = Speaking(f"The {SECRET} is red.")
    try:
        with listening(upstream.app) as url:
            app = app_over(tmp_path / "m.mnemic", upstream=Remote(f"{url}/v1"))
            with listening(app) as address, httpx.Client(base_url=address) as client:
                key = {"Idempotency-Key": "k"}
                body = {"text": f"My {SECRET} is green.", "title": SECRET, "source": SECRET}
                client.post("/v1/remember", json=body, headers=key)
                client.post("/v1/records/1/supersede", json={"text": f"My {SECRET} is blue."}, headers=key)
                client.post("/v1/recall", json={"query": f"{SECRET}?"})
                client.post("/v1/recall", json={"query": "x", "before": SECRET})
                client.post("/v1/recall", json={SECRET: SECRET})
                client.post("/v1/ask", json={"question": f"What colour is my {SECRET}?", "stream": True})
                client.get(f"/v1/records/{SECRET}")
                client.get(f"/{SECRET}", params={"q": SECRET})
                chat = {"model": "tiny", "messages": [{"role": "user", "content": f"Which {SECRET}?"}]}
                for stream in (False, True):
                    client.post("/v1/chat/completions", json=chat | {"stream": stream, "user": "default"})
                call = {"name": "recall", "arguments": {"query": SECRET, "before": SECRET}}
                client.post(
                    "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
                    headers={"Accept": "application/json, text/event-stream"},
                )  # fmt: skip
                assert SECRET in client.get("/v1/export").text
                metrics = client.get("/metrics").text
                gone = client.post("/v1/forget", json={"query": SECRET, "purge": True}, headers=key).json()
                assert gone["purged"]
                assert len(gone["ids"]) >= 4
                assert SECRET not in client.get("/v1/export").text
                for reply in (
                    client.post("/v1/recall", json={"query": "colour"}),
                    client.post(
                        "/v1/remember", json=body | {"text": "x", "title": "", "source": ""}, headers=key
                    ),
                    client.get("/v1/records/1"),
                ):
                    assert SECRET not in reply.text
                written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
                state = app.state.mnemic
                held = repr([vars(state.desk.gathered), vars(state.metrics)])
    finally:
        root.removeHandler(logs)
        root.setLevel(level)
        logging.getLogger("mnemic.serve").setLevel(logging.NOTSET)
    assert SECRET.encode() not in written
    assert SECRET not in held
    assert SECRET not in metrics
    own = [line for line in logs.lines if not line.startswith("HTTP Request")]  # said by the test's own client
    assert len([line for line in own if line.startswith("{")]) > 10
    assert not [line for line in own if SECRET in line]


def test_a_line_says_who_asked_what_and_how_it_went(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    key = keys.add(["ann"], writes=False)

    async def steps(client: httpx.AsyncClient) -> str:
        reply = await client.get("/v1/records/5", headers={"Authorization": f"Bearer {key}"})
        return str(reply.headers["x-request-id"])

    with caplog.at_level(logging.INFO, "mnemic.serve"):
        id = run(tmp_path, steps, keys=keys)
    line = json.loads(caplog.messages[-1])
    assert line["request"] == id
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/records/{id}", 404)
    assert line["key"] == key.split("_")[1]
    assert key not in caplog.text


def test_a_failure_of_the_server_says_where_and_not_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> httpx.Response:
        app = app_over(tmp_path / "m.mnemic")

        async def broken(*args: Any, **given: Any) -> Any:
            raise KeyError(SECRET)

        app.state.mnemic.desk.recall = broken
        async with inside(app) as client:
            return await client.post("/v1/recall", json={"query": SECRET})

    with caplog.at_level(logging.INFO, "mnemic.serve"):
        reply = asyncio.run(go())
    assert reply.status_code == 500
    assert SECRET not in reply.text
    assert SECRET not in caplog.messages[-1]
    assert json.loads(caplog.messages[-1])["error"] == "KeyError"


# --------------------------------------------------------------------------- carrying


def exported(path: Path, space: str | None = None) -> list[dict[str, Any]]:
    stream = io.StringIO()
    with Memory.open(path, HashEmbedder()) as memory:
        memory.remember("A whale.", when="1851", space="ann")
        memory.export(stream, space)
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


def signed(lines: list[dict[str, Any]]) -> bytes:
    """An export with these lines, its sums made right: what somebody who forges one sends."""
    import hashlib

    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[:-1])
    manifest = lines[-1]["manifest"] | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    return (body + json.dumps({"manifest": manifest}) + "\n").encode()


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("record", {"state": "alive"}),
        ("record", {"kind": "rumour"}),
        ("record", {"when_end": -1e12}),
        ("record", {"when_precision": "moon"}),
        ("record", {"when_start": 1e18, "when_end": 2e18}),
        ("record", {"place": [1]}),
        ("record", {"text": 7}),
        ("record", {"meta": "x"}),
        ("record", {"id": "1"}),
        ("record", {"space": ""}),
        ("mnemic", {"meta": {"embedder": "../evil", "fingerprint": "hash:64", "dim": "64"}}),
        ("mnemic", {"meta": {"fingerprint": "other"}}),
        ("mnemic", {"format": 99}),
        ("rumour", {}),
    ],
)
def test_a_forged_export_is_refused_whole_and_the_memory_goes_on(
    tmp_path: Path, where: str, change: dict[str, Any]
) -> None:
    lines = exported(tmp_path / "other.mnemic")
    if where == "rumour":
        lines.insert(1, {"rumour": {}})
    for line in lines:
        if where in line:
            line[where] |= change

    async def steps(client: httpx.AsyncClient) -> None:
        await client.post("/v1/remember", json={"text": "Before."})
        reply = await client.post(
            "/v1/import", content=signed(lines), headers={"content-type": "application/x-ndjson"}
        )
        assert reply.status_code == 409, reply.text
        assert [one["text"] for one in (await client.get("/v1/records")).json()["records"]] == ["Before."]
        assert (await client.post("/v1/recall", json={"query": "before"})).status_code == 200

    run(tmp_path, steps)


def test_the_settings_of_a_memory_come_only_from_who_opens_all_of_it(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    ann, everyone = keys.add(["ann"], writes=True), keys.add(None, writes=True)
    lines = exported(tmp_path / "other.mnemic")
    lines[0]["mnemic"]["meta"]["budget bob"] = json.dumps(
        {"budget": {"nbytes": 0, "records": 0}, "rule": "decay"}
    )

    async def steps(client: httpx.AsyncClient) -> list[int]:
        statuses = []
        for key in (ann, everyone):
            headers = {"content-type": "application/x-ndjson", "authorization": f"Bearer {key}"}
            statuses.append(
                (await client.post("/v1/import", content=signed(lines), headers=headers)).status_code
            )
        return statuses

    assert run(tmp_path, steps, keys=keys) == [409, 200]


def test_the_desk_tells_of_every_change_that_makes_an_answer_old(tmp_path: Path) -> None:
    async def go() -> None:
        desk = Desk(Memory.open(tmp_path / "m.mnemic", HashEmbedder()))
        told: list[str] = []
        desk.changed.append(told.append)
        await desk.remember(OWNER, "One.", space="a")
        assert told == []
        await desk.supersede(OWNER, 1, "Two.", space="a")
        await desk.forget(OWNER, [2], space="a")
        await desk.undo(OWNER, space="a")
        assert told == ["a"] * 3
        with pytest.raises(TypeError):
            await desk.forget(OWNER)
        await desk.close()

    asyncio.run(go())
