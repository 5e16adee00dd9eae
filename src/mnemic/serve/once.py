"""A change that is asked for twice under one key (`Idempotency-Key`) is made once.

begun -> done(outcome) -> forgotten after a day

What is kept holds no words: the key and the body only as a keyed hash (without the key, which is not kept, it
says nothing about the body), the outcome as ids. A change that was begun by a process that is gone, and not
finished, may have been made or not: what is harmless to repeat is repeated, the rest is said to be unknown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import Any

from mnemic.serve.beside import transaction
from mnemic.types import MnemicError

DAY = 86400.0
TABLE = "once (key BLOB PRIMARY KEY, body BLOB, process TEXT, at REAL, outcome TEXT)"


class Conflict(MnemicError):
    """The key was used for something else, or what it was used for is not known to be done."""


class Once:
    """What was already done, in the file `life.mnemic.once` beside `life.mnemic`."""

    def __init__(self, memory: Path) -> None:
        self.path = memory.with_name(memory.name + ".once")
        self._process = secrets.token_hex(8)

    def begin(self, who: str, route: str, key: str, body: bytes, *, harmless: bool) -> dict[str, Any] | None:
        """Note that a change is begun; the outcome if it is done already.

        Args:
            harmless: whether making the change twice is as good as once.

        Raises:
            Conflict: the key was used with another body, or the change is under way, or was when its process
                ended.
        """
        mark = hmac.digest(key.encode(), body, "sha256")
        with transaction(self.path, TABLE) as con:
            con.execute("DELETE FROM once WHERE at < ?", (time.time() - DAY,))
            name = _name(who, route, key)
            row = con.execute("SELECT body, process, outcome FROM once WHERE key = ?", (name,)).fetchone()
            if row is not None:
                told, process, outcome = row
                if not hmac.compare_digest(told, mark):
                    raise Conflict("this Idempotency-Key was used with another body; use a new one")
                if outcome is not None:
                    found: dict[str, Any] = json.loads(outcome)
                    return found
                if process == self._process:
                    raise Conflict("the change with this Idempotency-Key is under way; ask again in a moment")
                if not harmless:
                    raise Conflict(
                        "the change with this Idempotency-Key was begun when the server ended; whether it was "
                        "made is not known: look at the records, and use a new key if it was not"
                    )
            con.execute(
                "INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?, NULL)",
                (name, mark, self._process, time.time()),
            )
        return None

    def done(self, who: str, route: str, key: str, outcome: dict[str, Any] | None) -> None:
        """Note what came of it; None: it was refused, and may be asked for again."""
        with transaction(self.path, TABLE) as con:
            if outcome is None:
                con.execute("DELETE FROM once WHERE key = ?", (_name(who, route, key),))
            else:
                con.execute(
                    "UPDATE once SET outcome = ? WHERE key = ?", (json.dumps(outcome), _name(who, route, key))
                )


def _name(who: str, route: str, key: str) -> bytes:
    return hashlib.sha256(json.dumps([who, route, key]).encode()).digest()
