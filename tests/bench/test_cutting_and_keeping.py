"""Boundaries and keep-scores are measured as a plain count would."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import retention, segment
from mnemic.types import Floats, Span, TraceStats


class Subject:
    """Texts are like the first word they hold."""

    name, dim, fingerprint = "subject", 16, "subject-16"

    def encode(self, texts: list[str]) -> Floats:
        vectors = np.full((len(texts), self.dim), 0.05, np.float32)
        for row, text in enumerate(texts):
            vectors[row, ord(text[0]) % self.dim] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_cuts_at_the_right_sentence_count_and_no_others() -> None:
    spans = [Span(0, 3), Span(3, 5), Span(5, 9)]
    assert segment.metrics([3, 5], spans, 9) == {"f1": 1.0, "pk": 0.0}
    given = segment.metrics([3, 6], spans, 9)  # apart by 2 (half of 3, rounded): items 3..4 and 4..6 differ
    together = [sum(cut <= i for cut in (3, 6)) for i in range(9)]
    said = [sum(cut <= i for cut in (3, 5)) for i in range(9)]
    wrong = [(together[i] == together[i + 2]) != (said[i] == said[i + 2]) for i in range(7)]
    assert given == {"f1": 0.5, "pk": pytest.approx(sum(wrong) / 7)}


def test_even_spans_tile_the_stream() -> None:
    spans = segment.even(11, 4)
    assert [s.start for s in spans] == [0, *(s.stop for s in spans[:-1])]
    assert spans[-1].stop == 11
    assert {s.stop - s.start for s in spans} <= {2, 3}


def test_joined_passages_are_told_apart_where_their_sentences_are(tmp_path: Path) -> None:
    rng = random.Random(3)
    corpus = {f"p{n}": [f"{chr(97 + n % 7)}{n} {rng.random()}." for _ in range(4)] for n in range(16)}
    (tmp_path / "hotpotqa_train_corpus.json").write_text(json.dumps(corpus))
    options = Options(quiet=True, limit=2)
    options.__dict__["plain_embedder"] = Subject()
    systems = segment.run(tmp_path, options).systems
    f1 = {name: np.mean([row["f1"] for row in rows]) for name, rows in systems.items()}
    assert f1["topics"] > f1["topics, shuffled"]


def test_the_best_that_fit_are_kept() -> None:
    traces = TraceStats(*np.zeros((4, 3)), nbytes=np.array([4, 5, 6]))
    assert retention.kept(np.array([0.1, 0.9, 0.5]), traces, 11).tolist() == [False, True, True]


def test_what_is_asked_for_lies_in_the_year_and_was_asked_before() -> None:
    traces, now, wanted = retention.life(1)
    assert traces.uses.sum() == retention.DAYS * retention.RECALLS
    assert (traces.used >= traces.written).all()
    assert (traces.used <= now).all()
    assert len(wanted) == retention.ASKED
    assert traces.uses[wanted].mean() > traces.uses.mean()
