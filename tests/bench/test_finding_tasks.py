"""The tasks about finding, on data written here in the layout of the real files."""

import csv
import gzip
import json
import random
from collections.abc import Sequence
from math import log, log2
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from mnemic.bench.held import equal_rank_fusion
from mnemic.bench.runner import Options
from mnemic.bench.tasks import booksort, hotpotqa, keyvalue, longmemeval
from mnemic.index.words import terms
from mnemic.types import Floats, MnemicError, Part, When


class Bag:
    """Words thrown into bins: enough of an embedder to run a task."""

    name, dim, fingerprint = "bag", 64, "bag-64"

    def encode(self, texts: Sequence[str]) -> Floats:
        vectors = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in terms(text):
                vectors[row, crc32(word.encode()) % self.dim] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        return [[Part(0, len(t), v)] for t, v in zip(texts, self.encode(texts), strict=True)]


@pytest.fixture
def options() -> Options:
    options = Options(quiet=True)
    options.__dict__["plain_embedder"] = Bag()  # what the cached property would open
    return options


def case(gold: str, *sessions: tuple[str, str]) -> longmemeval.Case:
    day = When.parse("2024-01-01")
    turns = tuple(longmemeval.Turn(name, "user", text, day, "!" in text) for name, text in sessions)
    return longmemeval.Case("c", "where is the kettle", day.end, turns, frozenset(gold))


def test_the_gain_is_the_official_one_whose_second_rank_is_not_discounted() -> None:
    assert longmemeval.gain(np.array([0.0, 1, 0, 1])) == pytest.approx(1 / log2(2) + 1 / log2(4))
    assert longmemeval.gain(np.array([1.0, 1])) == 2.0
    assert longmemeval.gain(np.zeros(5)) == 0.0


def test_a_session_stands_at_the_rank_of_its_best_turn() -> None:
    some = case("bc", ("a", "x"), ("b", "y!"), ("a", "z"), ("c", "w"), ("d", "v"), ("e", "u"), ("f", "t"))
    scores = longmemeval.metrics(some, [2, 0, 4, 1, 5, 6, 3])  # sessions: a d b e f c
    assert (scores["recall_any@5"], scores["recall_all@5"]) == (1.0, 0.0)
    assert scores["recall_all@10"] == 1.0
    assert scores["ndcg@5"] == pytest.approx((1 / log2(3)) / 2)
    assert (scores["turn_recall_any@5"], scores["turn_recall_all@5"]) == (1.0, 1.0)


def test_turns_never_found_come_last() -> None:
    some = case("b", *((name, "x!" if name == "b" else "x") for name in "bacdefg"))
    assert longmemeval.metrics(some, [1, 2, 3, 4, 5])["recall_any@5"] == 0.0
    assert longmemeval.metrics(some, [0])["ndcg@5"] == 1.0


def test_the_official_protocol_knows_only_what_the_user_said() -> None:
    day = When.parse("2024-01-01")
    turns = tuple(
        longmemeval.Turn(session, role, "x", day, answers)
        for session, role, answers in (("a", "user", True), ("b", "user", False), ("b", "assistant", True))
    )
    by_user = longmemeval.Case("c", "q", 0.0, turns, frozenset("ab")).by_user()
    assert [turn.role for turn in by_user.turns] == ["user", "user"]
    assert by_user.gold == {"a"}


def test_whitespace_bm25_is_okapi_over_sessions() -> None:
    said = {"a": "the kettle is here", "b": "the saddle the ladder", "c": "kettle kettle where", "d": "rain"}
    some = case("a", *said.items())
    documents = {name: text.split() for name, text in said.items()}
    mean = sum(map(len, documents.values())) / 4
    idf = {}
    for word in {word for document in documents.values() for word in document}:
        n = sum(word in document for document in documents.values())
        idf[word] = log((4 - n + 0.5) / (n + 0.5))
    least = 0.25 * sum(idf.values()) / len(idf)

    def score(name: str) -> float:
        document = documents[name]
        return sum(
            (least if idf[word] < 0 else idf[word]) * document.count(word) * 2.5
            / (document.count(word) + 1.5 * (0.25 + 0.75 * len(document) / mean))
            for word in some.question.split() if word in document
        )  # fmt: skip

    assert longmemeval.whitespace_bm25(some) == sorted(said, key=score, reverse=True)


def test_longmemeval_runs_and_leaves_questions_without_an_answer_out_of_the_means(
    tmp_path: Path, options: Options
) -> None:
    for name in ("q1", "q2_abs"):
        sessions = [
            {"session_id": f"s{i}", "messages": [
                {"role": "user", "content": text, "created_at": "2024-01-0" + str(i + 1), "has_answer": i == 2},
                {"role": "assistant", "content": "I see.", "created_at": "2024-01-0" + str(i + 1)},
            ]}
            for i, text in enumerate(
                ["It rained.", "The saddle broke.", "The kettle is in the shed.", "We sang."]
            )
        ]  # fmt: skip
        about = {"original_answer_session_ids": ["s2"], "question_date": "2024/02/01 (Thu) 10:00"}
        query = {"question": "Where is the kettle?", "metadata": about}
        told = {"case_id": name, "queries": [query], "sessions": sessions}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    outcome = longmemeval.run(tmp_path, options)
    for system in ("mnemic", "mnemic, user turns", "FTS5 words", "whitespace BM25, user turns"):
        answered, unanswerable = outcome.systems[system]
        assert answered["recall_any@5"] == 1.0
        assert unanswerable == {"id": "q2_abs"}
    assert outcome.systems["mnemic"][0]["turn_ndcg@5"] == 1.0


def test_hotpotqa_follows_the_title_and_scores_both_passages(tmp_path: Path, options: Options) -> None:
    corpus = {
        "Ashcombe Mill": ["Ashcombe Mill stands on the Tarn.", " It is seen in the film Low Water."],
        "Low Water": ["Low Water is a drama", " directed by Petra Lindqvist."],
        **{f"Page {i}": [f"The shed number {i} holds ", "wood."] for i in range(30)},
    }
    gold = [["Ashcombe Mill", 1], ["Low Water", 0]]
    asked = [{"_id": "x", "question": "Who made the picture seen at Ashcombe Mill?", "supporting_facts": gold}]
    (tmp_path / "hotpotqa_train.json").write_text(json.dumps(asked))
    (tmp_path / "hotpotqa_train_corpus.json").write_text(json.dumps(corpus))
    systems = hotpotqa.run(tmp_path, options).systems
    assert systems["mnemic"][0]["both@2"] == 1.0
    assert systems["mnemic, titles hidden"][0]["recall@2"] == 1.0


def test_booksort_spares_nothing_it_was_asked(tmp_path: Path) -> None:
    draw = random.Random(0)
    nouns = "river lantern orchard kettle harbour soldier garden mirror bridge candle winter market".split()
    words = [f"{draw.choice(nouns)}{draw.randrange(900)}" for _ in range(6000)]
    for book in ("1", "2"):
        some = words if book == "1" else words[::-1]
        text = "\n\n".join(" ".join(some[i : i + 12]).capitalize() + "." for i in range(0, 6000, 12))
        (tmp_path / f"{book}-0.txt").write_text(text)
        book_words = text.split()
        for length in booksort.LENGTHS:
            for size in booksort.SEGMENTS:
                path = tmp_path / f"segments_{length}-s{size}-n110.csv"
                new = not path.exists()
                with path.open("a", newline="") as lines:
                    write = csv.writer(lines)
                    if new:
                        write.writerow(
                            ("x book_idx excerpt_idx segment_idx segment_1 segment_2 seg1_pos seg2_pos "
                             "distance_bin present_seg1_first").split()
                        )  # fmt: skip
                    a, b = sorted(draw.sample(range(5900), 2))
                    one, two = (f"*{' '.join(book_words[at : at + size])}*" for at in (a, b))
                    write.writerow([0, book, 0, 0, one, two, a, b, 100, draw.randrange(2)])
    systems = booksort.run(tmp_path, Options(quiet=True)).systems
    assert len(systems["mnemic"]) == 20
    for row, half in zip(systems["mnemic"], systems["mnemic, half the bytes"], strict=True):
        length = row["id"].split("-")[1]
        assert row[f"accuracy@{length}"] == 1.0
        assert half[f"accuracy@{length}"] <= half[f"found@{length}"]
    assert not all(v for row in systems["mnemic, half the bytes"] for k, v in row.items() if k[:5] == "found")


def test_key_value_pairs_are_found_by_their_key_in_their_own_example(tmp_path: Path) -> None:
    draw = random.Random(0)
    examples = []
    for _ in range(3):
        pairs = [[f"{draw.getrandbits(32):08x}", f"{draw.getrandbits(32):08x}"] for _ in range(9)]
        examples.append({"ordered_kv_records": pairs, "key": pairs[4][0], "value": pairs[4][1]})
    with gzip.open(tmp_path / keyvalue.FILE, "wt") as lines:
        lines.writelines(json.dumps(example) + "\n" for example in examples)
    rows = keyvalue.run(tmp_path, Options(quiet=True)).systems["mnemic"]
    assert [row["accuracy"] for row in rows] == [1.0] * 3


def test_equal_rank_fusion_sums_reciprocal_ranks() -> None:
    one, two = np.array([3.0, 1, 2], np.float32), np.array([0.1, 0.3, 0.2], np.float32)
    np.testing.assert_allclose(
        equal_rank_fusion(one, two), [1 / 61 + 1 / 63, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62], rtol=1e-5
    )


@pytest.mark.parametrize("task", [longmemeval, hotpotqa, booksort, keyvalue])
def test_a_folder_of_something_else_is_refused_by_name(task: object, tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match=str(tmp_path)):
        task.run(tmp_path, Options(quiet=True))  # type: ignore[attr-defined]
