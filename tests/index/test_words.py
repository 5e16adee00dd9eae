"""Words are found however they were written, and ranked as BM25 says while documents come and go."""

from __future__ import annotations

import math
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.index.words import K1, LEAST_IDF, B, WordIndex, query_terms, terms


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Straße nach Zürich", "STRASSE zurich"),
        ("the ﬁnal naïve café", "final naive cafe"),
        ("İstanbul", "istanbul"),
        ("fishing boats", "fished boat"),
        ("e\u0301cole", "école"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
        ("हिन्दी में लिखा", "हिन्दी में लिखा"),
        ("한국어", "\u1112\u1161\u11ab국어"),
    ],
)
def test_what_is_the_same_word_becomes_the_same_term(written: str, asked: str) -> None:
    assert set(terms(asked)) <= set(terms(written))
    assert terms(asked)


def test_unspaced_scripts_are_found_from_the_middle_of_a_sentence() -> None:
    assert terms("我喜欢北京烤鸭") == ["我喜", "喜欢", "欢北", "北京", "京烤", "烤鸭"]
    assert set(terms("北京")) <= set(terms("我喜欢北京烤鸭"))
    assert terms("東 x") == ["東", "x"]
    assert terms("iPhone手机") == ["iphon", "手机"]


def test_indic_words_are_not_cut_at_their_vowel_signs() -> None:
    assert len(terms("हिन्दी")) == 1


def test_every_character_that_is_a_letter_or_digit_reaches_a_term() -> None:
    assert terms("Ahab's 3.14 snake_case (s)") == ["ahab", "s", "3", "14", "snake", "case", "s"]


def test_a_question_loses_function_words_but_never_all_of_them() -> None:
    assert query_terms("Who was the captain of the ship?") == ["captain", "ship"]
    assert query_terms("who was he") == ["who", "wa", "he"]
    assert query_terms("?!") == []


def bm25(query: list[str], docs: dict[int, list[str]]) -> dict[int, float]:
    """Plain BM25 in float64, one document at a time."""
    n, mean = len(docs), sum(map(len, docs.values())) / max(len(docs), 1)
    found = {}
    for id, doc in docs.items():
        score = 0.0
        for term in set(query) & set(doc):
            holding = sum(term in other for other in docs.values())
            idf = max(math.log((n - holding + 0.5) / (holding + 0.5)), LEAST_IDF)
            count = doc.count(term)
            score += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * len(doc) / mean))
        if set(query) & set(doc):
            found[id] = score
    return found


_DOCS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(_DOCS, st.sets(st.integers(0, 30)), st.booleans()), max_size=6),
    st.lists(st.sampled_from("abcdefghz"), max_size=5),
)
def test_scores_equal_plain_bm25_after_any_adds_removals_and_compactions(
    steps: list[tuple[list[list[str]], set[int], bool]], query: list[str]
) -> None:
    index, docs, next_id = WordIndex(), dict[int, list[str]](), 0
    for added, removed, compact in steps:
        ids = list(range(next_id, next_id + len(added)))
        next_id += len(added)
        index.add(ids, added)
        docs.update(zip(ids, added, strict=True))
        index.remove(removed)
        docs = {id: doc for id, doc in docs.items() if id not in removed}
        if compact:
            index.compact()
    expected = bm25(query, docs)
    scores, ids_found = index.search(query, k=1000)
    assert set(ids_found.tolist()) == set(expected)
    np.testing.assert_allclose(scores, [expected[i] for i in ids_found.tolist()], rtol=1e-5)
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(index.search(query, k=2)[1], ids_found[:2])


def _random_docs(n: int, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"w{t}" for t in rng.zipf(1.3, size=rng.integers(1, 40)) if t < 500] for _ in range(n)]


def test_ranking_equals_sqlite_fts5() -> None:
    docs = _random_docs(300, seed=1)
    index = WordIndex()
    index.add(range(1, 301), docs)
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE words USING fts5(terms)")
    base.executemany("INSERT INTO words(rowid, terms) VALUES (?, ?)", enumerate(map(" ".join, docs), 1))
    for query in (["w1", "w7"], ["w3", "w40", "w12"], ["w2"]):
        rows = base.execute(
            "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rowid", [" OR ".join(query)]
        ).fetchall()
        scores = index.scores(query)
        np.testing.assert_array_equal(np.flatnonzero(scores) + 1, [row[0] for row in rows])
        np.testing.assert_allclose(scores[scores > 0], [row[1] for row in rows], rtol=1e-4)


def test_ranking_of_rare_terms_equals_bm25s() -> None:
    bm25s = pytest.importorskip("bm25s")
    docs = _random_docs(400, seed=2)
    index = WordIndex()
    index.add(range(400), docs)
    peer = bm25s.BM25(method="robertson", k1=K1, b=B)
    peer.index(docs, show_progress=False)
    for query in (["w60"], ["w33", "w90"], ["w21", "w150", "w17"]):
        mine, theirs = index.scores(query), peer.get_scores(query)
        found = np.flatnonzero(mine)
        assert len(found)
        # these are rare words: for common ones the two differ in how they keep the IDF positive
        np.testing.assert_allclose(theirs[found] * (K1 + 1), mine[found], rtol=1e-4)


def test_one_by_one_and_all_at_once_score_alike() -> None:
    docs = _random_docs(120, seed=3)
    grown, built = WordIndex(), WordIndex()
    for id, doc in enumerate(docs):
        grown.add([id], [doc])
    built.add(range(120), docs)
    np.testing.assert_allclose(grown.scores(["w2", "w9"]), built.scores(["w2", "w9"]), rtol=1e-6)


def test_a_filter_restricts_what_is_found_and_not_how_it_scores() -> None:
    index = WordIndex()
    index.add([5, 6, 7], [["a", "b"], ["a"], ["c"]])
    everywhere = dict(zip(*reversed([x.tolist() for x in index.search(["b", "c"], 9)]), strict=True))
    by_mask, ids = index.search(["b", "c"], 9, np.array([False, True, True]))
    assert ids.tolist() == [7]
    assert by_mask.tolist() == [everywhere[7]]
    assert index.search(["b", "c"], 9, np.array([5, 6]))[1].tolist() == [5]
    assert index.search(["b"], 0)[1].tolist() == []


def test_an_id_stands_for_one_document() -> None:
    index = WordIndex()
    index.add([3], [["a"]])
    with pytest.raises(ValueError, match="id 3 is already indexed"):
        index.add([3], [["b"]])
    with pytest.raises(ValueError, match="stand once"):
        index.add([4, 4], [["b"], ["c"]])
    index.remove([3])
    index.add([3], [["b"]])
    assert index.search(["a"], 5)[1].tolist() == []
    assert index.search(["b"], 5)[1].tolist() == [3]


def test_rows_and_terms_of_removed_documents_are_given_back() -> None:
    index = WordIndex()
    index.add(range(8), [["common", f"only{n}"] for n in range(8)])
    index.remove([1])
    assert index.ids.tolist() == [0, -1, 2, 3, 4, 5, 6, 7]
    index.remove([2])
    assert index.ids.tolist() == [0, 3, 4, 5, 6, 7]
    assert "only2" not in index._vocabulary
    assert index.search(["only5"], 3)[1].tolist() == [5]


def test_bytes_give_the_same_index_without_what_was_removed() -> None:
    docs = _random_docs(200, seed=4)
    index = WordIndex()
    for at in range(0, 200, 50):
        index.add(range(at, at + 50), docs[at : at + 50])
    index.add([900], [["gonequickly", "w2"]])
    index.remove([900, 3, 4])
    data = index.to_bytes()
    assert b"gonequickly" not in data
    again = WordIndex.from_bytes(data)
    np.testing.assert_array_equal(again.ids, index.ids)
    np.testing.assert_array_equal(again.scores(["w2", "w9"]), index.scores(["w2", "w9"]))
    for one in (index, again):
        one.add([901], [["w2", "new"]])
        one.remove([7])
    np.testing.assert_allclose(again.scores(["w2", "new"]), index.scores(["w2", "new"]), rtol=1e-6)
    empty = WordIndex.from_bytes(WordIndex().to_bytes())
    assert len(empty) == 0
    empty.add([1], [["a"]])
    assert empty.search(["a"], 1)[1].tolist() == [1]
