"""A tiny language whose every question has one right answer, endless and seeded: tests for memories of tokens.

A page is a text and the questions asked about it. A fact is two tokens, a key and its value, told once
among filler words:

    text     <s> w9 w3 k17 V5 w8 w1 k5 V40 w2 ... ? k17 V5  first? k17 k5 k17  follow k17 V5 k5 V40
    answers                                             ^^                ^^^              ^^ ^^ ^^^

  needle   `? k17`            the value told for that key (one fact, several, or nothing but facts)
  order    `first? k17 k5`    which of two keys was told earlier
  threads  `follow k17`       fact to fact: V5 names k5, whose value is told elsewhere; every hop is written
  copy     `w1 .. wn again`   any string once more (no token twice, so that each decides the next)

Keys, values and words are disjoint, and no key is told twice: what is asked for stands in one place only.
Because greedy decoding follows the right answer until its first mistake, one pass over a page with all its
answers in place marks exactly what greedy generation would get right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnemic.types import Ints, Mask

PAD, START, ASK, FIRST, FOLLOW, AGAIN = range(6)
NAMES = 248
KEYS = 8  # the token of key 0
VALUES = KEYS + NAMES
WORDS = VALUES + NAMES
VOCABULARY = 768

_SIGNS = ("<pad>", "<s>", "?", "first?", "follow", "again")


@dataclass(frozen=True, slots=True)
class Page:
    """A text with questions: `ids` [n]; `answer` [n], true where a token is to be predicted."""

    ids: Ints
    answer: Mask


def word(token: int) -> str:
    """How a token is written: k17 a key, V17 a value, w3 a filler word.

    Raises:
        ValueError: outside the vocabulary.
    """
    if not 0 <= token < VOCABULARY:
        raise ValueError(f"token {token} is outside the vocabulary of {VOCABULARY}; ids run from 0 to 767")
    if token < KEYS:
        return _SIGNS[token] if token < len(_SIGNS) else f"<{token}>"
    for name, first in (("w", WORDS), ("V", VALUES), ("k", KEYS)):
        if token >= first:
            return f"{name}{token - first}"
    raise AssertionError(token)


def filler(rng: np.random.Generator, count: int) -> Ints:
    """`count` words, each drawn afresh."""
    return rng.integers(WORDS, VOCABULARY, count)


def facts(rng: np.random.Generator, count: int, thread: int = 0) -> Ints:
    """`count` facts [count, 2] as names; of the first `thread`, each one's value names the next one's key.

    Raises:
        ValueError: more facts than names.
    """
    if not 0 <= thread <= count < NAMES:
        raise ValueError(f"{count} facts with a thread of {thread}: there are {NAMES - 1} keys; ask for fewer")
    keys = rng.permutation(NAMES)
    values = rng.integers(0, NAMES, count)
    values[:thread] = keys[1 : thread + 1]
    if thread:
        values[thread - 1] = keys[count]  # the thread ends at a name nothing is told of
    return np.stack([keys[:count], values], axis=1)


def tell(rng: np.random.Generator, told: Ints, length: int) -> Ints:
    """A text of `length` tokens that tells the facts [n, 2] in the given order, at random places among filler.

    Raises:
        ValueError: the facts alone are longer than that.
    """
    words = length - 1 - 2 * len(told)
    if words < 0:
        raise ValueError(
            f"{len(told)} facts need {1 + 2 * len(told)} tokens, not {length}; tell fewer or write longer"
        )
    gaps = np.diff(np.sort(rng.integers(0, words + 1, len(told))), prepend=0)
    text = filler(rng, length)
    text[0] = START
    at = 1 + np.cumsum(gaps) + 2 * np.arange(len(told))
    text[at] = KEYS + told[:, 0]
    text[at + 1] = VALUES + told[:, 1]
    return text


def ask_value(told: Ints, row: int) -> tuple[list[int], list[int]]:
    """The question after one fact's value, and its answer."""
    key, value = told[row]
    return [ASK, KEYS + int(key)], [VALUES + int(value)]


def ask_first(told: Ints, row: int, other: int) -> tuple[list[int], list[int]]:
    """The question which of two facts was told first (`told` is in the order of telling), and its answer."""
    one, two, first = (KEYS + int(told[i, 0]) for i in (row, other, min(row, other)))
    return [FIRST, one, two], [first]


def ask_thread(told: Ints, row: int, hops: int) -> tuple[list[int], list[int]]:
    """The question where a thread leads, and its answer, hop by hop: value, the key it names, its value, ..."""
    value_of = {int(key): int(value) for key, value in told}
    name = int(told[row, 0])
    question = [FOLLOW, KEYS + name]
    answer = []
    for hop in range(hops):
        if hop:
            answer.append(KEYS + name)
        name = value_of[name]
        answer.append(VALUES + name)
    return question, answer


def page(text: Ints, questions: list[tuple[list[int], list[int]]]) -> Page:
    """The text followed by its questions, each with its answer in place."""
    ids: list[int] = []
    answer: list[bool] = []
    for question, right in questions:
        ids += question + right
        answer += [False] * len(question) + [True] * len(right)
    return Page(
        np.concatenate([text, np.array(ids, np.int64)]),
        np.concatenate([np.zeros(len(text), np.bool_), np.array(answer, np.bool_)]),
    )


def needle(rng: np.random.Generator, length: int, needles: int = 1, distractors: int = 8) -> Page:
    """`needles` facts asked for, among filler and facts nobody asks for."""
    told = facts(rng, needles + distractors)
    asked = rng.choice(len(told), needles, replace=False)
    return page(tell(rng, told, length - 3 * needles), [ask_value(told, row) for row in asked])


def recall(rng: np.random.Generator, length: int) -> Page:
    """Nothing but facts, and a question after each, in another order."""
    told = facts(rng, min((length - 1) // 5, NAMES - 1))
    order = rng.permutation(len(told))
    return page(tell(rng, told, 1 + 2 * len(told)), [ask_value(told, row) for row in order])


def threads(rng: np.random.Generator, length: int, hops: int = 3, distractors: int = 16) -> Page:
    """One thread of `hops` facts, told in any order among others, followed from its beginning."""
    linked = facts(rng, hops + distractors, hops)
    told = rng.permutation(linked)
    row = int(np.flatnonzero(told[:, 0] == linked[0, 0])[0])
    return page(tell(rng, told, length - 1 - 2 * hops), [ask_thread(told, row, hops)])


def order(rng: np.random.Generator, length: int, distractors: int = 8) -> Page:
    """Which of two keys was told first."""
    told = facts(rng, 2 + distractors)
    row, other = rng.choice(len(told), 2, replace=False)
    return page(tell(rng, told, length - 4), [ask_first(told, int(row), int(other))])


def copy(rng: np.random.Generator, length: int) -> Page:
    """A string of distinct tokens, written twice; the second time each but the first is an answer."""
    count = min((length - 2) // 2, VOCABULARY - KEYS)
    string = KEYS + rng.permutation(VOCABULARY - KEYS)[:count]
    ids = np.concatenate([[START], string, [AGAIN], string])
    answer = np.arange(len(ids)) > count + 2
    return Page(ids, answer)


TASKS: dict[str, Callable[[np.random.Generator, int], Page]] = {
    "needle": needle,
    "recall": recall,
    "threads": threads,
    "order": order,
    "copy": copy,
}
