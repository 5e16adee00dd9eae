"""The durable word index ranks as BM25 written out by hand does, within its space, whatever happened before."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from mnemic.index.words import query_terms, terms
from mnemic.store import Store
from mnemic.types import Filter, Record

WORDS = ["whale", "ship", "harpoon", "sea", "captain", "oil", "\u6d77\u9be8", "caf\u00e9", "na\u00efve", "1851"]


def bm25(query: list[str], documents: dict[int, list[str]]) -> dict[int, float]:
    """Robertson and Zaragoza's formula, a loop for each document."""
    mean = sum(map(len, documents.values())) / len(documents)
    scores: dict[int, float] = {}
    for id, document in documents.items():
        counts = Counter(document)
        for term in set(query):
            n = sum(term in other for other in documents.values())
            idf = max(math.log((len(documents) - n + 0.5) / (n + 0.5)), 1e-6)
            f = counts[term]
            scores[id] = scores.get(id, 0) + idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(document) / mean))
    return {id: score for id, score in scores.items() if score > 0}


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_formula_after_any_history(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with Store.open(tmp_path / "m") as store:
        for space in ("a", "b"):
            ids = [
                r.id
                for r in store.put(
                    [Record(text=sentence(rng), space=space, author="Ahab", order=i) for i in range(40)]
                )
            ]
            store.forget(ids[:6])
            store.purge(ids[6:9])
            for id in ids[9:13]:
                store.supersede(id, sentence(rng))
            store.forget(ids[20:25])
            store.undo()
        documents = {r.id: terms(f"{r.author}: {r.text}") for r in store.scan(Filter(space="a"))}
        for question in ("whale oil", "Ahab captain \u6d77\u9be8", "the cafe", "absent"):
            ids, scores = store.words(query_terms(question), Filter(space="a"), 100)
            expected = bm25(query_terms(question), documents)
            assert dict(zip(ids.tolist(), scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)
            assert scores.tolist() == sorted(scores.tolist(), reverse=True)
            top = store.words(query_terms(question), Filter(space="a"), 3)[0]
            assert top.tolist() == ids[:3].tolist()


def test_how_common_a_word_is_elsewhere_is_not_felt(tmp_path: Path) -> None:
    with Store.open(tmp_path / "m") as store:
        store.put([Record(text=t, order=i) for i, t in enumerate(["whale oil", "ship", "oil"])])
        alone = store.words(["whale", "oil"], Filter(), 9)
        store.put([Record(text="whale " * 5, space="other", order=i) for i in range(50)])
        crowded = store.words(["whale", "oil"], Filter(), 9)
        assert [x.tolist() for x in alone] == [x.tolist() for x in crowded]
        held = store._connection().execute("SELECT term, count(*) FROM words_at GROUP BY term").fetchall()
        assert dict(held) == {"1:whale": 1, "1:oil": 2, "1:ship": 1, "2:whale": 250}


def test_a_filter_restricts_what_is_found_and_not_how_it_scores(tmp_path: Path) -> None:
    with Store.open(tmp_path / "m") as store:
        store.put([Record(text="whale " * i, session=str(i % 2), order=i) for i in range(1, 9)])
        ids, scores = store.words(["whale"], Filter(), 99)
        odd = store.words(["whale"], Filter(session="1"), 99)
        kept = [r.id for r in store.scan(Filter(session="1"))]
        assert dict(zip(*(x.tolist() for x in odd), strict=True)) == {
            id: score for id, score in zip(ids.tolist(), scores.tolist(), strict=True) if id in kept
        }
        assert len(store.words(["whale"], Filter(space="nowhere"), 9)[0]) == 0


def test_a_word_of_any_length_is_found(tmp_path: Path) -> None:
    with Store.open(tmp_path / "m") as store:
        (record,) = store.put([Record(text="x" * 100_000)])
        assert store.words(terms(record.text), Filter(), 1)[0].tolist() == [record.id]
        assert store.doctor().healthy
        assert not store.doctor().mended
