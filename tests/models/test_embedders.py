"""Every embedder splits, weighs and orders alike, and what was computed once is not computed again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mnemic.models import open_embedder
from mnemic.models.cached import CachedEmbedder
from mnemic.models.minilm import MiniLM
from mnemic.types import Floats, MnemicError, Part

LONG = " ".join(f"The {n}th letter names {n * 3} ships. None came back." for n in range(150))
TEXTS = ["Salt in the well.", LONG, "", "Who paid the ferryman?"]


def test_no_embedder_is_an_answer_and_an_unknown_one_says_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    assert open_embedder(None) is None
    default = open_embedder("default")
    assert default is not None
    assert default.name == "all-MiniLM-L6-v2"
    with pytest.raises(MnemicError, match="nothing-here"):
        open_embedder(tmp_path / "nothing-here")


def test_the_same_weights_through_sentence_transformers_give_the_same_vectors_and_parts() -> None:
    pytest.importorskip("sentence_transformers")
    ours = MiniLM()
    theirs = open_embedder(ours._folder)
    assert theirs is not None
    assert theirs.dim == 384
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode(TEXTS), atol=2e-2)
    for mine, peer in zip(ours.parts(TEXTS), theirs.parts(TEXTS), strict=True):
        assert [(p.start, p.end) for p in peer] == [(p.start, p.end) for p in mine]
        for a, b in zip(mine, peer, strict=True):
            np.testing.assert_allclose(a.vector, b.vector, atol=2e-2)


def test_a_fingerprint_follows_the_weights() -> None:
    pytest.importorskip("sentence_transformers")
    from mnemic.models.sentence import SentenceEmbedder, _digest

    embedder = SentenceEmbedder(MiniLM()._folder)
    assert embedder.fingerprint == SentenceEmbedder(MiniLM()._folder).fingerprint
    weight = next(iter(embedder._model.state_dict().values()))
    weight.view(-1)[0] += 1
    assert not embedder.fingerprint.endswith(_digest(embedder._model))


class Counting:
    """An embedder of two numbers that counts the texts it was asked for."""

    name, dim, fingerprint = "counting", 2, "counting/1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Floats:
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts], np.float32).reshape(-1, 2)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        self.asked += texts
        halves = [(0, len(text) // 2, len(text)) for text in texts]
        return [
            [Part(a, b, np.array([a, b], np.float32)), Part(b, c, np.array([b, c], np.float32))]
            for a, b, c in halves
        ]


def test_a_kept_text_is_never_computed_again_and_comes_back_the_same(tmp_path: Path) -> None:
    first = Counting()
    cached = CachedEmbedder(first, tmp_path)
    texts = ["one", "three", "one", ""]
    expected = Counting()
    for _ in range(2):
        np.testing.assert_array_equal(cached.encode(texts), expected.encode(texts))
        assert str(cached.parts(texts)) == str(expected.parts(texts))
    assert sorted(first.asked) == ["", "", "one", "one", "three", "three"]
    again = Counting()
    CachedEmbedder(again, tmp_path).encode(["three", "seven"])
    assert again.asked == ["seven"]
    assert cached.encode([]).shape == (0, 2)


def _fill(folder: Path, first: int) -> None:
    cached = CachedEmbedder(Counting(), folder)
    for n in range(first, first + 60):
        cached.encode(["x" * n])


def test_processes_share_the_file_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 30, 60)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    inner = Counting()
    vectors = CachedEmbedder(inner, tmp_path).encode(["x" * n for n in range(120)])
    assert inner.asked == []
    assert vectors[:, 0].tolist() == list(range(120))
