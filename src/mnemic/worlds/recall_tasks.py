"""Synthetic tasks that ask one thing of a memory, made from a seed, with chance level known.

Every task gives token ids [n, length] and targets [n, length]: the token that must be said at that position,
or IGNORE where nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnemic.types import Ints

IGNORE = -100


@dataclass(frozen=True, slots=True)
class RecallTask:
    """Sequences with what must be said.

    Attributes:
        tokens: [n, length] ids in [0, vocab).
        targets: [n, length] the token to be said at each position, IGNORE where nothing is asked.
        vocab: number of different tokens.
        chance: share of right answers of one who knows the task and remembers nothing.
    """

    tokens: Ints
    targets: Ints
    vocab: int
    chance: float


def associative_recall(
    n: int, length: int, pairs: int, *, seed: int, vocab: int = 512, nearness: float = 0.01, noise: bool = True
) -> RecallTask:
    """Multi-query associative recall: key-value pairs first, later each key once more, in any order.

        tokens   k1 v1 k2 v2 k3 v3  x k2  x x  x k1  k3 x
        targets   .  .  .  .  .  .  . v2  . .  . v1  v3 .

    Keys are ids in [1, vocab/2), values in [vocab/2, vocab), none twice among the pairs. Queries stand at even
    distances after the pairs, near ones more likely: p(gap) ~ gap^(nearness - 1). The rest is zeros or, with
    `noise`, any tokens. Arora et al. 2023 (Zoology), paper 105's measure of recall.

    Raises:
        ValueError: pairs that do not fit into the length or the vocabulary.
    """
    if not 1 <= pairs <= min(length // 4, vocab // 2 - 1):
        raise ValueError(
            f"{pairs} pairs do not fit: a length of {length} holds {length // 4}, "
            f"a vocabulary of {vocab} {vocab // 2 - 1}; ask for fewer, or give more room"
        )
    random = np.random.default_rng(seed)
    tokens = random.integers(vocab, size=(n, length)) if noise else np.zeros((n, length), np.int64)
    targets = np.full((n, length), IGNORE, np.int64)
    gaps = (length - 2 * pairs) // 2
    # The `pairs` largest of log p + Gumbel noise are a draw without replacement.
    weight = (nearness - 1) * np.log(np.arange(1, gaps + 1)) + random.gumbel(size=(n, gaps))
    slots = random.permuted(np.argsort(-weight, 1)[:, :pairs], axis=1)
    keys = 1 + np.argsort(random.random((n, vocab // 2 - 1)), 1)[:, :pairs]
    values = vocab // 2 + np.argsort(random.random((n, vocab - vocab // 2)), 1)[:, :pairs]
    tokens[:, 0 : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values
    rows, places = np.arange(n)[:, None], 2 * pairs + 2 * slots
    tokens[rows, places], targets[rows, places] = keys, values
    return RecallTask(tokens, targets, vocab, 1 / pairs)
