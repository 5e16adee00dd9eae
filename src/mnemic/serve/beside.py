"""Small SQLite files beside a memory: who may enter, what was already done."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 10.0  # seconds to wait for another process that writes


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """One moment of a file that is there; waits for nobody."""
    con = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
    try:
        yield con
    finally:
        con.close()


@contextlib.contextmanager
def transaction(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """All of it or nothing, in a file that only its owner may read; `table` is made if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    con = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        con.execute("PRAGMA secure_delete = ON")
        con.execute("BEGIN IMMEDIATE")
        con.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        yield con
        con.execute("COMMIT")
    finally:
        con.close()
