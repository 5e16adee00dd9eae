"""LongMemEval-S: the sessions and turns that hold the evidence, each question in its own haystack."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench.held import best_first, equal_rank_fusion, held
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.words import query_terms
from mnemic.read.recall import recall
from mnemic.types import DEFAULT_SPACE, Embedder, MnemicError, Record, When, seconds

NAME = "longmemeval"
FOLDER = "longmemeval"
PROTOCOL = """One haystack a question; gold sessions are metadata.original_answer_session_ids; the query is the
bare question, asked on its date. A session stands at the rank of its best turn. recall_any@k: some gold session
among the first k; recall_all@k: all of them; ndcg@k as the official code computes it (the second rank is not
discounted). turn_*: the same over turns, gold where has_answer. Questions without an answer (ids with _abs) are
run but not averaged, as in the official code. "user turns" is the official protocol: only what the user said is
remembered, and a session in which no user turn holds evidence is no gold. "one key": a turn has its own vector
only, not also that of the sentence least like it. Whitespace BM25 is the paper's:
Okapi (k1 1.5, b 0.75), a document is the user's side of a session."""

CUTS = (5, 10)


@dataclass(frozen=True)
class Turn:
    session: str
    role: str
    text: str
    when: When
    answers: bool


@dataclass(frozen=True)
class Case:
    id: str
    question: str
    asked: float
    turns: tuple[Turn, ...]
    gold: frozenset[str]

    def by_user(self) -> Case:
        """The case of the official protocol."""
        turns = tuple(turn for turn in self.turns if turn.role == "user")
        return Case(
            self.id, self.question, self.asked, turns, self.gold & {t.session for t in turns if t.answers}
        )


def cases(data: Path) -> list[Case]:
    found = [_case(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(data.glob("*.json"))]
    if not found:
        raise MnemicError(f"{data} holds no LongMemEval cases (*.json)")
    return found


def _case(told: dict[str, Any]) -> Case:
    query = told["queries"][0]
    about = query["metadata"]
    turns = tuple(
        Turn(
            session["session_id"],
            message["role"],
            message["content"],
            When.parse(message["created_at"]),
            bool(message.get("has_answer")),
        )
        for session in told["sessions"]
        for message in session["messages"]
    )
    asked = seconds(datetime.strptime(about["question_date"], "%Y/%m/%d (%a) %H:%M"))
    return Case(
        told["case_id"], query["question"], asked, turns, frozenset(about["original_answer_session_ids"])
    )


def run(data: Path, options: Options) -> Outcome:
    systems: dict[str, list[Row]] = {}
    for case in options.progress(options.chosen(cases(data), lambda case: case.id), NAME):
        for label, protocol in (("", case), (", user turns", case.by_user())):
            plain = rankings(protocol, options.plain_embedder)
            orders = {
                "mnemic": rankings(protocol, options.embedder)["mnemic"],
                "mnemic, one key": plain["mnemic"],
            }
            orders |= {system: order for system, order in plain.items() if system != "mnemic"}
            for system, order in orders.items():
                scores = None if case.id.endswith("_abs") else metrics(protocol, order)
                row = {"id": case.id, **(scores or {})}
                systems.setdefault(system + label, []).append(row)
        sessions = whitespace_bm25(case.by_user())
        row = {"id": case.id}
        if not case.id.endswith("_abs"):
            row |= _at_cuts("", [session in case.by_user().gold for session in sessions])
        systems.setdefault("whitespace BM25, user turns", []).append(row)
    return Outcome(systems)


def rankings(case: Case, embedder: Embedder) -> dict[str, list[int]]:
    """The turns of a case in the order of every system."""
    order = Counter[str]()
    records = []
    for turn in case.turns:
        records.append(
            Record(
                text=turn.text, author=turn.role, kind="turn", session=turn.session, when=turn.when,
                order=order[turn.session],
            )
        )  # fmt: skip
        order[turn.session] += 1
    with held(records, embedder) as (store, mirror):
        stored = {int(id): row for row, id in enumerate(mirror.ids)}
        found = recall(store, mirror, embedder, case.question, k=len(records), now=case.asked)
        words = mirror.words(query_terms(case.question), DEFAULT_SPACE)
        vectors, _ = mirror.vectors(embedder.encode([case.question])[0])
        turn_of = [_key(record) for record in store.get(mirror.ids.tolist())]
        ours = [stored[hit.record.id] for hit in found]
    place = {_key(record): at for at, record in enumerate(records)}
    by_system: dict[str, Sequence[int]] = {
        "mnemic": ours,
        "FTS5 words": best_first(words).tolist(),
        "MiniLM": best_first(vectors).tolist(),
        "equal rank fusion": best_first(equal_rank_fusion(words, vectors)).tolist(),
    }
    return {name: [place[turn_of[row]] for row in rows] for name, rows in by_system.items()}


def _key(record: Record) -> tuple[str | None, int]:
    return record.session, record.order


def metrics(case: Case, order: Sequence[int]) -> dict[str, float]:
    """The official metrics of an order of turns; turns never found come last."""
    rest = sorted(set(range(len(case.turns))) - set(order))
    ranked = [case.turns[at] for at in (*order, *rest)]
    sessions = list(dict.fromkeys(turn.session for turn in ranked))
    scores = _at_cuts("", [session in case.gold for session in sessions])
    if any(turn.answers for turn in ranked):
        scores |= _at_cuts("turn_", [turn.answers for turn in ranked])
    return scores


def _at_cuts(prefix: str, gold: Sequence[bool]) -> dict[str, float]:
    relevant = np.asarray(gold, float)
    scores = {}
    for k in CUTS:
        scores[f"{prefix}recall_any@{k}"] = float(relevant[:k].any())
        scores[f"{prefix}recall_all@{k}"] = float(relevant[:k].sum() == relevant.sum())
        scores[f"{prefix}ndcg@{k}"] = gain(relevant[:k]) / (gain(np.sort(relevant)[::-1][:k]) or 1.0)
    return scores


def gain(relevant: np.ndarray) -> float:
    """Discounted gain as the official code has it: r_1 + sum over i >= 2 of r_i / log2(i)."""
    discounts = np.log2(np.maximum(np.arange(1, len(relevant) + 1), 2))
    return float((relevant / discounts).sum())


def whitespace_bm25(case: Case) -> list[str]:
    """Sessions ranked by Okapi BM25 over words split at blanks, as the paper's baseline does."""
    said: dict[str, list[str]] = {}
    for turn in case.turns:
        said.setdefault(turn.session, []).extend(turn.text.split(" "))
    counts = {session: Counter(words) for session, words in said.items()}
    mean = sum(map(len, said.values())) / len(said)
    holding = Counter(word for count in counts.values() for word in count)
    idf = {word: log((len(said) - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
    floor = 0.25 * sum(idf.values()) / len(idf)  # what rank_bm25 gives a word of more than half the documents

    def score(session: str) -> float:
        norm = 1.5 * (0.25 + 0.75 * len(said[session]) / mean)
        return sum(
            (idf[word] if idf[word] >= 0 else floor) * count * 2.5 / (count + norm)
            for word in case.question.split(" ")
            if (count := counts[session][word])
        )

    return sorted(said, key=score, reverse=True)
