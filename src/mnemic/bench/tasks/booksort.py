"""Book-SORT (paper 24): which of two passages of a novel came first, the whole book in memory."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mnemic import sources
from mnemic.bench.held import held
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.read.order import order
from mnemic.retain import recency
from mnemic.store.budget import enforce
from mnemic.types import DEFAULT_SPACE, Budget, Filter, MnemicError

NAME = "booksort"
FOLDER = "booksort"
PROTOCOL = """All books in one memory, as passages; a pair is asked without saying its book. The first 100
pairs of every book, excerpt length, segment length and distance bin are cases, as in the paper; a limit
takes so many, spread over all. accuracy@L: share of pairs in excerpts of L words put in the right order; a
passage not found is a wrong answer. "one word in ten changed": that share of each passage's words, at
random places, is replaced by words of the books. "string search": the first place of the passage in its
book, white space squeezed. "half the bytes": asked after retention by recency has halved the bytes.
found@L: share of pairs of which both passages are found; settled@L: accuracy among those."""

LENGTHS = (250, 1000, 2500, 10000, 20000)
SEGMENTS = (20, 50)
BIN = 100


@dataclass(frozen=True)
class Pair:
    id: str
    book: str
    length: int
    a: str
    b: str
    first: str


def pairs(data: Path) -> list[Pair]:
    """The evaluated pairs, spread: in the order of a hash of their ids."""
    found = []
    for length in LENGTHS:
        for size in SEGMENTS:
            path = data / f"segments_{length}-s{size}-n110.csv"
            if not path.exists():
                raise MnemicError(f"{data} is not the Book-SORT folder: {path.name} is missing")
            seen: dict[tuple[str, str], int] = {}
            with path.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    of = row["book_idx"], row["distance_bin"]
                    seen[of] = seen.get(of, 0) + 1
                    if seen[of] <= BIN:
                        found.append(_pair(row, length, size))
    return sorted(found, key=lambda pair: sha256(pair.id.encode()).digest())


def _pair(row: dict[str, str], length: int, size: int) -> Pair:
    one, two = row["segment_1"].strip("*"), row["segment_2"].strip("*")
    if row["present_seg1_first"] == "0":
        one, two = two, one
    earlier = int(row["seg1_pos"]) < int(row["seg2_pos"])
    first = "a" if earlier == (row["present_seg1_first"] != "0") else "b"
    id = "-".join([row["book_idx"], str(length), str(size), row["excerpt_idx"], row["segment_idx"],
                   row["distance_bin"]])  # fmt: skip
    return Pair(id, row["book_idx"], length, one, two, first)


def changed(passage: str, vocabulary: Sequence[str], draw: random.Random) -> str:
    """The passage with one word in ten replaced."""
    words = passage.split()
    for at in draw.sample(range(len(words)), round(len(words) / 10)):
        words[at] = draw.choice(vocabulary)
    return " ".join(words)


def run(data: Path, options: Options) -> Outcome:
    chosen = options.chosen(pairs(data), lambda pair: pair.id)
    texts = {path.name.split("-")[0]: path for path in sorted(data.glob("*-0.txt"))}
    records = [record for path in texts.values() for record in sources.read(path)]
    books = {book: " ".join(path.read_text(encoding="utf-8").split()) for book, path in texts.items()}
    vocabulary = sorted({word for book in books.values() for word in book.split()})
    draw = random.Random(options.seed)
    damaged = [(changed(p.a, vocabulary, draw), changed(p.b, vocabulary, draw)) for p in chosen]
    intact = [(pair.a, pair.b) for pair in chosen]

    def searched(pair: Pair) -> Row:
        a, b = books[pair.book].find(pair.a), books[pair.book].find(pair.b)
        first = None if min(a, b) < 0 else "a" if a < b else "b"
        return _row(pair, first, min(a, b) >= 0)

    with held(records, None) as (store, mirror):

        def located(label: str, passages: Sequence[tuple[str, str]]) -> list[Row]:
            asked = options.progress(list(zip(chosen, passages, strict=True)), label)
            answers = [(pair, order(store, mirror, a, b, Filter())) for pair, (a, b) in asked]
            return [_row(pair, said.first, bool(said.a and said.b)) for pair, said in answers]

        systems = {
            "mnemic": located("whole", intact),
            "mnemic, one word in ten changed": located("changed", damaged),
            "string search": [searched(pair) for pair in chosen],
        }
        _, traces = store.trace_stats(DEFAULT_SPACE)
        enforce(store, Budget(nbytes=int(traces.nbytes.sum()) // 2), recency.keep, DEFAULT_SPACE, time.time())
        mirror.refresh()
        systems["mnemic, half the bytes"] = located("half", intact)
    return Outcome(systems)


def _row(pair: Pair, first: str | None, both_found: bool) -> Row:
    """A row of one excerpt length; `settled` is the accuracy where both passages were found."""
    right = float(first == pair.first)
    row: Row = {"id": pair.id, f"accuracy@{pair.length}": right, f"found@{pair.length}": float(both_found)}
    return row | ({f"settled@{pair.length}": right} if both_found else {})
