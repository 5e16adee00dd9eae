"""What tells a state is told apart from what only sounds like it, in words that nobody fitted."""

import numpy as np
import pytest

from mnemic.models import open_embedder
from mnemic.read import states
from mnemic.read.answer import answer
from mnemic.read.phrases import words
from mnemic.types import Hit, Recall, Record, When

MINILM = open_embedder("default")
TOLD = (
    ("2023-01-09", "Rain. Ruben moved to Lisbon and has unpacked already."),
    ("2023-02-11", "Ruben would love a flat in Vienna."),
    ("2023-03-02", "Ruben bought a pickup truck."),
    ("2023-03-20", "Ruben almost bought a minivan."),
    ("2023-05-05", "Ruben was hired as a sculptor."),
    ("2023-06-01", "Ruben lives in Porto now, and loves it."),
    ("2023-07-07", "Ruben considered becoming a dentist."),
    ("2023-08-08", "Marta moved to Sofia for good."),
    ("2023-09-09", "Ruben spent a weekend in Prague."),
)
RECORDS = [Record(text=t, id=n, order=n, when=When.parse(d)) for n, (d, t) in enumerate(TOLD, 1)]


def asked(question: str, embedder=MINILM) -> str:
    return answer(
        question, Recall(tuple(Hit(r, 1.0) for r in RECORDS)), now="2023-12-01", embedder=embedder
    ).text


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("In which city does Ruben live these days?", "Porto"),
        ("What does Ruben do for a living now?", "sculptor"),
        ("What is Ruben driving at present?", "pickup"),
        ("In which city did Ruben live in March 2023?", "Lisbon"),
        ("In which city does Marta live now?", "Sofia"),
    ],
)
def test_the_newest_fact_answers_and_a_newer_wish_does_not(question: str, expected: str) -> None:
    assert expected in asked(question)


def test_all_states_come_in_order_of_time_without_the_nearly() -> None:
    given = asked("Name the cities Ruben has lived in, oldest first.")
    places = [given.find(each) for each in ("Lisbon", "Porto")]
    assert -1 < places[0] < places[1]
    assert not any(other in given for other in ("Vienna", "Prague", "Sofia"))


def test_another_embedder_is_told_nothing(embedder) -> None:
    assert not states.known(embedder)
    assert not states.known(None)
    assert states.known(MINILM)


def test_the_probability_is_the_formula_of_the_docstring() -> None:
    rng = np.random.default_rng(0)
    weights = states.fitted()
    k, d = weights.asks.shape[0] - 1, weights.asks.shape[1] - 1
    share = rng.dirichlet(np.ones(k)).astype(np.float32)
    vectors, parts = rng.normal(size=(2, d)).astype(np.float32), rng.normal(size=(3, d)).astype(np.float32)
    given = states.overlap(weights, share, vectors, [parts, parts[:0]])
    for n, some in enumerate((parts, [])):
        z = weights.tells[:, :-1] @ vectors[n] + weights.tells[:, -1]
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        best = 0.0
        for part in some:
            y = weights.means[:, :-1] @ part + weights.means[:, -1]
            best = max(best, float((np.exp(y - y.max()) / np.exp(y - y.max()).sum())[:-1] @ share))
        assert given[n] == pytest.approx(np.log(states.EPS + float(p[:-1] @ share) + best), abs=1e-4)


def test_small_words_mark_a_wish_a_loan_and_a_fact() -> None:
    names = list(states.MARKS)
    for text, group in (("She might go.", "wish"), ("He rented a boat.", "loan"), ("He never left.", "deny")):
        assert states.marks(words(text))[names.index(group)] == 1
    assert states.marks(words("Blue sky over the roofs.")).sum() == 0


def test_runs_of_words_leave_out_names_asked_for() -> None:
    text = "For Ruben it is black coffee, ordered by the doctor."
    assert states.chunks(text, words(text), frozenset(("ruben",))) == ["black coffee", "ordered", "doctor"]


def test_the_newest_home_answers_though_a_later_entry_shares_a_place() -> None:
    told = (
        ("2023-01-01", "Ines and I share a flat in Lisbon."),
        ("2023-04-01", "Ines moved to Porto today; I helped carry the boxes."),
        ("2023-06-10", "Ines has moved again, this time to Braga."),
        ("2023-07-01", "Ines and Paul met me in Vienna for a concert."),
    )
    hits = [Hit(Record(text=t, id=n, when=When.parse(d)), 1.0) for n, (d, t) in enumerate(told, 1)]
    given = answer("Where does Ines live now?", Recall(tuple(hits)), now="2023-12-01", embedder=MINILM)
    assert given.text == "Braga"
