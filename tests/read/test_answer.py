"""What `ask` promises whatever the question: real quotes, honest silence, nothing beyond the evidence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.read.answer import answer
from mnemic.types import Answer, Hit, Recall, Record

LIGHTHOUSE = (
    "The lighthouse at Cape Morrow was built by Edith Varga in 1871. It stands 43 metres tall. "
    "Its lamp was moved to the museum in Brindle because the glass had cracked. "
    "The first keeper, Jonas Pell, lived there with two goats and a telescope."
)
BAKERY = "The bakery on Tulip Street sells rye bread every Friday. Mr Okafor opens the shop at six."


def recalled(*texts: str) -> Recall:
    return Recall(tuple(Hit(Record(text=t, id=n), 1.0 / n) for n, t in enumerate(texts, 1)))


def assert_quotes_are_real(given: Answer) -> None:
    for citation in given.citations:
        assert citation.record.text[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who built the lighthouse at Cape Morrow?", "Edith Varga"),
        ("Who was the first keeper?", "Jonas Pell"),
        ("In what year was the lighthouse built?", "1871"),
        ("What does the bakery on Tulip Street sell?", "rye bread"),
    ],
)
def test_the_words_that_answer_are_quoted_and_cited(question: str, expected: str) -> None:
    given = answer(question, recalled(BAKERY, LIGHTHOUSE), threshold=0.0)
    assert expected in given.text
    assert_quotes_are_real(given)
    assert given.citations
    assert given.citations[0].quote == given.text


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(alphabet="abc XYZ.,?!'\"()\n1250%—é", max_size=60), max_size=4),
    st.text(alphabet="whoteabc XYZ?,'\"\n12", min_size=1, max_size=40).filter(str.strip),
)
def test_whatever_the_evidence_every_quote_is_a_real_substring(texts: list[str], question: str) -> None:
    given = answer(question, recalled(*texts), threshold=0.0)
    assert_quotes_are_real(given)
    assert given.abstained or given.citations


def test_a_higher_threshold_never_answers_what_a_lower_one_withheld() -> None:
    questions = ["Who built the lighthouse?", "Who sold the telescope?", "What is the capital of Peru?"]
    for question in questions:
        given = [answer(question, recalled(LIGHTHOUSE, BAKERY), threshold=t / 20) for t in range(21)]
        silent = [a.abstained for a in given]
        assert silent == sorted(silent)
        assert len({a.confidence for a in given}) == 1


def test_a_withheld_answer_shows_neither_words_nor_sources() -> None:
    given = answer("What is the capital of Peru?", recalled(BAKERY), threshold=1.0)
    assert (given.abstained, given.text, given.citations) == (True, "not in memory", ())


def test_who_somebody_is_is_told_by_a_name_or_not_at_all() -> None:
    hits = [
        Hit(Record(text=t, id=n), 1.0) for n, t in enumerate(("I read a book by the harbour.", "It was long."))
    ]
    assert answer("Who is the narrator of the book?", Recall(tuple(hits)), threshold=0).abstained
    hits.append(Hit(Record(text="The narrator of the book is Ada Lund.", id=9), 1.0))
    assert answer("Who is the narrator of the book?", Recall(tuple(hits)), threshold=0).text == "Ada Lund"


def test_without_evidence_it_is_not_in_memory() -> None:
    assert answer("Who went to sea?", Recall(()), threshold=0.0).abstained


def test_what_the_evidence_does_not_mention_is_trusted_less() -> None:
    evidence = recalled(LIGHTHOUSE)
    asked = answer("Who built the lighthouse at Cape Morrow?", evidence, threshold=0.0)
    foreign = answer("Who painted the chapel ceiling at Vinnoye?", evidence, threshold=0.0)
    assert foreign.confidence < asked.confidence


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        answer("Who?", recalled(BAKERY), threshold=threshold)


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(ValueError, match="question is empty"):
        answer("  ", recalled(BAKERY))


@pytest.mark.parametrize(
    ("told", "question", "expected"),
    [
        ("My dentist is Dr. Brodin.", "Who is my dentist?", "Dr. Brodin"),
        ("Mr. J. R. Hale sold me the boat.", "Who sold me the boat?", "Mr. J. R. Hale"),
        ("We met Mrs. Okoro at St. Mary's Hall.", "Where did we meet Mrs. Okoro?", "St. Mary's Hall"),
    ],
)
def test_a_title_or_an_initial_is_not_cut_from_its_name(told: str, question: str, expected: str) -> None:
    assert answer(question, recalled(told)).text == expected


PETS = (
    "We came home with a kitten yesterday, and after a long debate she is called Biscuit.",
    "My brother's dog goes by Captain.",
    "Our boat is named Albatross.",
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What did I name my cat?", "Biscuit"),
        ("What is my cat called?", "Biscuit"),
        ("What is the name of my brother's dog?", "Captain"),
        ("What did we call the boat?", "Albatross"),
        ("What did I name my parrot?", "not in memory"),
        ("What is my dog's name?", "not in memory"),
    ],
)
def test_a_name_is_that_of_what_is_said_to_be_called_so(question: str, expected: str) -> None:
    assert answer(question, recalled(*PETS)).text == expected


FRIEND = "My friend Nora works as a nurse at the city hospital."
OWN = "I started as a carpenter in the shipyard."


@pytest.mark.parametrize(
    ("texts", "author", "expected"),
    [
        ((FRIEND, "Nora got promoted to head nurse."), "me", "not in memory"),
        ((FRIEND, OWN), "me", "carpenter"),
        ((FRIEND, "Started as a glazier today."), "me", "glazier"),
        ((OWN,), "assistant", "not in memory"),
    ],
)
def test_what_the_asker_is_is_not_told_by_what_others_are(
    texts: tuple[str, ...], author: str, expected: str
) -> None:
    hits = tuple(Hit(Record(text=t, id=n, author=author), 1.0) for n, t in enumerate(texts, 1))
    assert expected in answer("What is my job?", Recall(hits), threshold=0).text
