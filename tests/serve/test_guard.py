"""Only this machine's own pages and programs get in, and nothing too large does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import app_over, inside


def status(path: Path, headers: dict[str, str], address: str = "/v1/health", **given: Any) -> int:
    async def call() -> httpx.Response:
        async with inside(app_over(path / "m.mnemic", **given)) as client:
            return await client.get(address, headers=headers)

    return asyncio.run(call()).status_code


@pytest.mark.parametrize("host", ["localhost", "localhost:8377", "127.0.0.1:1", "[::1]:8377", "LOCALHOST."])
def test_the_loopback_names_are_answered(tmp_path: Path, host: str) -> None:
    assert status(tmp_path, {"host": host}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "", "localhost:x", "[::"],
)
def test_a_name_rebound_to_the_loopback_is_refused(tmp_path: Path, host: str) -> None:
    assert status(tmp_path, {"host": host}) == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9"},
        {"origin": "ftp://localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "script"},
    ],
)
def test_what_a_page_of_another_site_sends_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    assert status(tmp_path, headers) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"},
    ],
)
def test_the_own_page_and_a_followed_link_get_in(tmp_path: Path, headers: dict[str, str]) -> None:
    assert status(tmp_path, headers) == 200


def test_a_network_is_told_apart_by_numbers_and_by_names_that_were_allowed(tmp_path: Path) -> None:
    opened: dict[str, Any] = {"network": True, "hosts": frozenset({"memory.example"})}
    assert status(tmp_path, {"host": "10.1.2.3:80"}, **opened) == 200
    assert status(tmp_path, {"host": "memory.example"}, **opened) == 200
    assert status(tmp_path, {"host": "evil.example"}, **opened) == 421
