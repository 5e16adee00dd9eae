"""SQuAD 2.0: answering from a paragraph in memory, and keeping silent when it does not carry the answer."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.read.answer import THRESHOLD, answer
from mnemic.types import Hit, MnemicError, Recall, Record

NAME = "squad2"
FOLDER = "squad2_500"
PROTOCOL = """Offline retrieval: the paragraph of each question is recalled whole, as one record, and
the question is asked without a language model. f1: token F1 of the official script (lower case, no
articles, no punctuation, best of the gold answers) over answerable questions, an abstention counting 0;
false_answer: share of unanswerable questions that get an answer; squad_f1: the official mean over both,
1 for abstaining rightly. Beside the default threshold: answering always. extra.curve: the same metrics at
every threshold."""


@dataclass(frozen=True)
class Case:
    id: str
    context: str
    question: str
    answers: tuple[str, ...]  # empty when there is none


def cases(data: Path) -> list[Case]:
    """The questions in the order of the file."""
    try:
        queries = json.loads((data / "queries.json").read_text(encoding="utf-8"))["queries"]
        truth = json.loads((data / "ground_truth.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MnemicError(f"{data} is not the SQuAD 2.0 folder: {error.filename} is missing") from None
    return [
        Case(
            q["id"],
            q["context"],
            q["question"],
            () if truth[q["id"]]["is_impossible"] else tuple(truth[q["id"]]["answers"]),
        )
        for q in queries
    ]


def evidence(case: Case) -> Recall:
    return Recall((Hit(Record(text=case.context, id=1), 1.0),), query=case.question)


def normalised(text: str) -> list[str]:
    """Tokens as the official script compares them."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def token_f1(given: str, gold: Sequence[str]) -> float:
    """Best token F1 of an answer against the gold answers, 0 to 1."""
    return max(_f1(normalised(given), normalised(each)) for each in gold)


def _f1(given: Sequence[str], gold: Sequence[str]) -> float:
    if not given or not gold:
        return float(given == gold)
    shared = sum((Counter(given) & Counter(gold)).values())
    return 2 * shared / (len(given) + len(gold))


def run(data: Path | None, options: Options) -> Outcome:
    assert data is not None
    rows: list[tuple[Case, float, float]] = []
    for case in options.progress(options.chosen(cases(data), lambda c: c.id), NAME):
        given = answer(case.question, evidence(case), threshold=0.0)
        rows.append((case, given.confidence, token_f1(given.text, case.answers) if case.answers else 0.0))
    curve = [{"threshold": float(t), **_point(rows, float(t))} for t in np.round(np.arange(0, 1.0001, 0.05), 2)]
    return Outcome(
        {
            "mnemic": [_row(*each, THRESHOLD) for each in rows],
            "always answering": [_row(*each, 0.0) for each in rows],
        },
        extra={"threshold": THRESHOLD, "curve": curve},
    )


def _row(case: Case, confidence: float, f1: float, threshold: float) -> Row:
    given = confidence >= threshold
    if case.answers:
        return {"id": case.id, "f1": f1 * given, "squad_f1": f1 * given, "answered": float(given)}
    return {"id": case.id, "false_answer": float(given), "squad_f1": float(not given)}


def _point(rows: Sequence[tuple[Case, float, float]], threshold: float) -> dict[str, float | None]:
    made = [_row(*each, threshold) for each in rows]

    def mean(metric: str) -> float | None:
        values = [row[metric] for row in made if metric in row]
        return float(np.mean(values)) if values else None

    return {metric: mean(metric) for metric in ("f1", "false_answer", "squad_f1")}
