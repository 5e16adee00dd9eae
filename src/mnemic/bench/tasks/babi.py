"""bAbI task 14: where somebody was before, when the events are told out of order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.read.answer import answer, quoted
from mnemic.types import Hit, MnemicError, Recall, Record, When

NAME = "babi"
FOLDER = "babi"
PROTOCOL = """bAbI task 14 (time reasoning), the training file, every question: each sentence of the story so
far is a record of one and the same day (2023-05-02), all of them recalled; no language model, and nothing is
fitted to the task. accuracy: the answer's last word is the gold word. not_latest is the same without
event times: the phrase of the best matching sentence."""

FILE = "qa14_time-reasoning_train.txt"
TOLD = When.parse("2023-05-02")


@dataclass(frozen=True)
class Case:
    id: str
    story: tuple[str, ...]
    question: str
    gold: str


def cases(data: Path) -> list[Case]:
    """Every question with the sentences told before it."""
    try:
        text = (data / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MnemicError(f"{data} is not the bAbI folder: {FILE} is missing") from None
    return list(_cases(text))


def _cases(text: str) -> Iterator[Case]:
    story: list[str] = []
    number = 0
    for line in text.splitlines():
        index, said = line.split(" ", 1)
        if index == "1":
            story, number = [], number + 1
        if "\t" in said:
            question, gold, _ = said.split("\t")
            yield Case(f"{number}.{index}", tuple(story), question.strip(), gold)
        else:
            story.append(said)


def evidence(case: Case) -> Recall:
    """The whole story, the newest sentence first."""
    records = [Record(text=said, id=n, order=n, when=TOLD) for n, said in enumerate(case.story, 1)]
    return Recall(tuple(Hit(record, float(record.id)) for record in reversed(records)))


def run(data: Path | None, options: Options) -> Outcome:
    assert data is not None
    rows: dict[str, list[Row]] = {"mnemic": [], "without event times": []}
    for case in options.progress(options.chosen(cases(data), lambda c: c.id), NAME):
        told = evidence(case)
        for system, given in (
            ("mnemic", answer(case.question, told, now=TOLD)),
            ("without event times", quoted(case.question, told)),
        ):
            words = re.findall(r"\w+", given.text.lower())
            right = not given.abstained and bool(words) and words[-1] == case.gold
            rows[system].append(
                {"id": case.id, "accuracy": float(right), "answered": float(not given.abstained)}
            )
    return Outcome(rows)
