"""Where one text ends and the next begins: passages about different things, joined without a mark."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.segment.events import Events
from mnemic.segment.topics import Topics
from mnemic.types import MnemicError, Span, Stream

NAME = "segment"
FOLDER = "hotpotqa"
PROTOCOL = """Passages of HotpotQA, drawn by lot, eight joined to a stream of sentences; boundaries are where a
passage begins. f1: of the boundaries found, at exactly that sentence; pk: share of pairs of sentences half a
mean passage apart of which it is wrongly said whether they belong together (Beeferman), less is better. "even":
as many cuts as the method made, at equal distances; "shuffled": the method over the sentences' vectors in an
order drawn by lot; "not refined": boundaries left where surprise puts them."""

STREAMS, PASSAGES = 100, 8


def run(data: Path, options: Options) -> Outcome:
    try:
        corpus = json.loads((data / "hotpotqa_train_corpus.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MnemicError(f"{data} is not the HotpotQA folder: {error.filename} is missing") from None
    passages = [kept for sentences in corpus.values() if len(kept := [s for s in sentences if s.strip()]) > 1]
    random.Random(options.seed).shuffle(passages)
    cases = [passages[n : n + PASSAGES] for n in range(0, STREAMS * PASSAGES, PASSAGES)]
    systems: dict[str, list[Row]] = {}
    for number, case in options.progress(options.chosen(list(enumerate(cases)), lambda it: it[0]), NAME):
        sentences = [sentence for passage in case for sentence in passage]
        true = list(accumulate(map(len, case)))[:-1]
        vectors = options.plain_embedder.encode(sentences)
        stream = Stream(sentences, embeddings=vectors)
        mixed = np.random.default_rng((options.seed, number)).permutation(len(sentences))
        shuffled = Stream(sentences, embeddings=vectors[mixed])
        methods: dict[str, Callable[[Stream], list[Span]]] = {
            "events": Events(),
            "topics": Topics(),
            "events, not refined": Events(refine=None),
        }
        for name, method in methods.items():
            found = method(stream)
            made = {name: found, f"{name}, even": even(len(sentences), len(found))}
            made[f"{name}, shuffled"] = method(shuffled)
            for system, spans in made.items():
                row = {"id": str(number), **metrics(true, spans, len(sentences))}
                systems.setdefault(system, []).append(row)
    return Outcome(systems, "topics")


def even(n: int, parts: int) -> list[Span]:
    """`n` items in `parts` spans of equal length."""
    return [Span(a, b) for a, b in pairwise(round(n * k / parts) for k in range(parts + 1))]


def metrics(true: Sequence[int], spans: Sequence[Span], n: int) -> dict[str, float]:
    cuts = {span.start for span in spans} - {0}
    right = len(cuts.intersection(true))
    mean = n / (len(true) + 1)
    apart = max(1, round(mean / 2))
    real, said = (np.searchsorted(sorted(some), np.arange(n), side="right") for some in (true, cuts))
    wrong = (real[apart:] == real[:-apart]) != (said[apart:] == said[:-apart])
    return {"f1": 2 * right / (len(cuts) + len(true)), "pk": float(wrong.mean())}
