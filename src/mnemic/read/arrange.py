"""Evidence laid out for a reader with a budget: what fits, and nothing important in the middle.

Models read the ends of a long context best (paper 49, lost in the middle). So the best evidence comes
first, the second best last, and so on inwards; the weakest lies in the middle, whatever the count:

    rank   1 3 5 6 4 2        (six)
    rank   1 3 5 4 2          (five)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnemic.types import Hit


def around_the_middle(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits, given best first, with the best at the start, the second at the end, the weakest inside."""
    return (*hits[::2], *hits[1::2][::-1])


def estimate_tokens(text: str) -> int:
    """Tokens of English text, about four bytes each; at least one."""
    return max(1, (len(text.encode()) + 3) // 4)


def within(hits: Sequence[Hit], tokens: int, count: Callable[[str], int] = estimate_tokens) -> tuple[Hit, ...]:
    """The hits that fit into `tokens`, best first: one too long is passed over whole, never cut.

    Raises:
        ValueError: a budget below one token.
    """
    if tokens < 1:
        raise ValueError(f"a budget of {tokens} tokens holds nothing; give at least 1")
    kept = []
    for hit in hits:
        cost = count(hit.record.text)
        if cost <= tokens:
            kept.append(hit)
            tokens -= cost
    return tuple(kept)
