"""The frontier: the same cases for every method, refusals named, finished rows not measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import frontier


def test_methods_meet_the_same_pages_and_one_that_does_not_fit_is_named(tmp_path: Path) -> None:
    extra = {"methods": "streaming", "cases": "2", "shares": "0.5,0.001"}
    outcome = frontier.run(None, Options(extra=extra, cache=tmp_path, quiet=True))
    assert list(outcome.systems) == ["full", "streaming 50%"]
    assert "bytes" in outcome.extra["too_small"]["streaming 0.1%"]
    full, half = outcome.systems.values()
    assert [row["id"] for row in full] == [row["id"] for row in half]
    assert sum(row["needle"] for row in full) >= sum(row["needle"] for row in half)
    assert 0 < outcome.extra["sizes"]["streaming 50%"] <= frontier.LENGTH * 4096 / 2
    assert outcome.extra["curves"]["needle"]["lines"]["streaming"][0][0] == 50


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(extra={"methods": "full", "cases": "1"}, cache=tmp_path, quiet=True)
    first = frontier.run(None, options)

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(frontier, "_measure", never)
    assert frontier.run(None, options).systems == first.systems
