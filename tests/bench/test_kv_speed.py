"""The bench of a decode step compares like with like: all keys kept is no error, what is asked is one key."""

from __future__ import annotations

import time

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_speed


def test_reading_all_is_exact_and_reading_little_of_noise_is_not() -> None:
    extra = {"keys": "isotropic", "lengths": "1500,2100", "queries": "2", "block": "512", "local": "512"}
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
    assert little.extra["write_share"]["isotropic"]["llama layer"] > 0


def test_what_is_asked_of_a_recorded_text_is_on_one_key_of_the_retrieval_head() -> None:
    texts = kv_speed.recorded([600, 1300], 3, seed=0)
    reading = kv_speed.Reading(
        texts, time.thread_time, {"block": 512, "local": 512, "room": 4000, "wide": 1000}
    )
    assert texts.keys.shape == (1, 8, 1300, 64)
    query = reading.placed(texts.queries[:, 5:6, :3].transpose(1, 2)).transpose(1, 2)  # each at its place
    attention = (query @ texts.keys[:, 5:6].transpose(2, 3) * kv_speed.WIDTH**-0.5).softmax(3)[0, 0]
    assert (attention.amax(1) > 0.9).all()
    assert len(set(attention.argmax(1).tolist())) == 3
    assert (attention.argmax(1) < 600).all()
    rows = reading.measure(1300)
    assert [len(rows[kind]) for kind in ("asked", "filler")] == [3, 3]
    assert all(row["error"] < 1e-4 for kind in rows.values() for row in kind)  # all of it is read
