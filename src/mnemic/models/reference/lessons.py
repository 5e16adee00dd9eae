"""What the reference model is taught: pages of `mnemic.worlds.tokens`, many questions a page.

A page of the tasks asks little of a long text; here one text is asked about until the page is full, which
gives the same tokens many times the answers. Lengths, numbers of facts and lengths of threads vary, so that
nothing but the text itself says where an answer stands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnemic.types import Ints
from mnemic.worlds import tokens

KINDS = ("needle", "recall", "threads", "order", "copy")
WEIGHTS = (0.08, 0.15, 0.14, 0.40, 0.23)  # of the pages of each kind, in the order of KINDS
DENSE = 0.7  # pages with many questions; the others are the tasks' own, with one


def lesson(rng: np.random.Generator, kind: str, length: int) -> tokens.Page:
    """One page of a kind, at most `length` tokens."""
    if kind == "copy":
        return tokens.copy(rng, int(rng.integers(8, length + 1)))
    if kind == "recall":
        return tokens.recall(rng, int(rng.integers(length // 4, length + 1)))
    if rng.random() >= DENSE:
        return tokens.TASKS[kind](rng, int(rng.integers(length // 2, length + 1)))
    asking = length // 3
    count = int(rng.integers(4, max(5, min(48, (length - asking) // 4))))
    thread = int(rng.integers(2, min(count - 1, 6) + 1)) if kind == "threads" else 0
    linked = tokens.facts(rng, count, thread)
    told = rng.permutation(linked)
    row_of = {int(key): row for row, key in enumerate(told[:, 0])}
    questions: list[tuple[list[int], list[int]]] = []
    left = asking
    pairs = rng.permutation(count)[: count // 2 * 2].reshape(-1, 2).tolist()  # no key is asked for twice
    while left > 0 and (kind != "order" or pairs):
        row = int(rng.integers(count))
        if kind == "needle":
            questions.append(tokens.ask_value(told, row))
        elif kind == "order":
            questions.append(tokens.ask_first(told, *pairs.pop()))
        else:
            begin = int(rng.integers(thread))
            questions.append(tokens.ask_thread(told, row_of[int(linked[begin, 0])], thread - begin))
        left -= sum(map(len, questions[-1]))
    asked = sum(len(question) + len(right) for question, right in questions)
    return tokens.page(tokens.tell(rng, told, length - asked), questions)


def batch(rng: np.random.Generator, rows: int, length: int) -> tuple[Ints, Any, Ints]:
    """Pages side by side: ids [rows, length] (padded at the end), what each answer weighs, kind of each row.

    A page with n answers weighs sqrt(n) in all: one that asks little is not drowned by a long copy.
    """
    ids = np.full((rows, length), tokens.PAD, np.int64)
    weight = np.zeros((rows, length))
    kinds = rng.choice(len(KINDS), rows, p=WEIGHTS)
    for row, kind in enumerate(kinds):
        page = lesson(rng, KINDS[kind], length)
        ids[row, : len(page.ids)] = page.ids
        weight[row, : len(page.ids)] = page.answer / np.sqrt(page.answer.sum())
    return ids, weight, kinds
