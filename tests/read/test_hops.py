import numpy as np
import pytest

from mnemic.index.words import WordIndex, query_terms, terms
from mnemic.read import hops

PAGES = [
    "Ashcombe Mill\nAshcombe Mill is a water mill on the river Tarn. It appears in the film Low Water.",
    "Low Water\nLow Water is a 1974 drama directed by Petra Lindqvist.",
    "Petra Lindqvist\nPetra Lindqvist (born 1931) is a director from Uppsala.",
    "River Tarn\nThe River Tarn flows past nine mills and two weirs.",
    "Low tide\nLow tide is when the water stands lowest at the shore.",
    "Water wheel\nA water wheel turns the stones of a mill by the weight of water.",
    "Norland\nNorland is a village with one inn, known for its cider.",
]


def look_up(question: str, pages: list[str]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    index = WordIndex()
    index.add(range(len(pages)), [terms(page) for page in pages])
    scores = index.scores(query_terms(question))
    led, why = hops.follow(question, scores, pages.__getitem__, lambda name: index.search(name, 4)[1])
    return scores, led, why


def test_the_evidence_leads_to_the_page_it_names() -> None:
    scores, led, why = look_up("Who was behind the picture shot at Ashcombe Mill?", PAGES)
    assert scores[1] == 0  # words alone do not get there
    assert set(np.argsort(-led)[:2]) == {0, 1}
    assert why[1] == "Low Water"


def test_titles_hidden_the_first_name_of_a_passage_is_what_it_is_about() -> None:
    hidden = [page.split("\n", 1)[1] for page in PAGES]
    _, led, why = look_up("Who was behind the picture shot at Ashcombe Mill?", hidden)
    assert set(np.argsort(-led)[:2]) == {0, 1}
    assert why[1] == "Low Water"


def test_a_page_named_in_the_question_comes_before_pages_that_share_its_words() -> None:
    _, led, why = look_up("Is Petra Lindqvist or Low Water older than the water wheel of the mill?", PAGES)
    assert why[2] == "Petra Lindqvist"
    assert led[2] > led[5]


def test_with_nothing_to_follow_every_score_stays() -> None:
    quiet = ["the mill by the river was silent all winter.", "we walked home along the water.", "it rained."]
    scores, led, why = look_up("what was silent in winter?", quiet)
    np.testing.assert_array_equal(led, scores)
    assert not why


def test_turns_of_a_conversation_neither_lead_nor_are_led_to() -> None:
    index = WordIndex()
    index.add(range(len(PAGES)), [terms(page) for page in PAGES])
    scores = index.scores(query_terms("Who directed the film at Ashcombe Mill?"))
    led, why = hops.follow("Who directed it?", scores, lambda row: None, lambda name: index.search(name, 4)[1])
    np.testing.assert_array_equal(led, scores)
    assert not why


def test_no_evidence_leads_nowhere() -> None:
    led, why = hops.follow("Low Water?", np.zeros(7, np.float32), PAGES.__getitem__, lambda _: np.arange(7))
    assert not led.any()
    assert not why


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("In 1974 the director Petra Lindqvist filmed Low Water.", ["Petra Lindqvist", "Low Water"]),
        ("She left the University of Ashcombe.", ["University of Ashcombe"]),
        ("Lindqvist's mill and J. R. Hale's inn", ["Lindqvist", "J. R. Hale"]),
        ("nothing here is a name", []),
    ],
)
def test_names_are_capitalised_runs_without_what_opens_a_sentence(text: str, found: list[str]) -> None:
    assert hops.names(text) == found


def test_joined_names_are_also_taken_apart() -> None:
    assert hops.names("the towns of Ashcombe, Norland") == ["Ashcombe, Norland", "Ashcombe", "Norland"]


def test_about_is_the_share_of_the_head_the_name_covers() -> None:
    page = "Low Water (film)\nA drama."
    assert hops.about(terms("Low Water"), page) == 1.0
    assert hops.about(terms("Low"), page) == 0.5
    assert hops.about(terms("Low Water Mark"), page) == pytest.approx(2 / 3)
    assert hops.about(terms("Petra"), page) == 0.0
    assert hops.about(terms("Lindqvist Petra"), "Born as Anna, Petra Lindqvist films.") == hops.EARLY
    assert hops.about([], page) == 0.0


def test_the_capital_of_a_sentence_makes_no_name() -> None:
    text = "Hardly anyone came. Leland is a village. Carts stood by the mill, and Ada ran. Ada waved."
    assert hops.names(text) == ["Leland", "Ada"]
    assert hops.head("Hardly anyone came.") == []
    assert hops.head("Norland is a village with one inn.") == ["norland"]
