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
        told: tokens of every sequence that come before the questions; who has not read them can only guess.
    """

    tokens: Ints
    targets: Ints
    vocab: int
    chance: float
    told: int


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
    return RecallTask(tokens, targets, vocab, 1 / pairs, told=2 * pairs)


def joint_recall(n: int, contexts: int, keys: int, *, seed: int, symbols: int = 16) -> RecallTask:
    """Multi-query joint recall: the same key has another value in every context.

        tokens   ^  C2 k1 v5 k2 v3  C1 k2 v5 k1 v9  |  C1 k1 v9 k2 v5  C2 k2 v3 k1 v5
        targets  .  .  .  .  .  .   .  .  .  .  .   .  .  v9 .  v5 .   .  v3 .  v5 .

    Contexts, their order, the order of the keys within each (drawn anew the second time) and the value of every
    key in every context are random; there are `symbols` of each kind, ids from 2: contexts, keys, values. A key
    alone tells its value to one in `contexts`. The answer to a key is taught before the next is asked.
    Zhan et al. 2025 (HAX), paper 90.

    Raises:
        ValueError: more contexts or keys than symbols, or none.
    """
    if not (1 <= contexts <= symbols and 1 <= keys <= symbols):
        raise ValueError(
            f"{contexts} contexts and {keys} keys need as many symbols each, from 1 to {symbols}; "
            "give more symbols"
        )
    random = np.random.default_rng(seed)
    chosen = 2 + np.argsort(random.random((n, symbols)), 1)[:, :contexts]
    names = 2 + symbols + np.argsort(random.random((n, symbols)), 1)[:, :keys]
    values = 2 + 2 * symbols + random.integers(symbols, size=(n, contexts, keys))
    rows = np.arange(n)[:, None, None]

    def listed() -> tuple[Ints, Ints]:
        """[n, contexts, 1 + 2 keys]: every context with its keys and values, in a new order; and the values."""
        order = random.permuted(np.tile(np.arange(contexts), (n, 1)), axis=1)[:, :, None]
        within = random.permuted(np.tile(np.arange(keys), (n, contexts, 1)), axis=2)
        block = np.empty((n, contexts, 1 + 2 * keys), np.int64)
        block[:, :, 0] = chosen[rows[..., 0], order[..., 0]]
        block[:, :, 1::2], block[:, :, 2::2] = names[rows, within], values[rows, order, within]
        said = np.full_like(block, IGNORE)
        said[:, :, 1::2] = block[:, :, 2::2]
        return block.reshape(n, -1), said.reshape(n, -1)

    first, second = listed(), listed()
    start, bar, silent = (np.full((n, 1), id) for id in (0, 1, IGNORE))
    tokens = np.concatenate([start, first[0], bar, second[0]], 1)
    told = 2 + first[0].shape[1]
    targets = np.concatenate([np.repeat(silent, told, 1), second[1]], 1)
    return RecallTask(tokens, targets, 2 + 3 * symbols, 1 / symbols, told)


def selective_copying(n: int, length: int, items: int, *, seed: int, vocab: int = 16) -> RecallTask:
    """Selective copying: items among noise at random places, to be said in their order afterwards.

        tokens   .  a  .  .  b  .  .  c  .  >  >  >
        targets  .  .  .  .  .  .  .  .  .  a  b  c

    Noise is id 0, items are ids in [1, vocab - 1), the marker is vocab - 1; `length` counts all tokens. Where
    the items stand differs from sequence to sequence, so a memory must choose by content what it keeps.
    Arjovsky et al. 2016; Gu and Dao 2023 (Mamba).

    Raises:
        ValueError: items that do not fit.
    """
    if not 1 <= items <= length // 2 or vocab < 3:
        raise ValueError(
            f"{items} items do not fit into a length of {length} with a vocabulary of {vocab}: at most half of "
            "the tokens are items, and a vocabulary has 3 ids or more"
        )
    random = np.random.default_rng(seed)
    told = length - items
    places = np.sort(np.argsort(random.random((n, told)), 1)[:, :items], 1)
    data = random.integers(1, vocab - 1, size=(n, items))
    tokens = np.zeros((n, length), np.int64)
    tokens[np.arange(n)[:, None], places], tokens[:, told:] = data, vocab - 1
    targets = np.full((n, length), IGNORE, np.int64)
    targets[:, told:] = data
    return RecallTask(tokens, targets, vocab, 1 / (vocab - 2), told)


def set_intersection(n: int, first: int, second: int, *, seed: int, vocab: int = 256) -> RecallTask:
    """Set disjointness, as the question which one token two sets share.

        tokens   [  a b c d  ,  x y b z  ?         the sets have `first` and `second` members
        targets  .  . . . .  .  . . . .  b

    Whoever can say the shared token can say whether there is one. A reader who keeps one set and looks the
    other up against it needs a state as large as the first set: with the large set first the same question is
    harder, unless it is read twice. Ids: `[` 1, `,` 2, `?` 3, members from 4; members within a set differ.
    Arora et al. 2024 (Just read twice), paper 54.

    Raises:
        ValueError: sets that do not fit into the vocabulary.
    """
    if min(first, second) < 1 or first + second - 1 > vocab - 4:
        raise ValueError(
            f"sets of {first} and {second} members, one shared, need {first + second - 1} ids but a vocabulary "
            f"of {vocab} has {vocab - 4}; give a larger vocab"
        )
    random = np.random.default_rng(seed)
    members = 4 + np.argsort(random.random((n, vocab - 4)), 1)[:, : first + second]
    a, b = members[:, :first], members[:, first : first + second - 1]
    shared = a[np.arange(n), random.integers(first, size=n)][:, None]
    b = random.permuted(np.concatenate([b, shared], 1), axis=1)
    opening, comma, question = (np.full((n, 1), id) for id in (1, 2, 3))
    tokens = np.concatenate([opening, a, comma, b, question], 1)
    targets = np.full_like(tokens, IGNORE)
    targets[:, -1:] = shared
    return RecallTask(tokens, targets, vocab, 1 / (vocab - 4), told=2 + first + second)


def passkey(
    n: int, length: int, *, seed: int, digits: int = 5, depth: float | None = None, filler: int = 8
) -> RecallTask:
    """A passkey told once among words that say the same over and over, and asked for at the end.

        tokens   w3 w4 w5 w6  !  7 0 2  w7 w0 w1 w2 w3 w4  !  7 0 2
        targets   .  .  .  .  .  . . .   .  .  .  .  .  .  7  0 2 .

    The words are a round of `filler` ones entered at a random place, the passkey `digits` random digits. It
    stands at a random place, or at `depth` of the text: 0 is its start, 1 just before the question. The text
    may be far longer than those a model was trained on. Ids: `!` 0, digits 1 to 10, words from 11.
    Mohtashami and Jaggi 2023; measure of length of paper 141 (Stuffed Mamba).

    Raises:
        ValueError: a text too short for the passkey and its question, or a depth outside [0, 1].
    """
    room = length - 2 * (digits + 1)
    if digits < 1 or filler < 1 or room < 0:
        raise ValueError(
            f"a passkey of {digits} digits and its question take {2 * (digits + 1)} tokens, "
            f"more than {length}; give a longer text"
        )
    if depth is not None and not 0 <= depth <= 1:
        raise ValueError(f"a depth lies from 0, the start, to 1, just before the question; not {depth}")
    random = np.random.default_rng(seed)
    key = 1 + random.integers(10, size=(n, digits))
    places = random.integers(room + 1, size=n) if depth is None else np.full(n, round(depth * room))
    words = 11 + (random.integers(filler, size=(n, 1)) + np.arange(length)) % filler
    told = length - digits - 1
    line = np.concatenate([np.zeros((n, 1), np.int64), key], 1)
    rows, at = np.arange(n)[:, None], places[:, None] + np.arange(digits + 1)
    tokens, targets = words, np.full((n, length), IGNORE, np.int64)
    tokens[rows, at] = tokens[:, told:] = line
    targets[:, told:-1] = key
    return RecallTask(tokens, targets, 11 + filler, 0.1, told)
