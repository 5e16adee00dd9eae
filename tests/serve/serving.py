"""A server over a memory of its own, called inside this process or over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.app import create_app

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
