"""The official MCP client over stdio and over HTTP: the same tools, with ids and dates, and one space apart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from serving import app_over, listening

import mnemic
from mnemic.memory.echo import OPEN
from mnemic.serve.keys import Keys

SOURCE = str(Path(mnemic.__file__).parents[1])


@contextlib.asynccontextmanager
async def over_stdio(path: Path, *options: str) -> AsyncIterator[Client]:
    arguments = ["-m", "mnemic", "mcp", "--memory", str(path), "--no-vectors", *options]
    environment = {"PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
    async with Client(stdio_client(server)) as client:
        yield client


@contextlib.asynccontextmanager
async def over_http(address: str, key: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"{address}/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **given: Any) -> tuple[str, dict[str, Any]]:
    result: Any = await client.call_tool(tool, given)
    assert not result.is_error, result.content
    return result.content[0].text, result.structured_content


async def refused(client: Client, tool: str, **given: Any) -> str:
    result: Any = await client.call_tool(tool, given)
    assert result.is_error
    return str(result.content[0].text)


async def walk(client: Client) -> None:
    """Everything an agent does."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"remember", "recall", "ask", "timeline", "forget", "undo", "profile"}
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint == (tool.name in ("recall", "ask", "timeline", "profile"))
    assert tools["forget"].annotations is not None
    assert tools["forget"].annotations.destructive_hint

    text, told = await call(
        client, "remember", text="Ishmael went to Nantucket.", when="1851-10-18", source="diary"
    )
    id = told["records"][0]["id"]
    assert text == f"remembered as #{id} (1851-10-18)"
    await call(client, "remember", text="Ishmael went to New Bedford.", when="1850-12-01", session="s")

    text, told = await call(client, "recall", query="Nantucket", k=1)
    assert text.startswith(OPEN)
    assert f"1851-10-18 · diary · #{id}\n> Ishmael went to Nantucket." in text
    assert [(one["id"], one["when"]) for one in told["records"]] == [(id, "1851-10-18")]
    _, told = await call(client, "recall", query="Ishmael", before="1851")
    assert [one["when"] for one in told["records"]] == ["1850-12-01"]
    _, told = await call(client, "recall", query="Ishmael", after="last year")
    assert told["records"] == []

    text, told = await call(client, "ask", question="Where did Ishmael go in October 1851?")
    assert told["citations"][0]["when"] in text
    assert f"#{told['citations'][0]['id']}" in text

    _, told = await call(client, "timeline")
    assert [one["when"] for one in told["records"]] == ["1850-12-01", "1851-10-18"]

    uris = {resource.name: resource.uri for resource in (await client.list_resources()).resources}
    content: Any = (await client.read_resource(uris[f"#{id}"])).contents[0]
    read = json.loads(content.text)
    assert read["record"]["text"] == "Ishmael went to Nantucket."
    assert read["changes"][0]["op"] == "put"
    assert (await client.list_resource_templates()).resource_templates[0].uri_template == (
        "mnemic://records/{space}/{id}"
    )

    text, _ = await call(client, "forget", ids=[id])
    assert "forgotten" in text
    _, told = await call(client, "recall", query="Nantucket")
    assert id not in [one["id"] for one in told["records"]]
    await call(client, "undo")
    _, told = await call(client, "recall", query="Nantucket")
    assert told["records"][0]["id"] == id
    assert (await call(client, "profile"))[1] == {"records": []}

    assert "50" in await refused(client, "recall", query="x", k=1000)
    assert "not a date" in await refused(client, "recall", query="x", before="when pigs fly")
    assert "no record" in await refused(client, "forget", ids=[10**12])
    assert "query" in await refused(client, "recall")
    with pytest.raises(MCPError, match="no tool"):
        await client.call_tool("shutdown", {})
    for uri in ("mnemic://records/default/999", "mnemic://records/../../etc/passwd", "file:///etc/passwd"):
        with pytest.raises(MCPError):
            await client.read_resource(uri)


def test_an_agent_over_stdio(tmp_path: Path) -> None:
    async def go() -> None:
        async with over_stdio(tmp_path / "m.mnemic") as client:
            await walk(client)

    asyncio.run(go())


def test_an_agent_over_http(tmp_path: Path) -> None:
    with listening(app_over(tmp_path / "m.mnemic")) as address:

        async def go() -> None:
            async with over_http(address) as client:
                await walk(client)

        asyncio.run(go())


async def kept_apart(ann: Client, bob: Client) -> None:
    """`bob` sees and changes nothing of `ann`'s through any tool or resource."""
    _, told = await call(
        ann, "remember", text="Ann hides the key under the mat.", when="2024-01-01", space="ann"
    )
    id = told["records"][0]["id"]
    for tool, given in {
        "remember": {"text": "x"},
        "recall": {"query": "key"},
        "ask": {"question": "where is the key?"},
        "timeline": {},
        "forget": {"ids": [id]},
        "undo": {},
        "profile": {},
    }.items():
        said = await refused(bob, tool, **given, space="ann")
        assert "does not open" in said
        assert "mat" not in said
    for tool, given in {"recall": {"query": "key"}, "timeline": {}, "profile": {}}.items():
        assert not (await call(bob, tool, **given))[1]["records"]
    assert "no record" in await refused(bob, "forget", ids=[id])
    assert (await bob.list_resources()).resources == []
    for uri in (f"mnemic://records/ann/{id}", f"mnemic://records/bob/{id}"):
        with pytest.raises(MCPError):
            await bob.read_resource(uri)
    assert (await call(ann, "recall", query="key", space="ann"))[1]["records"][0]["id"] == id


def test_a_key_for_one_space_opens_no_other_over_http(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "m.mnemic")
    one, other, reader = (keys.add([name], writes=name != "ann-r") for name in ("ann", "bob", "ann-r"))
    with listening(app_over(tmp_path / "m.mnemic", keys=keys)) as address:

        async def go() -> None:
            async with over_http(address, one) as ann, over_http(address, other) as bob:
                await kept_apart(ann, bob)
            async with over_http(address, reader) as looking:
                assert "only read" in await refused(looking, "remember", text="x")
            with pytest.raises(BaseException, match=r"401|Unauthorized|unhandled errors"):
                async with over_http(address) as stranger:
                    await stranger.list_tools()

        asyncio.run(go())


def test_one_space_over_stdio_opens_no_other(tmp_path: Path) -> None:
    async def go() -> None:
        path = tmp_path / "m.mnemic"
        async with over_stdio(path, "--space", "ann") as ann, over_stdio(path, "--space", "bob") as bob:
            await kept_apart(ann, bob)

    asyncio.run(go())
