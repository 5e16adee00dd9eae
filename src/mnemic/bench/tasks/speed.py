"""How long remembering and recalling take, and how many bytes of memory a record costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.models import open_embedder
from mnemic.read.recall import recall
from mnemic.store import Store
from mnemic.store.mirror import Mirror
from mnemic.types import Embedder, Floats, MnemicError, Part, Record

NAME = "speed"
FOLDER = None
PROTOCOL = """Generated turns of 75 words (of 30,000, as frequent as rank^-1.05) with random unit vectors.
A memory of `records` turns is filled; then single turns are remembered without and with their embedding, each
one committed in full durability, and questions of 8 words of a random turn are recalled. All times in
milliseconds of wall clock, one case a call, after two calls to warm up; the medians are in `extra`.
commit_ms: one small value written with the same durability. bytes_per_record: resident memory after a mirror of
the file has answered, less that of before it was made, per record. Options: records (10000)."""

WORDS, VOCABULARY, DIM = 75, 30_000, 384


class Turns:
    """Endless turns of made-up words, as frequent as words are."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        share = np.arange(1, VOCABULARY + 1) ** -1.05
        self._share = share / share.sum()
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        self._words = [
            syllables[n % 70] + syllables[n // 70 % 70] + (syllables[n // 4900] if n >= 4900 else "")
            for n in range(VOCABULARY)
        ]

    def text(self) -> str:
        return " ".join(self._words[n] for n in self._random.choice(VOCABULARY, WORDS, p=self._share))

    def vector(self) -> Floats:
        vector = self._random.standard_normal(DIM).astype(np.float32)
        vector /= np.linalg.norm(vector)
        return vector


def run(data: Path | None, options: Options) -> Outcome:
    records, cases = int(options.extra.get("records", 10_000)), options.limit or 200
    turns, embedder = Turns(options.seed), open_embedder("default")
    assert embedder is not None
    embedder.encode(["warm"])
    with TemporaryDirectory() as folder, Store.open(Path(folder) / "speed.mnemic") as store:
        for at in options.progress(range(0, records, 1000), "filling"):
            texts = [turns.text() for _ in range(min(1000, records - at))]
            store.put(
                [Record(text=t, session=f"s{(at + n) // 20}", order=n % 20) for n, t in enumerate(texts)],
                [[Part(0, len(text), turns.vector())] for text in texts],
            )
        before = _resident()
        mirror = Mirror(store)
        mirror.refresh()
        asked = [_words_of(store.get([1 + n * (records - 1) // (cases + 2)])[0].text) for n in range(cases + 2)]
        for question in asked[:4]:
            recall(store, mirror, _Given(turns.vector()), question)
        grown = (_resident() - before) / records
        rows: list[Row] = []
        for n, question in enumerate(options.progress(asked, "asking")):
            plain, embedded = Record(text=turns.text(), session="p"), Record(text=turns.text(), session="e")
            row: Row = {"id": str(n)}
            row["commit_ms"] = _milliseconds(store.set_meta, "speed", str(time.time()))
            row["remember_ms"] = _milliseconds(store.put, [plain])
            row["remember_embedded_ms"] = _milliseconds(_remember, store, embedder, embedded)
            row["query_embedding_ms"] = _milliseconds(embedder.encode, [question])
            mirror.refresh()
            row["recall_ms"] = _milliseconds(recall, store, mirror, _Given(turns.vector()), question)
            rows.append(row)
    rows = rows[2:]
    medians = {name: float(np.median([row[name] for row in rows])) for name in rows[0] if name != "id"}
    extra: dict[str, Any] = {"records": records, "p50": medians, "bytes_per_record": round(grown)}
    return Outcome({"mnemic": rows}, extra=extra)


class _Given:
    """An embedder whose one vector is ready, so that recalling is timed without embedding the question."""

    name, dim, fingerprint = "given", DIM, "given"

    def __init__(self, vector: Floats) -> None:
        self._vector = vector

    def encode(self, texts: Any) -> Floats:
        return np.repeat(self._vector[None], len(texts), 0)

    def parts(self, texts: Any) -> list[list[Part]]:
        return [[Part(0, len(text), self._vector)] for text in texts]


def _words_of(text: str) -> str:
    return " ".join(text.split()[::9][:8])


def _remember(store: Store, embedder: Embedder, record: Record) -> None:
    store.put([record], embedder.parts([record.text]))


def _milliseconds(act: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    act(*arguments)
    return 1000 * (time.perf_counter() - begun)


def _resident() -> int:
    """Bytes of this process in memory."""
    try:
        import psutil
    except ImportError:
        raise MnemicError("the bench 'speed' needs psutil: pip install 'mnemic[bench]'") from None
    return int(psutil.Process().memory_info().rss)
