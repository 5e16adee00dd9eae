"""What a cache says it owns is what the process holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_bytes

pytestmark = pytest.mark.skipif(not kv_bytes.anonymous(), reason="needs /proc/self/smaps_rollup")


def test_resident_memory_grows_by_what_the_cache_owns(tmp_path: Path) -> None:
    extra = {"tokens": "256", "methods": "full,streaming"}
    outcome = kv_bytes.run(None, Options(extra=extra, cache=tmp_path, quiet=True))
    (full,), (streaming,) = outcome.systems["full"], outcome.systems["streaming"]
    assert full["off"] < 0.1
    assert streaming["off"] < 0.2  # of 4 MiB
    assert full["kept"] == 1.0
    assert streaming["of_full"] < 0.3


def test_a_method_that_wants_more_than_its_quarter_is_named(tmp_path: Path) -> None:
    extra = {"tokens": "64", "methods": "chelsea"}
    outcome = kv_bytes.run(None, Options(extra=extra, cache=tmp_path, quiet=True))
    assert "bytes" in outcome.extra["too_small"]["chelsea"]
    assert outcome.systems["all methods"] == []
