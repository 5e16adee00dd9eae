"""Questions about a generated diary: dates, order, durations, latest state, lists, and what never was."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.index.words import WordIndex, query_terms, terms
from mnemic.read.answer import answer, quoted
from mnemic.read.kin import root
from mnemic.types import Answer, Hit, Recall, moment
from mnemic.worlds.diary import Diary
from mnemic.worlds.question import Question

NAME = "diary"
FOLDER = None
PROTOCOL = """Generated diaries of a year (seeds 4 to 15, split by seed), 130 questions each, of all kinds
in turn. Evidence is given, not searched for: the entries the answer rests on and 20 that share most words
with the question, in an order drawn by lot; no language model. accuracy: the gold answer stands in the words
given, in any form of its words (of a list all items, in order, with or without others between); dates and
numbers of days exactly; absent: abstained. A metric per kind of question. Systems: with the default embedder,
by words alone, and without event times."""

SEEDS = range(4, 16)
DAYS, QUESTIONS, OTHERS = 365, 130, 20


def evidence(diary: Diary, index: WordIndex, question: Question, rng: random.Random) -> Recall:
    """The entries that the answer rests on among those that look most like it."""
    _, found = index.search(query_terms(question.text), OTHERS + len(question.gold))
    chosen = list(dict.fromkeys([*question.gold, *found.tolist()]))[: OTHERS + len(question.gold)]
    rng.shuffle(chosen)
    hits = tuple(Hit(replace(diary.entries[n], id=n + 1), 1.0) for n in chosen)
    return Recall(hits, query=question.text)


def right(question: Question, given: Answer) -> bool:
    """Whether the gold answer stands in the words given; of a list every item, in order."""
    if not question.answers:
        return given.abstained
    said = given.text.lower()
    if question.kind in ("when", "nth"):
        return said == question.answers[0]
    if question.kind == "days":
        return re.findall(r"\d+", said) == list(question.answers)
    if question.kind == "list":
        places = [said.find(each.lower()) for each in question.answers]
        return -1 not in places and places == sorted(places)
    return any(_bare(each) in said or _roots(each) <= _roots(said) for each in question.answers)


def _bare(text: str) -> str:
    return re.sub(r"^(?:the|a|an) ", "", text.lower())


def _roots(text: str) -> set[str]:
    """Its words, "swam" being "swim"."""
    return set(map(root, terms(text)))


def run(data: Path | None, options: Options) -> Outcome:
    systems = {"mnemic": options.embedder, "by words": None}
    rows: dict[str, list[Row]] = {name: [] for name in (*systems, "without event times")}
    cases = [seed for seed in SEEDS if options.wants(str(seed))]
    for seed in options.progress(cases, NAME):
        diary = Diary(seed, DAYS)
        index = WordIndex()
        index.add(np.arange(len(diary.entries)), [terms(entry.text) for entry in diary.entries])
        rng = random.Random(seed)
        for n, question in enumerate(diary.questions(QUESTIONS)[: options.limit]):
            told = evidence(diary, index, question, rng)
            now = moment(question.now)
            for name, embedder in systems.items():
                given = answer(question.text, told, now=now, embedder=embedder)
                rows[name].append(_row(f"{seed}.{n}", question, given))
            rows["without event times"].append(_row(f"{seed}.{n}", question, quoted(question.text, told)))
    return Outcome(rows)


def _row(case: str, question: Question, given: Answer) -> Row:
    score = float(right(question, given))
    return {"id": case, "case": case.partition(".")[0], "accuracy": score, question.kind: score}
