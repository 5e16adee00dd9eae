"""Cuts by size: fixed windows of any stream, and passages of whole sentences of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mnemic.segment.sentences import sentences
from mnemic.types import Span, Stream

_WIDE = "぀-ヿ㐀-鿿가-힯"  # scripts without spaces: each character counts as a word
_WORD = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")


def fixed(stream: Stream, size: int) -> list[Span]:
    """Windows of `size` items; the last may be shorter.

    Raises:
        ValueError: `size` is not positive.
    """
    if size < 1:
        raise ValueError(f"a window must hold at least one item, not {size}")
    return [Span(start, min(start + size, len(stream))) for start in range(0, len(stream), size)]


def passages(text: str, *, words: int = 150, walls: Sequence[int] = ()) -> list[Span]:
    """Whole sentences packed into stretches of about equal length, at most `words` words each.

    A stretch between walls is shared out evenly, so that no short remainder is left, and paragraph ends
    near the even share are preferred. A sentence longer than `words` is cut between words.

    Args:
        walls: characters that no passage crosses, ascending, e.g. where sections start.

    Returns:
        Spans of characters that tile the text.

    Raises:
        ValueError: `words` is not positive.
    """
    if words < 1:
        raise ValueError(f"a passage must hold at least one word, not {words}")
    found: list[Span] = []
    edges = [0, *walls, len(text)]
    for start, stop in pairwise(edges):
        stretch = text[start:stop]
        found += [Span(start + span.start, start + span.stop) for span in _share(stretch, words)]
    return found


def _share(text: str, limit: int) -> list[Span]:
    """Passages of one stretch between walls."""
    pieces = list(_pieces(text, limit))
    left = sum(weight for _, _, weight in pieces)
    found: list[Span] = []
    first = held = 0
    target = _even(left, limit)

    def close(stop: int) -> None:
        nonlocal first, held, left, target
        found.append(Span(first, stop))
        first, held, left = stop, 0, left - held
        target = _even(left, limit)

    for start, stop, weight in pieces:
        if held and (held + weight > limit or held + weight / 2 > target):
            close(start)
        held += weight
        if left > limit and held > 0.8 * target and text.endswith("\n\n", start, stop):
            close(stop)
    if first < len(text):
        close(len(text))
    return found


def _pieces(text: str, limit: int) -> Iterator[tuple[int, int, int]]:
    """Sentences with their numbers of words; a sentence of more than `limit` in pieces of `limit`."""
    for span in sentences(text):
        sentence = text[span.start : span.stop]
        weight = count(sentence)
        if weight <= limit:
            yield span.start, span.stop, weight
            continue
        starts = [span.start + match.start() for match in _WORD.finditer(sentence)]
        cuts = [span.start, *starts[limit::limit], span.stop]
        for number, (start, stop) in enumerate(pairwise(cuts)):
            yield start, stop, min(limit, weight - number * limit)


def _even(total: int, limit: int) -> float:
    """The size of each of the fewest equal shares of `total` that are within `limit`."""
    return total / max(1, -(-total // limit))


def count(text: str) -> int:
    """The number of words; in scripts without spaces, of characters."""
    return len(text.split() if text.isascii() else _WORD.findall(text))
