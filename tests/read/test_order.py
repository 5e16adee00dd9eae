import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.read.order import align, locate, order, words
from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Filter, Record, When

NOUNS = ("river mountain lantern captain orchard stranger window kettle harbour soldier garden letter "
         "mirror bridge candle shepherd winter tower market violin").split()  # fmt: skip
VERBS = "crossed found carried forgot painted followed counted mended hid opened".split()


def tale(seed: int, sentences: int) -> list[str]:
    draw = random.Random(seed)
    return [
        f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)} before the "
        f"{draw.choice(NOUNS)} {draw.choice(VERBS)} a {draw.choice(NOUNS)} number {draw.randrange(10**6)}."
        for _ in range(sentences)
    ]


class Library:
    def __init__(self, path: Path) -> None:
        self.store = Store.open(path / "m.mnemic", durability="normal")
        self.mirror = Mirror(self.store)

    def add(self, text: str, size: int = 400, **fields: object) -> list[Record]:
        """Cut anywhere, also inside sentences: passages span records."""
        cuts = [0]
        while cuts[-1] < len(text):
            at = text.find(" ", cuts[-1] + size)
            cuts.append(len(text) if at < 0 else at + 1)
        records = [
            Record(text=text[a:b], start=a, end=b, order=i, **fields)  # type: ignore[arg-type]
            for i, (a, b) in enumerate(pairwise(cuts))
        ]
        stored = self.store.put(records)
        self.mirror.refresh()
        return stored

    def order(self, a: str, b: str, space: str = "default") -> object:
        return order(self.store, self.mirror, a, b, Filter(space=space))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path)
    yield library
    library.store.close()


def changed(passage: str, draw: random.Random) -> str:
    """One word in ten replaced by another of the same text."""
    some = passage.split()
    for at in draw.sample(range(len(some)), max(1, len(some) // 10)):
        some[at] = draw.choice(NOUNS)
    return " ".join(some)


@given(st.lists(st.sampled_from("abcd"), max_size=25), st.lists(st.sampled_from("abcde"), max_size=40))
def test_the_start_found_is_the_one_most_words_agree_on(passage: list[str], memory: list[str]) -> None:
    reach = len(passage) // 10
    votes = {
        start: {
            i for i, word in enumerate(passage) if 0 <= start + i < len(memory) and memory[start + i] == word
        }
        for start in range(-len(passage) - reach, len(memory) + reach)
    }
    bands = {
        middle: [start for start in range(middle - reach, middle + reach + 1) if votes.get(start)]
        for middle in range(-len(passage) - reach, len(memory) + reach)
    }
    middle = max(bands, default=0, key=lambda m: (sum(len(votes[start]) for start in bands[m]), -m))
    if not any(bands.values()):
        assert align(passage, memory) == (0, 0)
        return
    start = max(bands[middle], key=lambda start: (len(votes[start]), -start))
    assert align(passage, memory) == (start, len(set().union(*(votes[start] for start in bands[middle]))))


def test_a_word_replaced_by_two_does_not_lose_the_rest() -> None:
    memory = [f"w{i}" for i in range(100)]
    passage = memory[30:60]
    passage[7:8] = ["some", "thing"]
    passage[20:21] = ["any", "thing"]
    start, agreeing = align(passage, memory)
    assert abs(start - 30) <= 2
    assert agreeing == 28


def test_words_are_folded_and_say_where_they_stand() -> None:
    text = "“Ça va,” said MR. O’Neil—twice; 東京"
    assert [word for word, _ in words(text)] == ["ca", "va", "said", "mr", "o", "neil", "twice", "東", "京"]
    assert all(text[at].isalnum() for _, at in words(text))


def test_every_pair_of_a_tale_is_put_in_order_also_with_one_word_in_ten_changed(library: Library) -> None:
    sentences = tale(0, 300)
    text = " ".join(sentences)
    library.add(text, source="tale")
    draw = random.Random(1)
    for _ in range(60):
        first, second = sorted(draw.sample(range(0, 298, 2), 2))
        a, b = " ".join(sentences[first : first + 2]), " ".join(sentences[second : second + 2])
        assert library.order(a, b).first == "a"  # type: ignore[attr-defined]
        assert library.order(changed(b, draw), changed(a, draw)).first == "b"  # type: ignore[attr-defined]


def test_swapping_the_passages_swaps_the_answer_and_nothing_else(library: Library) -> None:
    sentences = tale(2, 60)
    library.add(" ".join(sentences), source="tale")
    one = library.order(sentences[3], sentences[40])
    other = library.order(sentences[40], sentences[3])
    assert (one.first, other.first) == ("a", "b")  # type: ignore[attr-defined]
    assert (one.a, one.b) == (other.b, other.a)  # type: ignore[attr-defined]


def test_the_place_is_the_character_the_passage_starts_at(library: Library) -> None:
    sentences = tale(3, 80)
    text = " ".join(sentences)
    library.add(text, source="tale")
    for sentence in sentences[::7]:
        place = locate(library.store, library.mirror, sentence.upper(), Filter())
        assert place is not None
        assert place.start == text.index(sentence)
        assert place.record.start <= place.start < place.record.end
        assert place.agreement == 1.0


def test_a_passage_over_three_records_is_found_where_it_begins(library: Library) -> None:
    text = " ".join(tale(4, 60))
    library.add(text, size=120, source="tale")
    middle = text.index(" ", len(text) // 2) + 1
    place = locate(library.store, library.mirror, text[middle : middle + 360], Filter())
    assert place is not None
    assert place.start == middle


def test_other_punctuation_and_quotes_change_nothing(library: Library) -> None:
    library.add("It was late. “Who's there?” asked the captain—nobody answered! The river rose.", source="tale")
    place = locate(
        library.store, library.mirror, '"Who\'s there", asked the captain. Nobody answered', Filter()
    )
    assert place is not None
    assert place.start == 14


def test_a_passage_not_in_memory_is_not_placed(library: Library) -> None:
    sentences = tale(5, 40)
    library.add(" ".join(sentences), source="tale")
    found = library.order(sentences[2], "Nothing like these many other words was ever written here by anyone.")
    assert found.first is None  # type: ignore[attr-defined]
    assert found.a is not None  # type: ignore[attr-defined]
    assert found.b is None  # type: ignore[attr-defined]


def test_across_sources_the_time_it_happened_decides_and_without_times_nothing(library: Library) -> None:
    one, two, undated = (" ".join(tale(seed, 6)) for seed in (6, 7, 8))
    library.add(one, source="z", when=When.parse("1851"))
    library.add(two, source="a", when=When.parse("1852-03"))
    library.add(undated, source="m")
    assert library.order(two, one).first == "b"  # type: ignore[attr-defined]
    assert library.order(one, undated).first is None  # type: ignore[attr-defined]


def test_another_space_is_never_looked_into(library: Library) -> None:
    sentences = tale(9, 30)
    library.add(" ".join(sentences), source="tale", space="other")
    found = library.order(sentences[2], sentences[9])
    assert (found.a, found.b) == (None, None)  # type: ignore[attr-defined]
    assert library.order(sentences[2], sentences[9], space="other").first == "a"  # type: ignore[attr-defined]


def test_a_passage_without_words_is_refused(library: Library) -> None:
    with pytest.raises(ValueError, match="no word"):
        library.order("...", "the river")
