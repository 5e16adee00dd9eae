"""Each rule lets go of what its idea says is worth least."""

import math

import numpy as np
import pytest

from mnemic.retain import decay, importance, recency, use
from mnemic.types import TraceStats

DAY = 86400.0
NOW = 1000 * DAY


def traces(**given: list[float]) -> TraceStats:
    n = len(next(iter(given.values())))
    columns = {"written": [0.0] * n, "uses": [0.0] * n, "importance": [0.5] * n, "nbytes": [1.0] * n} | given
    columns.setdefault("used", columns["written"])
    return TraceStats(**{name: np.array(values, np.float64) for name, values in columns.items()})  # type: ignore[arg-type]


def test_recency_halves_with_every_half_life_since_the_last_use() -> None:
    known = traces(
        written=[NOW, NOW - 30 * DAY, NOW - 60 * DAY, NOW - 60 * DAY],
        used=[NOW, NOW - 30 * DAY, NOW - 60 * DAY, NOW],
    )
    assert recency.keep(known, NOW).tolist() == pytest.approx([1, 0.5, 0.25, 1])


def test_use_weighs_how_often_against_how_long() -> None:
    known = traces(written=[NOW - 4 * DAY, NOW - 16 * DAY, NOW - 4 * DAY], uses=[0, 1, 1])
    scores = use.keep(known, NOW)
    assert scores.tolist() == pytest.approx(
        [math.log(1 / 0.5 / 4**0.5), math.log(2 / 0.5 / 16**0.5), math.log(2 / 0.5 / 4**0.5)]
    )
    assert np.isfinite(use.keep(traces(written=[NOW, NOW + DAY]), NOW)).all()


def test_importance_decides_and_age_breaks_ties() -> None:
    known = traces(written=[3.0, 1.0, 2.0, 0.0], importance=[0.5, 0.5, 0.5, 0.6])
    assert np.argsort(importance.keep(known, NOW)).tolist() == [1, 2, 0, 3]


def test_decay_fades_with_age_and_is_renewed_by_use() -> None:
    known = traces(
        written=[NOW - 60 * DAY] * 3 + [NOW],
        used=[NOW - 60 * DAY, NOW - 30 * DAY, NOW - 60 * DAY, NOW],
        uses=[0, 1, 0, 0],
        importance=[0.5, 0.5, 1.0, 0.5],
    )
    assert decay.keep(known, NOW).tolist() == pytest.approx([0.125, 0.75, 0.25, 0.5])
