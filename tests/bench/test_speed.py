"""The speed bench times what it says, and leaves the warm-up out."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import speed


def test_every_call_after_the_warm_up_is_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil")
    asked: list[str] = []
    real = speed.recall

    def counted(store, mirror, embedder, question):  # type: ignore[no-untyped-def]
        found = real(store, mirror, embedder, question)
        assert found[0].channels
        asked.append(question)
        return found

    monkeypatch.setattr(speed, "recall", counted)
    outcome = speed.run(None, Options(limit=3, extra={"records": "40"}, quiet=True))
    rows = outcome.systems["mnemic"]
    assert len(rows) == 3
    assert len(asked) == 4 + 2 + 3
    assert all(row[name] > 0 for row in rows for name in row if name != "id")
    assert outcome.extra["p50"]["recall_ms"] == np.median([row["recall_ms"] for row in rows])


def test_turns_are_as_long_and_as_uneven_as_stated() -> None:
    turns = speed.Turns(seed=0)
    words = [turns.text().split() for _ in range(200)]
    assert {len(turn) for turn in words} == {speed.WORDS}
    assert len(set(turns._words)) == speed.VOCABULARY
    counts = np.unique(np.concatenate(words), return_counts=True)[1]
    expected = 1 / (np.arange(1, speed.VOCABULARY + 1) ** -1.05).sum()
    assert counts.max() / counts.sum() == pytest.approx(expected, rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(turns.vector()), 1, rtol=1e-5)
