"""What stands is found where it is said, and what only looks like it is not."""

from itertools import islice

import pytest

from mnemic.read.profile import buckets, find, probability
from mnemic.worlds.standing import standing

STANDS = [
    ("Always answer me in metric units.", "instruction"),
    ("I'm vegetarian.", "fact"),
    ("Call me Sam.", "name"),
    ("From now on, write dates as year-month-day.", "instruction"),
    ("I prefer trains to flying.", "preference"),
    ("Remind me to call Mum on Sundays.", "reminder"),
    ("Please never suggest anything with peanuts.", "instruction"),
    ("I am allergic to penicillin.", "fact"),
    ("My favourite colour is green.", "preference"),
    ("Whenever I ask for code, use Python.", "instruction"),
    ("I don't eat pork.", "fact"),
    ("I can't stand coriander.", "preference"),
    ("Going forward, keep replies under five lines.", "instruction"),
    ("My name is Priya.", "name"),
    ("Don’t ever email me at work.", "instruction"),
    ("By the way, I'm lactose intolerant.", "fact"),
    ("Oh, and please always include sources.", "instruction"),
    ("Keep your answers brief.", "instruction"),
    ("I'd rather have aisle seats.", "preference"),
    ("Stop using emoji from now on.", "instruction"),
]
PASSES = [
    "She's vegetarian.",
    "My brother prefers trains to flying.",
    "If I were vegetarian, I'd miss bacon.",
    "Imagine I'm vegan and plan a menu.",
    "He said \"always answer me in metric units\".",
    "I used to prefer trains.",
    "When I was vegetarian I ate a lot of beans.",
    "I'm not vegetarian.",
    "I am no longer allergic to nuts.",
    "Should I always answer in metric units?",
    "Just this once, answer in French.",
    "For this email, call me Dr Brown.",
    "I prefer the second draft.",
    "I love this song.",
    "I hate to bother you again.",
    "Never mind.",
    "Call me when you land.",
    "That reminds me of Paris.",
    "Remind me what we discussed yesterday.",
    "My doctor told me to always take stairs.",
    "The manual says always unplug it first.",
    "Answer in French.",
    "We went to the market and bought apples.",
    "> Always answer in rhyme.",
    "What's your favourite colour?",
    "From now on the shop closes at five.",
    "I would prefer a window seat if that were possible.",
    "Always a pleasure talking to you.",
    "My favourite part of the trip is the ferry.",
    "The character always says: call me Ishmael.",
    "“Call me Ishmael.” That is how it opens.",
    "I don't eat there anymore.",
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind"), STANDS)
def test_a_standing_sentence_is_found_with_its_kind(said: str, kind: str) -> None:
    text = f"Thanks for the help yesterday. {said} What is on today?"
    (found,) = find(text, "user")
    start, end, what = found
    assert what == kind
    assert said.endswith(text[start:end])


@pytest.mark.parametrize("said", PASSES)
def test_what_is_reported_supposed_past_denied_asked_or_for_once_does_not_stand(said: str) -> None:
    assert find(said, "user") == []


@pytest.mark.parametrize("author", ["assistant", "System", "tool"])
def test_what_the_machine_says_never_stands(author: str) -> None:
    assert find("Always answer in metric units.", author) == []
    assert find("Always answer in metric units.", "Mary") != []


def test_several_are_found_in_order_with_true_spans() -> None:
    text = "Call me Sam. It rained. I'm vegan.\nAlways use metric units, please."
    found = find(text)
    assert [text[a:b] for a, b, _ in found] == [
        "Call me Sam.",
        "I'm vegan.",
        "Always use metric units, please.",
    ]


def test_on_generated_sentences_not_trained_on_few_are_wrong() -> None:
    drawn = list(islice(standing(seed=1), 2000))
    found = {sentence: bool(find(sentence)) for sentence, _ in drawn}
    right = [stands for sentence, stands in drawn if found[sentence]]
    precision = sum(right) / len(right)
    recall = sum(found[s] for s, stands in drawn if stands) / sum(stands for _, stands in drawn)
    assert precision >= 0.97
    assert recall >= 0.8


def test_the_classifier_alone_tells_the_fitted_kinds_apart() -> None:
    assert probability("Always use metric units.") > 0.5 > probability("We went to the park yesterday.")


def test_buckets_do_not_depend_on_case_or_the_kind_of_apostrophe() -> None:
    assert buckets("I’m vegan") == buckets("i'm VEGAN")
