"""The needle bench: every method gets the bytes it is said to get, and recall finds what the window lost."""

from __future__ import annotations

import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv
from mnemic.types import MnemicError


def test_methods_are_compared_at_equal_bytes_and_on_the_same_cases() -> None:
    extra = {
        "model": "lookup",
        "length": "2048",
        "methods": "full,streaming,retrieval-attention",
        "budget": "1MiB",
    }
    outcome = kv.run(None, Options(limit=12, extra=extra, quiet=True))
    ids = [[row["id"] for row in rows] for rows in outcome.systems.values()]
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 12
    sizes = outcome.extra["sizes"]
    assert sizes["full"]["nbytes"] >= outcome.extra["full_nbytes"] == 2048 * 2048
    assert all(sizes[name]["nbytes"] <= 2**20 for name in ("streaming", "retrieval-attention"))
    found = {name: sum(row["accuracy"] for row in rows) / 12 for name, rows in outcome.systems.items()}
    assert found["retrieval-attention"] > found["streaming"]


def test_a_length_that_leaves_a_block_open_is_refused() -> None:
    with pytest.raises(MnemicError, match="no multiple of 512"):
        kv.run(None, Options(extra={"length": "1000"}))


def test_what_the_bench_does_not_have_is_named() -> None:
    with pytest.raises(MnemicError, match="no task 'poems'"):
        kv.run(None, Options(extra={"task": "poems"}))
    with pytest.raises(MnemicError, match="no model 'gpt'"):
        kv.run(None, Options(extra={"model": "gpt"}))
