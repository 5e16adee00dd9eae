"""Killed at any moment, nothing acknowledged is lost; whatever is sent, the server stays up and says why."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving import SOURCE, app_over, listening, process
from upstreams import Speaking

from mnemic.memory import Memory
from mnemic.serve.guard import Limits
from mnemic.store import Store
from mnemic.store.schema import MIGRATIONS

FIRST_VERSION = Path(__file__).parents[1] / "store" / "first_version.sql"
JSON, NDJSON = {"content-type": "application/json"}, "application/x-ndjson"


def test_nothing_acknowledged_is_lost_by_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    path, rng = tmp_path / "m.mnemic", random.Random(0)
    acknowledged: dict[int, str] = {}

    def write(address: str, name: str) -> None:
        with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=address) as client:
            for number in range(10_000):
                text = f"whale {name} {number}"
                stored = client.post("/v1/remember", json={"text": text}).json()["records"]
                acknowledged[stored[0]["id"]] = text

    for life in range(3):
        with process(path) as (server, address):
            writers = [threading.Thread(target=write, args=(address, f"{life}-{i}")) for i in range(4)]
            for writer in writers:
                writer.start()
            before = len(acknowledged)
            while len(acknowledged) < before + 8 and all(writer.is_alive() for writer in writers):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.1))
            server.send_signal(signal.SIGKILL)
            for writer in writers:
                writer.join()
    assert len(acknowledged) >= 24
    with Store.open(path) as store:
        assert {record.id: record.text for record in store.get(list(acknowledged))} == acknowledged
        assert store.doctor().found == ()


def test_a_chat_that_was_finished_survives_a_kill_in_the_middle_of_the_next(tmp_path: Path) -> None:
    path, upstream = tmp_path / "m.mnemic", Speaking("One two three.")
    with listening(upstream.app) as url, process(path, OPENAI_BASE_URL=f"{url}/v1") as (server, address):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)

        def stream(question: str) -> Iterator[Any]:
            yield from client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": question}], stream=True
            )

        for _ in stream("First?"):
            pass
        upstream.manner = "long"
        second = stream("Second?")
        next(second)
        server.send_signal(signal.SIGKILL)
        with pytest.raises((httpx.HTTPError, openai.APIError)):
            list(second)
    with Memory.open(path, None) as memory:
        assert [record.text for record in memory.store.scan()][:2] == ["First?", "One two three."]
        assert memory.doctor().found == ()


DIES_MIGRATING = """
import os, signal, sys
from mnemic.store import schema
whole = schema.MIGRATIONS[-1]
def dies(con):
    whole(con)
    os.kill(os.getpid(), signal.SIGKILL)
schema.MIGRATIONS[-1] = dies
from mnemic.cli import main
main()
"""


def test_a_server_killed_while_it_brings_an_older_file_up_to_date_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.mnemic"
    with sqlite3.connect(path) as con:
        con.executescript(
            (Path(__file__).parents[1] / "store" / "first_version.sql").read_text(encoding="utf-8")
        )
    con.close()
    shutil.copy(path, tmp_path / "before")
    killed = subprocess.run(
        [sys.executable, "-c", DIES_MIGRATING, "serve", "--port", "0", "--memory", str(path), "--no-vectors"],
        env=os.environ | {"PYTHONPATH": SOURCE}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    with sqlite3.connect(path) as con:
        assert con.execute("PRAGMA user_version").fetchone()[0] < len(MIGRATIONS)
    con.close()
    with Store.open(tmp_path / "before") as store:
        texts = [record.text for record in store.scan()]
    with process(path) as (_, address):
        found = httpx.get(f"{address}/v1/export").text
        assert texts
        assert all(text.splitlines()[0] in found for text in texts)


# --------------------------------------------------------------------------- what is sent


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("served")
    limits = Limits(body=1 << 20, larger={"/v1/import": 2 << 20})
    (path / "secret.txt").write_text("the secret file")
    with listening(app_over(path / "m.mnemic", limits=limits)) as it:
        yield it
        assert httpx.get(f"{it}/v1/health").status_code == 200


@pytest.mark.parametrize("path", ["/v1/remember", "/v1/import", "/v1/chat/completions", "/mcp", "/nowhere"])
def test_a_gigabyte_is_refused_before_it_is_sent(address: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        line.sendall(f"{head}Content-Length: {1 << 30}\r\n\r\n".encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/remember", "application/json"),
        ("/v1/import", "application/x-ndjson"),
        ("/mcp", "application/json"),
    ],
)
def test_a_gigabyte_that_does_not_say_so_is_cut_off(address: str, path: str, kind: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1 << 14):
            sent += 1 << 16
            yield b" " * (1 << 16)

    status = 413
    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        headers = {"content-type": kind, "accept": "application/json, text/event-stream"}
        status = httpx.post(f"{address}{path}", content=endless(), headers=headers).status_code
    assert status == 413
    assert sent < 64 << 20


@pytest.mark.parametrize("path", ["/v1/remember", "/v1/recall", "/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages": ' + b'[{"content":' * 40 + b"1" + b"}]" * 40 + b"}",
        b'{"text": "\xff\xfe"}',
        b'{"text": "\\ud800"}',
        b'{"text": NaN}',
        b'{"text": ' + b"9" * 5000 + b"}",
        b"\x00\x01",
        b"",
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_a_body_that_is_no_request_is_refused_with_a_sentence(address: str, path: str, body: bytes) -> None:
    reply = httpx.post(f"{address}{path}", content=body, headers=JSON)
    assert reply.status_code in (400, 422)
    assert len(reply.json()["error"]["message"]) > 10


def test_only_json_is_read_as_json(address: str) -> None:
    """A form or plain text is what a page of another site may send without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = httpx.post(f"{address}/v1/undo", content=b"{}", headers={"content-type": kind})
        assert reply.status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/v1/records/../../secret.txt", "/v1/records/%2e%2e%2f%2e%2e%2fsecret.txt", "/../secret.txt",
        "/secret.txt", "/%2e%2e/secret.txt", "/v1/records/-1", "/v1/records/1%00", "/v1/records/\u0661",
        "/static/../secret.txt", "/static/%2e%2e/%2e%2e/secret.txt", "//etc/passwd",
        "/v1/export?space=../../etc/passwd",
    ],
)  # fmt: skip
def test_no_address_leads_to_a_file(address: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    assert b"secret file" not in answer
    assert b"root:" not in answer
    assert answer.split(b" ", 2)[1] in (b"200" if "export" in path else b"404", b"400", b"307")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "\u2028", "é" * 300])
def test_nothing_that_is_sent_becomes_a_header(address: str, value: str) -> None:
    """In a body, where line ends can be sent, and in the headers that steer the proxy."""
    for body in ({"text": value, "space": value, "title": value}, {"text": "x", "source": value}):
        reply = httpx.post(f"{address}/v1/remember", json=body)
        assert "x-evil" not in reply.headers
    with contextlib.suppress(httpx.LocalProtocolError):
        reply = httpx.post(
            f"{address}/v1/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "?"}], "user": value[:100]},
            headers={"X-Mnemic-Conversation": value.encode()},
        )
        assert "x-evil" not in reply.headers


def test_markup_in_a_record_comes_back_as_data(address: str) -> None:
    script = "<script>alert(1)</script> is a whale"
    httpx.post(f"{address}/v1/remember", json={"text": script, "title": script})
    for reply in (
        httpx.post(f"{address}/v1/recall", json={"query": "whale"}),
        httpx.get(f"{address}/v1/export"),
        httpx.get(f"{address}/v1/records/{script}"),
        httpx.get(f"{address}/{script}"),
    ):
        assert not reply.headers["content-type"].startswith("text/html")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in reply.headers["content-security-policy"]


def test_a_client_that_vanishes_in_the_middle_of_its_body_leaves_nothing_behind(address: str) -> None:
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
        line.sendall(
            b"POST /v1/remember HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"text": "never finished'
        )
    assert "never finished" not in httpx.get(f"{address}/v1/export").text
