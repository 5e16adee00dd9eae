"""Fits the weights of `read.extract` on the tuning halves of SQuAD 2.0 and TimeQA; writes `read/weights.json`.

    python -m mnemic.bench.fit_answers DATA        (DATA holds squad2_500/ and timeqa/)

"span": a softmax over the phrases of each answerable question, fitted to put its mass where the token F1 is:

    minimise  - sum_q log sum_c p(c | q) F1(c, q)  +  l2 / 2 |w|^2

"trust": a logistic regression on whether the chosen phrase is right at all (F1 of at least one half), over
phrases of SQuAD chosen by weights that have not seen the question (five folds), unanswerable ones included.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

import mnemic.read
from mnemic.bench.runner import half
from mnemic.bench.tasks import squad2, timeqa
from mnemic.read import extract
from mnemic.read.extract import Candidate, Features, Statement
from mnemic.read.question import Question, analyse
from mnemic.types import Hit, Recall, Record

Array = NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True)
class Example:
    question: Question
    found: list[Statement]
    candidates: list[Candidate]
    f1: Array  # [candidates]; zeros when there is no answer


def squad_examples(data: Path) -> list[Example]:
    chosen = [case for case in squad2.cases(data / squad2.FOLDER) if half(case.id) == "tune"]
    return [_example(case.question, [case.context], case.answers) for case in chosen]


def timeqa_examples(data: Path) -> list[Example]:
    """The first two questions of each article of the tuning half, over the paragraph that answers."""
    taken: Counter[str] = Counter()
    made = []
    for case in timeqa.cases(data / timeqa.FOLDER):
        taken[case.article] += 1
        if half(case.article) == "tune" and taken[case.article] <= 2:
            made.append(_example(case.question, [case.paragraphs[n] for n in sorted(case.gold)], case.answers))
    return made


def _example(text: str, paragraphs: Sequence[str], answers: Sequence[str]) -> Example:
    question = analyse(text)
    evidence = Recall(tuple(Hit(Record(text=p, id=n), 1.0) for n, p in enumerate(paragraphs, 1)))
    return _over(question, extract.statements(evidence), answers)


def _over(question: Question, found: list[Statement], answers: Sequence[str] = ()) -> Example:
    ranked = extract.candidates(question, found)
    f1 = [squad2.token_f1(c.text, answers) if answers else 0.0 for c in ranked]
    return Example(question, found, ranked, np.array(f1))


def strangers(made: Sequence[Example]) -> list[Example]:
    """Each question asked of the next one's paragraph: what is simply not in memory."""
    return [_over(e.question, other.found) for e, other in zip(made, [*made[1:], made[0]], strict=True)]


def fit_span(train: Sequence[Example], l2: float) -> Features:
    """Weights that put the softmax's mass on the phrases with the highest F1."""
    train = [e for e in train if len(e.f1) and e.f1.max() > 0]
    names = sorted({name for e in train for c in e.candidates for name in c.features})
    x = _matrix([c.features for e in train for c in e.candidates], names)
    cuts = np.cumsum([0] + [len(e.f1) for e in train])

    def loss(w: Array) -> tuple[float, Array]:
        scores = x @ w
        total, slope = l2 * float(w @ w) / 2, np.empty_like(scores)
        for e, a, b in zip(train, cuts[:-1], cuts[1:], strict=True):
            p = np.exp(scores[a:b] - scores[a:b].max())
            p /= p.sum()
            won = float(p @ e.f1) + 1e-9
            total -= np.log(won)
            slope[a:b] = p - p * e.f1 / won
        return total, x.T @ slope + l2 * w

    return _solve(loss, names)


def fit_trust(rows: Sequence[Features], right: Array, l2: float) -> Features:
    """Logistic regression of `right` (0 to 1) on what speaks for and against an answer."""
    names = sorted({name for row in rows for name in row})
    x = _matrix(rows, names)

    def loss(w: Array) -> tuple[float, Array]:
        scores = x @ w
        value = float(np.logaddexp(0, scores).sum() - right @ scores + l2 * (w @ w) / 2)
        return value, x.T @ (1 / (1 + np.exp(-scores)) - right) + l2 * w

    return _solve(loss, names)


def _matrix(rows: Sequence[Features], names: Sequence[str]) -> sparse.csr_matrix:
    column = {name: k for k, name in enumerate(names)}
    cells = [(r, column[n], v) for r, row in enumerate(rows) for n, v in row.items() if n in column]
    r, c, v = zip(*cells, strict=True)
    return sparse.csr_matrix((v, (r, c)), shape=(len(rows), len(names)))


def _solve(loss: object, names: Sequence[str]) -> Features:
    w = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return {name: round(float(v), 3) for name, v in zip(names, w, strict=True) if abs(v) >= 0.0005}


def ranked(example: Example, weights: Features) -> Example:
    """The same example with its candidates scored anew, best first."""
    scores = np.array([sum(weights.get(n, 0.0) * v for n, v in c.features.items()) for c in example.candidates])
    order = np.argsort(-scores, kind="stable")
    again = [
        Candidate(c.statement, c.i, c.j, c.features, float(scores[k]))
        for k in order
        for c in [example.candidates[k]]
    ]
    return Example(example.question, example.found, again, example.f1[order])


def out_of_fold(all_: Sequence[Example], more: Sequence[Example], l2: float) -> list[Example]:
    """Every example ranked by weights fitted on the other folds and on `more`."""
    result: list[Example] = [*all_]
    for fold in range(FOLDS):
        weights = fit_span([*(e for k, e in enumerate(all_) if k % FOLDS != fold), *more], l2)
        for k in range(fold, len(all_), FOLDS):
            result[k] = ranked(all_[k], weights)
    return result


def main(data: Path, span_l2: float = 1.0, trust_l2: float = 1.0) -> None:
    made = [e for e in squad_examples(data) if e.candidates]
    more = [e for e in timeqa_examples(data) if e.candidates]
    blind = out_of_fold(made, more, span_l2)
    first = np.array([e.f1[0] for e in blind])
    answerable = np.array([e.f1.max() > 0 for e in blind])
    print(f"F1 of answerable, out of fold {first[answerable].mean():.3f} (n={answerable.sum()})")
    weights = fit_span([*made, *more], span_l2)
    foreign = [ranked(e, weights) for e in strangers(made) if e.candidates]
    rows = [extract.doubts(e.question, e.found, e.candidates) for e in [*blind, *foreign]]
    right = np.concatenate([first >= 0.5, np.zeros(len(foreign))]).astype(np.float64)
    p = np.empty(len(rows))
    for fold in range(FOLDS):
        keep = np.arange(len(rows)) % FOLDS != fold
        w = fit_trust([r for r, k in zip(rows, keep, strict=True) if k], right[keep], trust_l2)
        for k in np.flatnonzero(~keep):
            p[k] = 1 / (1 + np.exp(-sum(w.get(n, 0.0) * v for n, v in rows[k].items())))
    p, stranger = p[: len(blind)], p[len(blind) :]
    for threshold in np.round(np.arange(0, 0.8, 0.05), 2):
        given = p >= threshold
        f1 = (first * given)[answerable].mean()
        false, strange = given[~answerable].mean(), (stranger >= threshold).mean()
        both = np.where(answerable, first * given, ~given).mean()
        print(
            f"threshold {threshold:.2f}: F1 {f1:.3f}, SQuAD 2.0 F1 {both:.3f}; "
            f"false answers {false:.3f}, from a foreign paragraph {strange:.3f}"
        )
    stored = {"span": weights, "trust": fit_trust(rows, right, trust_l2)}
    target = Path(mnemic.read.__file__).parent / "weights.json"
    target.write_text(json.dumps(stored, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(stored['span'])} + {len(stored['trust'])} weights in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
