"""How long a book takes to be remembered: its words, and its vectors beside sentence-transformers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic import Memory, sources
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.flat import search
from mnemic.models.minilm import BATCH_TOKENS, MiniLM
from mnemic.types import Floats, MnemicError

NAME = "reading"
FOLDER = "books"
PROTOCOL = """The passages into which `remember` cuts the longest text of the folder (War and Peace), or
`--limit` of them, evenly spread. Both embedders run in one process with the same threads, in turn on the same
256 passages, each block a case: seconds, passages per second, speedup (their seconds by ours);
sentence-transformers encodes with its defaults (batch of 32). overlap@10: of the ten passages nearest to a
passage by our vectors, how many are by theirs (exact, over all passages, itself left out). forward_share: of
the time of remembering the same passages through `Memory`, durable, 256 at a time, how much is inside the
forward pass. words_mb_per_minute: each text of the folder remembered without vectors, UTF-8 bytes of text."""

BLOCK = 256
NEAREST = 10


class _Timed(MiniLM):
    """The default embedder, and how long its model has computed."""

    seconds = 0.0

    def _forward(self, sequences: Sequence[list[int]]) -> Floats:
        begun = time.perf_counter()
        vectors = super()._forward(sequences)
        self.seconds += time.perf_counter() - begun
        return vectors


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    assert data is not None
    books = sorted(data.glob("*.txt"), key=lambda path: path.stat().st_size)
    if not books:
        raise MnemicError(f"the bench 'reading' needs books as .txt files; {data} has none")
    passages = [record.text for record in sources.read(books[-1])]
    count = min(options.limit or len(passages), len(passages))
    texts = [passages[at] for at in np.linspace(0, len(passages) - 1, count).astype(int)]
    ours, theirs = _side_by_side(texts, options)
    ours += _remembered(texts)
    ours += [_words_alone(book) for book in options.progress(books, "words alone")]
    extra = {
        "book": books[-1].name,
        "passages": count,
        "threads": torch.get_num_threads(),
        "precision": str(MiniLM()._weights.words.dtype).removeprefix("torch."),
        "batch_tokens": BATCH_TOKENS,
    }
    return Outcome({"mnemic": ours, "sentence-transformers": theirs}, extra=extra)


def _side_by_side(texts: Sequence[str], options: Options) -> tuple[list[Row], list[Row]]:
    from sentence_transformers import SentenceTransformer

    embedder = MiniLM()
    other = SentenceTransformer(str(embedder._folder), device="cpu")
    encoders: list[Callable[[Sequence[str]], Any]] = [
        embedder.encode,
        lambda some: other.encode(list(some), normalize_embeddings=True, show_progress_bar=False),
    ]
    for encode in encoders:
        encode(texts[:4])
    rows: tuple[list[Row], list[Row]] = ([], [])
    vectors: tuple[list[Floats], list[Floats]] = ([], [])
    for n, at in enumerate(options.progress(range(0, len(texts), BLOCK), "embedding")):
        some = texts[at : at + BLOCK]
        for system in (0, 1) if n % 2 else (1, 0):
            begun = time.perf_counter()
            vectors[system].append(encoders[system](some))
            took = time.perf_counter() - begun
            row = {"id": f"block {n}", "seconds": took, "passages_per_second": len(some) / took}
            rows[system].append(row)
        rows[0][-1]["speedup"] = rows[1][-1]["seconds"] / rows[0][-1]["seconds"]
    shared = overlap(np.concatenate(vectors[0]), np.concatenate(vectors[1]))
    rows[0].extend({"id": f"passage {n}", "overlap@10": float(share)} for n, share in enumerate(shared))
    return rows


def overlap(a: Floats, b: Floats) -> Floats:
    """[n] of the nearest rows to each row in `a` [n, d], the share that is so in `b` [n, d] too."""
    near = []
    for vectors in (a, b):
        found = np.concatenate(
            [search(vectors, vectors[at : at + BLOCK], NEAREST + 1)[1] for at in range(0, len(vectors), BLOCK)]
        )
        near.append([set(row) - {n} if n in row else set(row[:-1]) for n, row in enumerate(found.tolist())])
    return np.array([len(x & y) / len(x) for x, y in zip(*near, strict=True)], np.float32)


def _remembered(texts: Sequence[str]) -> list[Row]:
    """One row per batch: the share of its time inside the forward pass."""
    embedder = _Timed()
    embedder.encode(["warm"])
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "passages.txt"
        file.write_text("\n\n".join(texts), encoding="utf-8")
        with Memory.open(Path(folder) / "m.mnemic", embedder) as memory:
            begun, computed = time.perf_counter(), embedder.seconds
            for n, _ in enumerate(memory.remember_batches(file)):
                now = time.perf_counter()
                share = (embedder.seconds - computed) / (now - begun)
                rows.append({"id": f"batch {n}", "forward_share": share})
                begun, computed = now, embedder.seconds
    return rows


def _words_alone(book: Path) -> Row:
    with TemporaryDirectory() as folder, Memory.open(Path(folder) / "m.mnemic", None) as memory:
        begun = time.perf_counter()
        memory.remember_path(book, vectors=False)
        minutes = (time.perf_counter() - begun) / 60
    return {"id": book.name, "words_mb_per_minute": book.stat().st_size / 1e6 / minutes}
