"""The benches of speed time what they say and leave the warm-up out; overlap is that of a plain loop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import cold, reading, speed
from mnemic.worlds.tale import tale


def test_every_call_after_the_warm_up_is_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert len(asked) == 2 + 3
    assert all(row[name] > 0 for row in rows for name in row if name != "id")
    assert outcome.extra["recall_ms"]["p50"] == np.median([row["recall_ms"] for row in rows])
    assert outcome.extra["recall_ms"]["p99"] >= outcome.extra["recall_ms"]["p50"]


def test_told_turns_are_endless_different_and_as_long_as_stated() -> None:
    turns = list(islice(speed.told(seed=0), 300))
    assert {len(turn.split()) for turn in turns} == {speed.WORDS}
    assert len(set(turns)) == 300


def test_turns_are_as_long_and_as_uneven_as_stated() -> None:
    turns = speed.Turns(seed=0)
    words = [turns.text().split() for _ in range(200)]
    assert {len(turn) for turn in words} == {speed.WORDS}
    assert len(set(turns._words)) == speed.VOCABULARY
    counts = np.unique(np.concatenate(words), return_counts=True)[1]
    expected = 1 / (np.arange(1, speed.VOCABULARY + 1) ** -1.05).sum()
    assert counts.max() / counts.sum() == pytest.approx(expected, rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(turns.vector()), 1, rtol=1e-5)


def test_a_cold_round_runs_every_command_and_sees_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil")
    ran: list[list[str]] = []
    real = cold._python

    def seen(arguments: list[str]) -> str:
        ran.append(arguments)
        return "" if "import torch" in arguments or "ask" in arguments else real(arguments)

    monkeypatch.setattr(cold, "_python", seen)
    rows = cold.run(None, Options(limit=1, extra={"records": "30"}, quiet=True)).systems["mnemic"]
    assert [row["id"] for row in rows] == ["1", "imports", "resident"]
    assert rows[1]["recall_words_imports_torch"] == 0
    assert rows[2]["bytes_per_record"] > 0
    assert sum("ask" in arguments for arguments in ran) == 2


def test_the_overlap_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((40, 5)).astype(np.float32) for _ in range(2))
    b[:20] = a[:20]

    def near(vectors: np.ndarray, n: int) -> set[int]:
        others = [m for m in range(40) if m != n]
        return set(sorted(others, key=lambda m: -float(vectors[n] @ vectors[m]))[: reading.NEAREST])

    a, b = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (a, b))
    expected = [len(near(a, n) & near(b, n)) / reading.NEAREST for n in range(40)]
    np.testing.assert_allclose(reading.overlap(a, b), expected)
    assert reading.overlap(a, a).tolist() == [1.0] * 40


def test_both_embedders_read_the_same_passages_of_the_longest_book(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    told = tale(seed=0).text
    (tmp_path / "long.txt").write_text(told)
    (tmp_path / "short.txt").write_text(told[:2000])
    outcome = reading.run(tmp_path, Options(limit=12, quiet=True))
    ours, theirs = outcome.systems["mnemic"], outcome.systems["sentence-transformers"]
    assert (outcome.extra["book"], outcome.extra["passages"]) == ("long.txt", 12)
    assert ours[0]["speedup"] == pytest.approx(theirs[0]["seconds"] / ours[0]["seconds"])
    shares = [row["overlap@10"] for row in ours if "overlap@10" in row]
    assert len(shares) == 12
    assert np.mean(shares) > 0.95
    assert all(0 < row["forward_share"] < 1 for row in ours if "forward_share" in row)
    assert {row["id"] for row in ours if "words_mb_per_minute" in row} == {"long.txt", "short.txt"}
