"""TimeQA: finding the paragraph of an article that holds the answer for the time asked about."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnemic.bench.held import held
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.words import query_terms
from mnemic.read.recall import recall
from mnemic.types import Filter, MnemicError, Record, When

NAME = "timeqa"
FOLDER = "timeqa"
PROTOCOL = """Offline retrieval: the paragraphs of one article are the memory, the question is asked of it, by
words alone (no vectors). Cases: the answerable human-written questions of the training file, split by article.
evidence@k: a paragraph annotated with an answer is among the first k. words: BM25 as it ranks the memory;
another time: mnemic, asked about forty years earlier."""

NOW = When.parse("2021-01-01").middle
CUTS = (1, 5, 10)


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
    records = [
        Record(text=paragraph, space=article, source=article, order=n, start=n, end=n + 1)
        for article, paragraphs in {case.article: case.paragraphs for case in chosen}.items()
        for n, paragraph in enumerate(paragraphs)
    ]
    rows: dict[str, list[Row]] = {"mnemic": [], "words": [], "another time": []}
    with held(records, None) as (store, mirror):
        for case in options.progress(chosen, NAME):
            where = Filter(space=case.article)
            scores = np.where(mirror.mask(where), mirror.words(query_terms(case.question), case.article), -1)
            best = store.get(mirror.ids[np.argsort(-scores, kind="stable")[: max(CUTS)]].tolist())
            rows["words"].append(_row(case, best))
            for system, question in (("mnemic", case.question), ("another time", shifted(case.question))):
                found = recall(store, mirror, None, question, where=where, k=max(CUTS), now=NOW)
                rows[system].append(_row(case, [hit.record for hit in found]))
    return Outcome(rows)


def shifted(question: str) -> str:
    """The question, about a time forty years earlier."""
    return re.sub(r"\b(1[4-9]|20)(\d\d)\b", lambda year: str(int(year[0]) - 40), question)


def _row(case: Case, found: Sequence[Record]) -> Row:
    order = [record.order for record in found]
    return {
        "id": case.id,
        "case": case.article,
        **{f"evidence@{k}": float(bool(case.gold & {*order[:k]})) for k in CUTS},
    }
