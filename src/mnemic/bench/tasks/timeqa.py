"""TimeQA: finding the paragraph of an article that holds the answer for the time asked about."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.words import WordIndex, query_terms, terms
from mnemic.read.timely import timely
from mnemic.types import Hit, MnemicError, Recall, Record, When

NAME = "timeqa"
FOLDER = "timeqa"
PROTOCOL = """Offline retrieval: the paragraphs of one article are the memory, the question is asked of it, by
words alone (no vectors). Cases: the answerable human-written questions of the training file, split by article.
evidence@k: a paragraph annotated with an answer is among the first k. words: BM25 as it ranks the memory;
mnemic: the same, re-ranked by the times that the paragraphs say."""

NOW = When.parse("2021-01-01").middle
DEPTH = 50  # paragraphs that are re-ranked


@dataclass(frozen=True)
class Case:
    """A question over an article; `gold` are the paragraphs annotated with its answers."""

    id: str
    article: str
    question: str
    paragraphs: tuple[str, ...]
    answers: tuple[str, ...]
    gold: frozenset[int]


def cases(data: Path) -> list[Case]:
    """The answerable questions in the order of the file."""
    path = data / "human_annotated_train.json"
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MnemicError(f"{data} is not the TimeQA folder: {path.name} is missing") from None
    made = []
    for article in articles:
        paragraphs = tuple(untokenised(p) for p in article["paras"])
        for n, (question, marked) in enumerate(article["questions"]):
            marked = [m for m in marked if m["answer"]]
            if marked:
                made.append(
                    Case(
                        f"{article['index']}#{n}",
                        article["index"],
                        question,
                        paragraphs,
                        tuple(untokenised(m["answer"]) for m in marked),
                        frozenset(m["para"] for m in marked),
                    )
                )
    return made


def untokenised(text: str) -> str:
    """The text with the spaces before its marks taken out again."""
    return re.sub(r" ([.,;:!?)']|'s\b)(?= |$)", r"\1", text).replace("( ", "(")


def run(data: Path | None, options: Options) -> Outcome:
    assert data is not None
    chosen = options.chosen(cases(data), lambda c: c.article)
    rows: dict[str, list[Row]] = {"mnemic": [], "words": []}
    index, article = WordIndex(), ""
    for case in options.progress(chosen, NAME):
        if case.article != article:
            index, article = WordIndex(), case.article
            index.add(np.arange(len(case.paragraphs)), [terms(p) for p in case.paragraphs])
        found = recalled(case, index)
        rows["words"].append(_row(case, found))
        rows["mnemic"].append(_row(case, timely(found, case.question, NOW)))
    return Outcome(rows)


def recalled(case: Case, index: WordIndex) -> Recall:
    """The paragraphs that share words with the question, best first."""
    scores, ids = index.search(query_terms(case.question), DEPTH)
    hits = (
        Hit(Record(text=case.paragraphs[n], id=n + 1, order=n), score)
        for n, score in zip(ids.tolist(), scores.tolist(), strict=True)
    )
    return Recall(tuple(hits), query=case.question)


def _row(case: Case, found: Recall) -> Row:
    order = [hit.record.order for hit in found]
    return {
        "id": case.id,
        "case": case.article,
        **{f"evidence@{k}": float(bool(case.gold & {*order[:k]})) for k in (1, 5, 10)},
    }
