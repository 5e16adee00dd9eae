"""A server over a memory of its own, called inside this process or over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

import mnemic
from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.app import create_app

SOURCE = str(Path(mnemic.__file__).parents[1])
ADDRESS = "http://localhost"


def app_over(path: Path, **given: Any) -> Starlette:
    """A server over the memory at `path`, with an embedder that needs no model."""
    return create_app(Memory.open(path, HashEmbedder(), durability="normal"), **given)


@contextlib.asynccontextmanager
async def inside(app: Starlette, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the server without a socket."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS, **given) as client:
            yield client


@contextlib.contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of a server that runs in a thread of this process, on a free port of the loopback."""
    config = uvicorn.Config(app, "127.0.0.1", 0, access_log=False, log_level="error")
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([socket])), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.005)
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        socket.close()


@contextlib.contextmanager
def process(path: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`mnemic serve` over the memory at `path`, by words alone, in a process of its own, and its address."""
    arguments = ["serve", "--json", "--port", "0", "--memory", str(path), "--no-vectors", *options]
    server = subprocess.Popen(
        [sys.executable, "-m", "mnemic", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = server.stdout.readline()
            assert line, server.stderr and server.stderr.read()
            said += line
        address = json.loads(said)["address"]
        with httpx.Client(base_url=address) as client:
            for _ in range(1000):
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/v1/health").status_code == 200:
                        break
                time.sleep(0.02)
        yield server, address
    finally:
        server.kill()
        server.communicate()
