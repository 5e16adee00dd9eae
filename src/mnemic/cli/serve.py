"""serve, key: open a memory to other programs, and say who may enter."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnemic import plain
from mnemic.cli.common import command, no_vectors_option, print_json
from mnemic.types import LanguageModel, MnemicError

if TYPE_CHECKING:
    from mnemic.serve.keys import Key

PORT = 8377
BACKLOG = 1024  # connections that wait to be taken
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@command("serve")
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="The address to listen at; any but this machine's own needs keys (`mnemic key add`).",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, envvar="MNEMIC_PORT", show_default=True,
    help="0 takes a free one [env MNEMIC_PORT].",
)  # fmt: skip
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name it also goes by.")
@click.option("--keys/--no-keys", "keyed", default=None, help="Ask for a key [default: once one was made].")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N",
    help="At most N requests a second from each key, without keys from each address.",
)  # fmt: skip
@click.option(
    "--upstream", envvar="OPENAI_BASE_URL", metavar="URL",
    help="The language model behind the proxy: an OpenAI-compatible server [env OPENAI_BASE_URL].",
)  # fmt: skip
@click.option("--model", metavar="DIR", help="Or the folder of a local one.")
@click.option("--kv", metavar="METHOD", help="What the local model's cache keeps (`mnemic methods kv`).")
@click.option("--budget", metavar="BYTES", help='And how much it may own, e.g. "256MiB".')
@click.option(
    "--cache", "reuse", type=click.Choice(["on", "off"]), default="off", show_default=True,
    help="Whether an answer serves later questions that mean the same.",
)  # fmt: skip
@no_vectors_option
def serve_command(
    host: str,
    port: int,
    hosts: tuple[str, ...],
    keyed: bool | None,
    rate: float | None,
    upstream: str | None,
    model: str | None,
    kv: str | None,
    budget: str | None,
    reuse: str,
    vectors: bool,
    path: Path | None,
    as_json: bool,
) -> None:
    """Open the memory to other programs until Ctrl-C: HTTP, a proxy for OpenAI's clients, MCP at /mcp."""
    if (kv or budget) and not model:
        raise click.UsageError("--kv and --budget are about the cache of a local model: give --model")
    try:
        import uvicorn

        from mnemic.serve.app import create_app
        from mnemic.serve.guard import Limits
        from mnemic.serve.keys import Keys
        from mnemic.serve.local import Local
        from mnemic.serve.upstream import Remote, Upstream
    except ImportError as error:
        raise MnemicError(f"serving needs {error.name}: pip install 'mnemic[serve]'") from None
    from mnemic.memory import Memory, default_path

    path = path or default_path()
    keys = Keys(path)
    keyed = keys.any() if keyed is None else keyed
    network = host not in LOOPBACK
    if network and not (keyed and keys.any()):
        raise MnemicError(f"at {host} others can reach this memory: make a key first, `mnemic key add`")
    behind: Upstream | None = None
    if model:
        behind = Local(model, method=kv, budget=budget)
    elif upstream:
        behind = Remote(upstream, os.environ.get("OPENAI_API_KEY"))
    app = create_app(
        Memory.open(path, embedder="default" if vectors else None),
        keys=keys if keyed else None,
        limits=Limits(rate=rate),
        hosts=frozenset((*hosts, host) if network else hosts),
        network=network,
        model=_writer(),
        upstream=behind,
        reuse=reuse == "on",
    )
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it would say what was in a call that failed
    lines = logging.getLogger("mnemic.serve")
    lines.addHandler(logging.StreamHandler())  # one JSON document a request, on stderr
    lines.setLevel(logging.INFO)
    lines.propagate = False
    config = uvicorn.Config(app, host, port, access_log=False, log_level="warning", server_header=False)
    with config.bind_socket() as socket:
        socket.listen(BACKLOG)  # from here on who connects is answered, if only once all is loaded
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{socket.getsockname()[1]}"
        if as_json:
            print_json({"address": address})
        else:
            click.echo(address)
        uvicorn.Server(config).run([socket])


def _writer() -> LanguageModel | None:
    """What writes answers: the model that OPENAI_BASE_URL and OPENAI_MODEL name, where both do."""
    from mnemic.models import open_language_model

    return open_language_model(None) if os.environ.get("OPENAI_MODEL") else None


@command("mcp")
@click.option("--space", help="The only space that is open [default: every one].")
@click.option("--write/--read", "writes", default=True, show_default=True, help="Whether it may be changed.")
@no_vectors_option
def mcp_command(space: str | None, writes: bool, vectors: bool, path: Path | None, as_json: bool) -> None:
    """Speak the Model Context Protocol on stdin and stdout; --json prints what to tell a client instead."""
    try:
        from mnemic.serve.mcp import speak
    except ImportError as error:
        raise MnemicError(f"this needs {error.name}: pip install 'mnemic[serve]'") from None
    from mnemic.memory import Memory, default_path
    from mnemic.serve.keys import Access

    if as_json:
        given = [*(("--memory", str(path)) if path else ()), *(("--space", space) if space else ())]
        given += ([] if writes else ["--read"]) + ([] if vectors else ["--no-vectors"])
        return print_json({"mcpServers": {"mnemic": {"command": "mnemic", "args": ["mcp", *given]}}})
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it would say what was in a call that failed
    memory = Memory.open(path or default_path(), embedder="default" if vectors else None)
    spaces = None if space is None else frozenset({space})
    asyncio.run(speak(memory, Access("stdio", spaces, writes), _writer()))
    return None


@command("key")
@click.argument("action", type=click.Choice(["add", "list", "revoke"]))
@click.argument("id", required=False)
@click.option(
    "--space", "spaces", multiple=True, metavar="SPACE", help="A space it opens [default: every one]."
)
@click.option(
    "--write/--read", "writes", default=True, show_default=True, help="Whether it may change something."
)
@click.option("--name", default="", help="What it is for.")
def key_command(
    action: str,
    id: str | None,
    spaces: tuple[str, ...],
    writes: bool,
    name: str,
    path: Path | None,
    as_json: bool,
) -> None:
    """Make a key that opens some spaces (it is printed once), list the keys, or revoke the one called ID."""
    from mnemic.memory import default_path
    from mnemic.serve.keys import Keys

    if (action == "revoke") != (id is not None):
        raise click.UsageError("revoke takes the ID of a key, add and list take none")
    keys = Keys(path or default_path())
    if action == "add":
        made = keys.add(spaces or None, writes=writes, name=name)
        return print_json({"key": made}) if as_json else click.echo(made)
    if id is not None:
        keys.revoke(id)
    if as_json:
        return print_json({"keys": [_plain(key) for key in keys.list()]})
    for key in keys.list():
        opened = "every space" if key.access.spaces is None else ", ".join(sorted(key.access.spaces))
        right = "read and write" if key.access.writes else "read"
        state = f"revoked {plain.instant(key.revoked)}" if key.revoked else f"made {plain.instant(key.made)}"
        click.echo(f"{key.id}  {right:<14}  {opened}  {state}  {key.name}".rstrip())
    return None


def _plain(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "spaces": None if key.access.spaces is None else sorted(key.access.spaces),
        "writes": key.access.writes,
        "made": plain.instant(key.made),
        "revoked": plain.instant(key.revoked),
    }
