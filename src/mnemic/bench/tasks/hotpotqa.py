"""HotpotQA: both passages that support the answer, among the pooled passages of all questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnemic.bench.held import best_first, equal_rank_fusion, held
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.words import query_terms
from mnemic.read import fuse
from mnemic.read.recall import covered, recall
from mnemic.types import DEFAULT_SPACE, MnemicError, Record

NAME = "hotpotqa"
FOLDER = "hotpotqa"
PROTOCOL = """One hundred questions over the pooled corpus of their contexts; gold are the two passages with
supporting facts. recall@k: share of the two among the first k; both@k: both of them. A passage is its title, a
line break and its text; with "titles hidden" it is the text alone. "one look-up": no name is followed. No
language model."""

CUTS = (2, 5, 10)


@dataclass(frozen=True)
class Case:
    id: str
    question: str
    gold: frozenset[str]


def load(data: Path) -> tuple[list[Case], dict[str, str]]:
    """The questions, and the text of every passage by title."""
    try:
        asked = json.loads((data / "hotpotqa_train.json").read_text(encoding="utf-8"))
        corpus = json.loads((data / "hotpotqa_train_corpus.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MnemicError(f"{data} is not the HotpotQA folder: {error.filename} is missing") from None
    cases = [
        Case(each["_id"], each["question"], frozenset(title for title, _ in each["supporting_facts"]))
        for each in asked
    ]
    return cases, {title: "".join(sentences) for title, sentences in corpus.items()}


def run(data: Path, options: Options) -> Outcome:
    cases, corpus = load(data)
    systems: dict[str, list[Row]] = {}
    for label, shown in (("", True), (", titles hidden", False)):
        records = [
            Record(text=f"{title}\n{text}" if shown else text, source=f"page {at}", order=at)
            for at, (title, text) in enumerate(corpus.items())
        ]
        titles = list(corpus)
        with (
            held(records, options.embedder) as (store, mirror),
            held(records, options.plain_embedder) as (_, plain),
        ):
            title_of = [titles[record.order] for record in store.get(mirror.ids.tolist())]
            row_of = {int(id): row for row, id in enumerate(mirror.ids)}
            among = np.ones(len(titles), np.bool_)
            for case in options.progress(options.chosen(cases, lambda case: case.id), NAME + label):
                asked = options.embedder.encode([case.question])[0]
                found = recall(store, mirror, options.embedder, case.question, k=max(CUTS))
                wanted = query_terms(case.question)
                words = mirror.words(wanted, DEFAULT_SPACE)
                (likeliest,) = store.get([int(mirror.ids[words.argmax()])])
                share = covered(wanted, likeliest)
                vectors, _ = plain.vectors(asked)
                by_system: dict[str, Sequence[int]] = {
                    "mnemic": [row_of[hit.record.id] for hit in found],
                    "mnemic, one look-up": best_first(
                        fuse.fuse(words, mirror.vectors(asked)[0], among, share)
                    ).tolist(),
                    "FTS5 words": best_first(words).tolist(),
                    "MiniLM": best_first(vectors).tolist(),
                    "equal rank fusion": best_first(equal_rank_fusion(words, vectors)).tolist(),
                }
                for system, rows in by_system.items():
                    ranked = [title_of[row] for row in rows[: max(CUTS)]]
                    systems.setdefault(system + label, []).append({"id": case.id, **metrics(case, ranked)})
    return Outcome(systems)


def metrics(case: Case, ranked: Sequence[str]) -> dict[str, float]:
    scores = {}
    for k in CUTS:
        found = len(case.gold.intersection(ranked[:k]))
        scores[f"recall@{k}"] = found / len(case.gold)
        scores[f"both@{k}"] = float(found == len(case.gold))
    return scores
