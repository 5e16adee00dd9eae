"""The bench of a decode step compares like with like: all keys kept is no error, what is asked is one key."""

from __future__ import annotations

import torch

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_speed


def test_reading_all_is_exact_and_reading_little_of_noise_is_not() -> None:
    extra = {"keys": "isotropic", "lengths": "1500,2100", "queries": "2"}
    little = kv_speed.run(None, Options(extra=extra | {"room": "16"}, quiet=True))
    every = kv_speed.run(None, Options(extra=extra | {"room": "4000"}, quiet=True))
    for length in ("1500", "2100"):
        for row in every.systems[f"isotropic {length}"]:
            assert row["error"] < 1e-4
            assert abs(row["kept"] - 1) < 1e-4
        for row in little.systems[f"isotropic {length}"]:
            assert row["error"] > 0.1
            assert row["kept"] < 1
            assert row["times_faster"] > 0
    assert set(little.extra["error_p99"]) == set(little.systems)


def test_what_is_asked_of_a_recorded_text_is_on_one_key() -> None:
    keys, _, queries = kv_speed._record(700, 3, seed=0)
    attention = (queries @ keys.transpose(2, 3) * kv_speed.WIDTH**-0.5).softmax(3)[0, 0]
    assert (attention[:3].amax(1) > 0.9).all()
    assert len(set(attention[:3].argmax(1).tolist())) == 3
    torch.testing.assert_close(attention.sum(1), torch.ones(6))
