"""The generated chat and tale are the same for the same seed and carry their answers where they say."""

import re

import pytest

from mnemic.segment.structure import headings
from mnemic.worlds.chat import Chat
from mnemic.worlds.tale import tale

CHAT = Chat(seed=3)


def test_the_same_seed_gives_the_same_chat_and_tale() -> None:
    assert Chat(seed=3).sessions == CHAT.sessions
    assert Chat(seed=4).sessions != CHAT.sessions
    assert tale(3) == tale(3)
    assert tale(3).text != tale(4).text


def test_turns_alternate_in_order_of_time_with_session_and_title() -> None:
    entries = CHAT.entries
    assert len({entry.session for entry in entries}) == 60
    times = [entry.when.start for entry in entries if entry.when]
    assert len(times) == len(entries)
    assert times == sorted(times)
    assert times[-1] < CHAT.now
    assert times[-1] - times[0] > 75 * 86400
    for entry in entries:
        assert entry.author == ("user", "assistant")[entry.order % 2]
        assert entry.title


@pytest.mark.parametrize("seed", range(8))
def test_the_answer_is_in_the_gold_turn_and_the_latest_wins(seed: int) -> None:
    chat = Chat(seed)
    entries = chat.entries
    kinds = {question.kind for question in chat.questions}
    assert kinds == {"fact", "latest", "advice", "absent"}
    for question in chat.questions:
        if question.kind == "absent":
            assert question.answers == question.gold == ()
            continue
        gold = entries[question.gold[0]]
        assert question.answers[0] in gold.text
        assert gold.author == ("assistant" if question.kind == "advice" else "user")
        if question.kind == "latest":
            told = [it for it in entries if it.title == gold.title and it.order == 0]
            assert len(told) > 1
            assert told[-1] == gold
            assert question.answers[0] not in told[0].text


def test_standing_instructions_are_where_the_chat_says() -> None:
    assert CHAT.standing
    for index, word in CHAT.standing:
        assert word in CHAT.entries[index].text
        assert CHAT.entries[index].author == "user"


def test_a_tale_has_the_chapters_it_was_asked_for_and_the_answers_in_them() -> None:
    told = tale(seed=7, chapters=12)
    chapters = re.split(r"\n\nCHAPTER [IVX]+\. ", told.text)[1:]
    assert [heading.title.split(".")[0] for heading in headings(told.text)[1:]][:3] == [
        "CHAPTER I",
        "CHAPTER II",
        "CHAPTER III",
    ]
    assert len(headings(told.text)) == 13
    assert len(chapters) == 12
    assert 3000 < len(told.text.split()) < 6000
    for question in told.questions:
        assert question.answers[0] in chapters[question.gold[0]]
        assert sum(question.answers[0] in chapter for chapter in chapters) == 1 or question.kind == "what"


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one session"):
        Chat(seed=1, length=0)
    assert len(Chat(seed=1, length=1).sessions) == 1
    with pytest.raises(ValueError, match="1 to 20 chapters"):
        tale(1, chapters=21)
