"""Memories beside a cache: measured on the cases of their baselines, in worlds as they are said."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.bench import claims
from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_beside
from mnemic.recipes import load
from mnemic.types import MnemicError
from mnemic.worlds import tokens


def test_chunks_are_measured_against_reading_anew() -> None:
    outcome = kv_beside.run(None, Options(extra={"methods": "cachecraft", "cases": "3"}, quiet=True))
    means = {name: np.mean([row["inside"] for row in rows]) for name, rows in outcome.systems.items()}
    assert means["read anew"] == means["chunks reused"] == 1
    cost = {name: [row["recomputed"] for row in rows] for name, rows in outcome.systems.items()}
    assert cost["chunks reused"] == [0, 0, 0]
    assert cost["cachecraft"] == cost["cachecraft, scrambled"]
    assert all(row["divergence"] == 0 for row in outcome.systems["read anew"])
    assert claims.check(load("kv", "cachecraft").CLAIM, outcome)["n"] == 3


def test_neighbours_are_measured_beside_the_model_alone() -> None:
    outcome = kv_beside.run(None, Options(extra={"methods": "knn-lm", "cases": "2"}, quiet=True))
    facts = {name: [row["facts"] for row in rows] for name, rows in outcome.systems.items()}
    assert max(facts["knn-lm"]) < min(facts["knn-lm, scrambled"])
    assert all(0 < row["lost"] < 1 for row in outcome.systems["knn-lm"])
    assert claims.check(load("kv", "knn-lm").CLAIM, outcome)["sabotage_fails"]


def test_text_that_the_question_looks_at_is_kept() -> None:
    outcome = kv_beside.run(None, Options(extra={"methods": "infiniretri", "cases": "3"}, quiet=True))
    held = {name: [row["held"] for row in rows] for name, rows in outcome.systems.items()}
    assert held["infiniretri"] == [1, 1, 1]
    assert sum(held["infiniretri, scrambled"]) < 3
    assert all(row["kept_tokens"] <= 128 for rows in outcome.systems.values() for row in rows)
    assert claims.check(load("kv", "infiniretri").CLAIM, outcome)["n"] == 3


def test_no_chunk_follows_the_one_it_followed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert not (np.diff(kv_beside.shuffled(rng)) == 1).any()
    pieces, ends, inside = kv_beside.chunked(rng)
    assert {len(piece) for piece in pieces} == {kv_beside.CHUNK}
    assert [piece[0] for piece in pieces] == [tokens.VALUES + value for value in ends[:, 1]]
    assert [piece[-1] for piece in pieces] == [tokens.KEYS + key for key in ends[:, 0]]
    assert len(inside) == kv_beside.CHUNKS * kv_beside.INSIDE


def test_a_method_that_is_not_measured_here_is_refused() -> None:
    with pytest.raises(MnemicError, match="h2o is not measured here; there are: cachecraft"):
        kv_beside.run(None, Options(extra={"methods": "h2o"}, quiet=True))
