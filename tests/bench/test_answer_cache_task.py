"""The bench of the answer cache counts what a plain loop counts, and compares at equal wrong hits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hash_embedder import HashEmbedder
from mnemic.bench.tasks.answer_cache import System, _best, by_lot, replay
from mnemic.serve.cache.category import CATEGORIES
from mnemic.serve.cache.fit import Policy
from mnemic.serve.cache.meaning import meaning
from mnemic.worlds.traffic import Asked, Traffic


def test_with_room_and_time_enough_a_cache_serves_what_a_dictionary_by_meaning_does(tmp_path: Path) -> None:
    traffic = Traffic(3, 60)
    traffic.events = [it for it in traffic.events if isinstance(it, Asked) and it.about is None]
    served, right = list[bool](), list[bool]()
    known: dict[object, str] = {}
    for it in traffic.events:
        assert isinstance(it, Asked)
        key = meaning(it.text, it.at)
        served.append(key in known)
        right.append(known.setdefault(key, it.answer) == it.answer)
    forever = System({"all": Policy(-1.0, 1e9, quota=100.0)}, lambda question: "all", meaning)
    ours_right, ours_wrong = replay(traffic, [forever], HashEmbedder(), tmp_path)
    assert ours_right[0].tolist() == [a and b for a, b in zip(served, right, strict=True)]
    assert ours_wrong[0].tolist() == [a and not b for a, b in zip(served, right, strict=True)]
    assert any(ours_right[0])


def test_the_setting_taken_serves_most_of_those_within_the_wrong_hits_allowed() -> None:
    right = np.array([[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 0]]], bool)
    wrong = np.array([[[0, 0, 0, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], bool)
    assert _best([0, 1, 2], right, wrong, 0.0) == 1
    assert _best([0, 1, 2], right, wrong, 0.25) == 0
    assert _best([0], right, wrong, 0.0) == 0


def test_categories_by_lot_are_drawn_once_a_question_and_all_drawn() -> None:
    questions = [f"question {n}" for n in range(200)]
    drawn = [by_lot(one) for one in questions]
    assert drawn == [by_lot(one) for one in questions]
    assert set(drawn) == set(CATEGORIES)
