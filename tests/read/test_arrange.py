import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic.read.arrange import around_the_middle, estimate_tokens, within
from mnemic.types import Hit, Record


def hits(count: int, words: int = 10) -> list[Hit]:
    return [Hit(Record(text=f"w{rank} " * words, id=rank), 1 / rank) for rank in range(1, count + 1)]


def ranks(some: tuple[Hit, ...]) -> list[int]:
    return [hit.record.id for hit in some]


def test_even_and_odd_counts_put_the_best_first_and_the_second_best_last() -> None:
    assert ranks(around_the_middle(hits(6))) == [1, 3, 5, 6, 4, 2]
    assert ranks(around_the_middle(hits(5))) == [1, 3, 5, 4, 2]
    assert ranks(around_the_middle(hits(2))) == [1, 2]


@given(st.integers(0, 40))
def test_the_further_from_an_end_the_weaker_and_nothing_is_lost(count: int) -> None:
    laid = ranks(around_the_middle(hits(count)))
    assert sorted(laid) == list(range(1, count + 1))
    weakest = laid.index(count) if count else 0
    assert laid[: weakest + 1] == sorted(laid[: weakest + 1])
    assert laid[weakest:] == sorted(laid[weakest:], reverse=True)


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 200))
def test_a_budget_is_kept_and_filled_best_first(lengths: list[int], budget: int) -> None:
    some = [Hit(Record(text="x" * size, id=rank), 0.0) for rank, size in enumerate(lengths)]
    kept = within(some, budget, len)
    left, expected = budget, []
    for rank, size in enumerate(lengths):
        if size <= left:
            left -= size
            expected.append(rank)
    assert ranks(kept) == expected
    assert sum(len(hit.record.text) for hit in kept) <= budget


def test_a_record_is_kept_whole_or_not_at_all() -> None:
    some = hits(3, words=100)
    assert all(hit in some for hit in within(some, 150))


def test_the_estimate_grows_with_the_text_and_is_never_zero() -> None:
    assert estimate_tokens("") == 1
    assert estimate_tokens("memory" * 100) == 150
    with pytest.raises(ValueError, match="at least 1"):
        within([], 0)
