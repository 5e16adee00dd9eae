"""From recalled evidence to an answer that quotes, cites and dates, or says that it is not in memory.

Three ways, in this order. With a language model the answer is `written` from the evidence and kept as far as
its citations hold. Without one, what event times decide (when, how long between, first, latest, before, in
what order) is decided by `chronicle`; everything else is the phrase that `extract` finds most fitting. All
three say how sure they are, and under the threshold the answer is withheld.
"""

from __future__ import annotations

import re
from datetime import datetime

from mnemic.read import asker, chronicle, extract, written
from mnemic.read.question import analyse
from mnemic.read.written import ABSENT
from mnemic.types import Answer, Citation, Embedder, LanguageModel, Recall, When

_WHO_IS = re.compile(r"\W*who\s+(?:is|was)\s+(?:the|my|our|your|his|her|their)\b", re.IGNORECASE)
"""Asks who somebody is, which only a name tells."""

THRESHOLD = 0.2
"""Chosen on the tuning half of SQuAD 2.0 by `python -m mnemic.bench.fit_answers`: see its output."""


def answer(
    question: str,
    evidence: Recall,
    *,
    now: When | str | float | datetime | None = None,
    model: LanguageModel | None = None,
    embedder: Embedder | None = None,
    threshold: float | None = None,
) -> Answer:
    """Answer a question from what was recalled for it.

    Args:
        evidence: what a recall brought back; nothing else is looked at.
        now: the time the question is asked at; None if it does not matter.
        model: writes the answer, which is then checked; None answers by quoting.
        embedder: tells events that share the names asked for from one another by meaning; None by words alone.
        threshold: least confidence, 0 to 1, for an answer to be given. By default `THRESHOLD` when quoting;
            a model's answer is withheld only if none of its citations holds.

    Raises:
        ValueError: the question is empty, the threshold is not between 0 and 1, or `now` is not a date.
    """
    if not question.strip():
        raise ValueError("the question is empty; ask something, e.g. 'who went to sea?'")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"a threshold is a probability, between 0 and 1, not {threshold}")
    moment = None if now is None else When.parse(now)
    if model is not None:
        given = written.write(question, evidence, now=moment, model=model)
        return _withheld_under(threshold or 0.0, given)
    given = chronicle.answer(question, evidence, now=moment, embedder=embedder) or quoted(question, evidence)
    return _withheld_under(THRESHOLD if threshold is None else threshold, given)


def quoted(question: str, evidence: Recall) -> Answer:
    """The phrase of the evidence that fits the question best, quoted and cited, with its probability."""
    asked = analyse(question)
    found = asker.own(asked, extract.statements(evidence))
    ranked = extract.candidates(asked, found)
    if not ranked or (_WHO_IS.match(question) and not ranked[0].named):
        return Answer(ABSENT, abstained=True, evidence=evidence)
    best = ranked[0]
    citation = Citation(best.statement.record, best.text, best.start, best.end)
    return Answer(best.text, (citation,), False, extract.trust(asked, found, ranked), evidence)


def _withheld_under(threshold: float, given: Answer) -> Answer:
    if given.abstained or given.confidence >= threshold:
        return given
    return Answer(ABSENT, (), True, given.confidence, given.evidence)
