"""How long remembering and recalling take in a memory of some size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic import Memory
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.read.recall import recall
from mnemic.store import Store
from mnemic.types import Floats, Part, Record
from mnemic.worlds.tale import tale

NAME = "speed"
FOLDER = None
PROTOCOL = """Generated turns of 75 words (of 30,000, as frequent as rank^-1.05) with random unit vectors, put
there by the store. To a memory of `records` such turns single ones are remembered without and with their
embedding (the latter of a generated tale, whose words are whole tokens more often than made-up ones), each
durable on return, and questions of 8 words of a random turn are recalled, their vectors given. All times in
milliseconds of wall clock, one case a call, after two calls to warm up; p50 and p99 are in `extra`. commit_ms:
one small value written to the same file with the same durability, which is part of every remember_ms and twice
of every remember_embedded_ms. Options: records (10000)."""

WORDS, VOCABULARY, DIM = 75, 30_000, 384


class Turns:
    """Endless turns of made-up words, as frequent as words are."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        share = np.arange(1, VOCABULARY + 1) ** -1.05
        self._reach = np.cumsum(share / share.sum())
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        self._words = [
            syllables[n % 70] + syllables[n // 70 % 70] + (syllables[n // 4900] if n >= 4900 else "")
            for n in range(VOCABULARY)
        ]

    def text(self) -> str:
        drawn = np.searchsorted(self._reach, self._random.random(WORDS)).clip(max=VOCABULARY - 1)
        return " ".join([self._words[n] for n in drawn])

    def vector(self) -> Floats:
        vector = self._random.standard_normal(DIM).astype(np.float32)
        vector /= np.linalg.norm(vector)
        return vector

    def fill(self, store: Store, records: int, progress: Callable[[Iterable[int], str], Iterable[int]]) -> None:
        """Put so many turns there, in sessions of 20, each with a random vector."""
        for at in progress(range(0, records, 1000), "filling"):
            texts = [self.text() for _ in range(min(1000, records - at))]
            store.put(
                [Record(text=t, session=f"s{(at + n) // 20}", order=n % 20) for n, t in enumerate(texts)],
                [[Part(0, len(text), self.vector())] for text in texts],
            )


def told(seed: int) -> Iterator[str]:
    """Turns of 75 words of generated tales, whose words take as many tokens as words do."""
    for n in count(seed):
        words = tale(n).text.split()
        yield from (" ".join(words[at : at + WORDS]) for at in range(0, len(words) - WORDS, WORDS))


def question(text: str) -> str:
    """Eight words of a turn."""
    return " ".join(text.split()[::9][:8])


def run(data: Path | None, options: Options) -> Outcome:
    records, cases = int(options.extra.get("records", 10_000)), options.limit or 200
    turns, spoken = Turns(options.seed), told(options.seed)
    rows: list[Row] = []
    with TemporaryDirectory() as folder, Memory.open(Path(folder) / "speed.mnemic") as memory:
        turns.fill(memory.store, records, options.progress)
        embedder = memory.embedder
        assert embedder is not None
        asked = range(1, records + 1, -(-records // (cases + 2)))
        for id in options.progress(asked, "asking"):
            text = question(memory.store.get([id])[0].text)
            row: Row = {"id": str(id)}
            row["commit_ms"] = _milliseconds(memory.store.set_meta, "speed", str(id))
            row["remember_ms"] = _milliseconds(_remember, memory, turns.text(), False)
            row["remember_embedded_ms"] = _milliseconds(_remember, memory, next(spoken), True)
            row["query_embedding_ms"] = _milliseconds(embedder.encode, [text])
            memory.mirror.refresh()
            row["recall_ms"] = _milliseconds(recall, memory.store, memory.mirror, _Given(turns.vector()), text)
            rows.append(row)
    rows = rows[2:]
    spread = {
        name: dict(zip(("p50", "p99"), np.percentile([row[name] for row in rows], (50, 99)), strict=True))
        for name in rows[0]
        if name != "id"
    }
    return Outcome({"mnemic": rows}, extra={"records": records} | spread)


class _Given:
    """An embedder whose one vector is ready, so that recalling is timed without embedding the question."""

    name, dim, fingerprint = "given", DIM, "given"

    def __init__(self, vector: Floats) -> None:
        self._vector = vector

    def encode(self, texts: Any) -> Floats:
        return np.repeat(self._vector[None], len(texts), 0)

    def parts(self, texts: Any) -> list[list[Part]]:
        return [[Part(0, len(text), self._vector)] for text in texts]


def _remember(memory: Memory, text: str, vectors: bool) -> None:
    memory.remember(text, kind="turn", author="me", session="new", vectors=vectors)


def _milliseconds(act: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    act(*arguments)
    return 1000 * (time.perf_counter() - begun)
