"""The words that answer a question, chosen among the phrases of the evidence by a linear model.

A statement is a sentence of a recalled record; a candidate is a phrase of a statement. Each candidate has a few
dozen named features (how much of the question its sentence shares, what stands before and after it, whether
its shape is what was asked for) and its score is their weighted sum. The weights are in `weights.json`, one
number a name, written by `python -m mnemic.bench.fit_answers`; a reader can see there why a phrase won.

Choosing sentences before words is the extractive compressor of RECOMP (paper 113); leaving the answer empty
when no sentence carries it is its selective augmentation.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

from mnemic.index.words import terms
from mnemic.read.kin import LIKE, kin, root
from mnemic.read.phrases import Word, phrases, shape, words
from mnemic.read.question import Question
from mnemic.segment.sentences import sentences
from mnemic.types import Hit, Recall, Record

Features = dict[str, float]
NAMED, SAID = 4.0, 1.5  # set by hand: what "is called" counts towards a phrase and towards trust in it
_NAMING = frozenset(
    map(root, terms("name call title nickname"))
)  # a question with one of these may ask for a name
_NAMERS = [
    *([word] for word in "called named nicknamed christened baptised titled entitled dubbed".split()),
    *(
        pair.split()
        for pair in ("goes by", "went by", "known as", "name is", "name was", "name it", "called it")
    ),
]
MOST_STATEMENTS = 12  # read closely; the others only count towards the rarity of words


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of a recalled record: characters [start, end) of its text, its words and their stems.

    `about` adds the stems of what the record stands under: title, place, author.
    """

    record: Record
    rank: int
    start: int
    end: int
    words: tuple[Word, ...]
    stems: frozenset[str]
    about: frozenset[str]

    @property
    def text(self) -> str:
        return self.record.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A phrase that might answer: words [i, j) of its statement, and why it scored as it did."""

    statement: Statement
    i: int
    j: int
    features: Features
    score: float

    @property
    def start(self) -> int:
        return self.statement.words[self.i].start

    @property
    def end(self) -> int:
        return self.statement.words[self.j - 1].end

    @property
    def text(self) -> str:
        return self.statement.record.text[self.start : self.end]

    @property
    def named(self) -> bool:
        """Whether it holds a name."""
        return any(word.kind == "name" for word in self.statement.words[self.i : self.j])


@cache
def weights() -> Mapping[str, Mapping[str, float]]:
    """The fitted weights: "span" scores phrases, "trust" turns the best one into a probability."""
    text = files("mnemic.read").joinpath("weights.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, float]] = json.loads(text)
    return loaded


def statements(evidence: Recall | Sequence[Hit]) -> list[Statement]:
    """Every sentence of the evidence, best record first, in the order of the text."""
    found = []
    for rank, hit in enumerate(evidence):
        record = hit.record
        above = " ".join(filter(None, (record.title, record.author, *record.place)))
        about = frozenset(map(root, terms(above)))
        for span in sentences(record.text):
            inside = tuple(words(record.text, span.start, span.stop))
            if inside:
                stems = frozenset(s for w in inside for s in w.stems)
                found.append(Statement(record, rank, inside[0].start, inside[-1].end, inside, stems, about))
    return found


def rarity(found: Sequence[Statement], stems: Sequence[str]) -> dict[str, float]:
    """How much each stem tells: log(1 + n / (statements with it + 1/2)), n the number of statements."""
    with_it = Counter(s for statement in found for s in statement.stems)
    return {s: math.log(1 + (len(found) + 1) / (with_it[s] + 0.5)) for s in stems}


def coverage(question: Question, statement: Statement, rare: Mapping[str, float]) -> float:
    """Share of the question's content, by rarity, that the statement carries; headings count half."""
    total = sum(rare[s] for s in question.content)
    return sum(rare[s] * _carried(s, statement) for s in question.content) / total if total else 0.0


def _carried(stem: str, statement: Statement) -> float:
    """How far a statement carries a word: the word itself 1, one of like meaning or in its headings less."""
    if stem in statement.stems:
        return 1.0
    return max(LIKE * (not kin(stem).isdisjoint(statement.stems)), 0.5 * (stem in statement.about))


def candidates(question: Question, found: Sequence[Statement]) -> list[Candidate]:
    """The phrases of the statements that fit best, scored, best first."""
    rare = rarity(found, question.content)
    cover = [coverage(question, s, rare) for s in found]
    best = sorted(range(len(found)), key=lambda n: (-cover[n], n))[:MOST_STATEMENTS]
    weight = weights()["span"]
    scored = []
    for n in best:
        near = max((cover[m] for m in (n - 1, n + 1) if _adjacent(found, n, m)), default=0.0)
        shared = _sentence(question, found[n], rare, cover[n], cover[best[0]], near)
        for i, j, features in _phrases(question, found[n], rare):
            features |= shared
            score = sum(weight.get(name, 0.0) * value for name, value in features.items())
            score += NAMED * _named(question, found[n], i, j)
            scored.append(Candidate(found[n], i, j, features, score))
    fitting = [c for c in scored if _fits(question, c)] or scored
    return sorted(fitting, key=lambda c: -c.score)


def _fits(question: Question, candidate: Candidate) -> bool:
    """Whether a phrase has the shape that is asked for, where only one will do: a number, a date."""
    span = candidate.statement.words[candidate.i : candidate.j]
    if question.asks == "number":
        return any(w.kind == "number" for w in span[:2]) and shape(span) != "date"
    return question.asks != "date" or shape(span) == "date"


def _adjacent(found: Sequence[Statement], n: int, m: int) -> bool:
    return 0 <= m < len(found) and found[m].rank == found[n].rank


def _sentence(
    question: Question, statement: Statement, rare: Mapping[str, float], cover: float, best: float, near: float
) -> Features:
    names = [s for s in question.names if s in statement.stems or s in statement.about]
    return {
        "sentence.cover": cover,
        "sentence.behind": best - cover,
        "sentence.near": near,
        "sentence.pairs": _pairs(question, statement),
        "sentence.names": len(names) / len(question.names) if question.names else 0.0,
        "sentence.rank": math.log1p(statement.rank),
        "sentence.length": math.log1p(len(statement.words)),
    }


def _pairs(question: Question, statement: Statement) -> float:
    """Share of neighbouring content words of the question that are neighbours in the statement too."""

    def neighbours(stems: Sequence[str]) -> set[tuple[str, str]]:
        return set(pairwise(stems))

    asked = neighbours(question.content)
    there = neighbours([s for w in statement.words for s in w.stems])
    return len(asked & there) / len(asked) if asked else 0.0


def _phrases(
    question: Question, statement: Statement, rare: Mapping[str, float]
) -> Iterator[tuple[int, int, Features]]:
    """Each phrase of a statement with the features of the phrase itself."""
    found = statement.words
    told = [max((rare.get(s, 0.0) for s in w.stems), default=0.0) for w in found]
    focus = [bool(question.focus.intersection(w.stems)) for w in found]
    verb = _verb(question, statement)
    asks = question.asks
    top = max(rare.values(), default=1.0)
    for i, j in phrases(found, clauses=asks in ("reason", "manner")):
        span = found[i:j]
        before = found[i - 1].kind if i else "edge"
        after = found[j].kind if j < len(found) else "edge"
        repeated = sum(told[k] > 0 and not focus[k] for k in range(i, j))
        content = sum(bool(w.stems) for w in span)
        form = shape(span)
        features: Features = {
            f"{asks}/{form}": 1.0,
            f"before={before}": 1.0,
            f"after={after}": 1.0,
            f"first={span[0].kind}": 1.0,
            f"last={span[-1].kind}": 1.0,
            f"cut={before}>{span[0].kind}": 1.0,
            f"cut={span[-1].kind}<{after}": 1.0,
            f"length={min(j - i, 8)}": 1.0,
            f"{asks}/length": math.log(j - i),
            "span.repeats": repeated / max(content, 1),
            "span.all_repeated": float(repeated == content),
            "span.opens": float(i == 0),
            "near.2": _near(told, i, j, 2) / top,
            "near.5": _near(told, i, j, 5) / top,
            "near.10": _near(told, i, j, 10) / top,
        }
        if i and found[i - 1].kind in ("prep", "conj", "aux"):
            features[f"{asks}/{found[i - 1].lower}"] = 1.0
        if span[0].kind in ("prep", "conj"):
            features[f"{asks}/opens {span[0].lower}"] = 1.0
        if j < len(found) and told[j]:
            features["next.asked"] = 1.0
        if i and told[i - 1]:
            features["previous.asked"] = 1.0
        if verb >= 0:
            side = "after" if i > verb else "before"
            features[f"{'subject' if question.subject else 'object'}/{side}"] = 1.0
            features["verb.distance"] = math.log1p(min(abs(i - verb), abs(j - 1 - verb)))
        if focus[j - 1]:
            features["focus.last"] = 1.0
        elif any(focus[i:j]):
            features["focus.inside"] = 1.0
        elif any(focus[max(i - 3, 0) : i]) or any(focus[j : j + 3]):
            features["focus.beside"] = 1.0
        for place, word in (("first", span[0]), ("last", span[-1])):
            if word.kind == "open":
                for ending in ("ed", "ing", "ly", "s"):
                    if word.lower.endswith(ending):
                        features[f"{place}~{ending}"] = 1.0
        yield i, j, features


def _named(question: Question, statement: Statement, i: int, j: int) -> int:
    """1 if words [i, j) are the name asked for, -1 if they are said to be that of something else, or 0."""
    others = [s for s in question.content if s not in _NAMING]
    found = statement.words
    told = [w.lower for w in found[max(i - 3, 0) : i] if w.kind not in ("quote", "det")]
    said = found[i].kind == "name" and (told[-1:] in _NAMERS or told[-2:] in _NAMERS)
    if not said or len(others) == len(question.content) or (j < len(found) and found[j].kind == "name"):
        return 0
    carried = [_carried(s, statement) > 0 for s in others]
    return all(carried) - (not any(carried))


def _near(told: Sequence[float], i: int, j: int, reach: int) -> float:
    """Rarity of the question's words within `reach` words of the phrase, outside it."""
    return sum(told[max(i - reach, 0) : i]) + sum(told[j : j + reach])


def _verb(question: Question, statement: Statement) -> int:
    """Where the question's main verb (its first or last open-class word) stands; -1 if it does not."""
    asked = [w for w in question.words if w.kind == "open" and not question.focus.intersection(w.stems)]
    chosen = asked[:1] if question.subject else asked[::-1]
    for word in chosen:
        for k, other in enumerate(statement.words):
            if other.kind == "open" and set(word.stems) & set(other.stems):
                return k
    return -1


def trust(question: Question, found: Sequence[Statement], ranked: Sequence[Candidate]) -> float:
    """Probability that the best candidate answers the question at all, 0 to 1."""
    weight = weights()["trust"]
    told = doubts(question, found, ranked)
    score = sum(weight.get(name, 0.0) * value for name, value in told.items())
    score += SAID * _named(question, ranked[0].statement, ranked[0].i, ranked[0].j)
    return 1 / (1 + math.exp(-score))


def doubts(question: Question, found: Sequence[Statement], ranked: Sequence[Candidate]) -> Features:
    """What speaks for and against the best candidate: what is missing, how clear the lead is."""
    best = ranked[0]
    rare = rarity(found, question.content)
    total = sum(rare.values()) or 1.0
    here = best.statement.stems | best.statement.about
    anywhere = frozenset().union(*(s.stems | s.about for s in found))
    exps = [math.exp(c.score - best.score) for c in ranked]
    same = sum(e for c, e in zip(ranked, exps, strict=True) if _overlap(c, best))
    names = question.names
    denies = any(w.kind == "negation" for w in best.statement.words)
    span = best.statement.words[best.i : best.j]
    return {
        "bias": 1.0,
        "score": best.score,
        "lead": same / sum(exps),
        "clear": 1 / sum(exps),
        "cover": best.features["sentence.cover"],
        "pairs": best.features["sentence.pairs"],
        "missing": sum(rare[s] for s in question.content if s not in anywhere) / total,
        "missing.most": max((rare[s] for s in question.content if s not in here), default=0.0)
        / max(rare.values(), default=1.0),
        "names.here": sum(s in here for s in names) / len(names) if names else 1.0,
        "names.missing": float(any(s not in anywhere for s in names)),
        "negation": float(denies != question.negated),
        "near": best.features["near.5"],
        "length": math.log(len(question.content) + 1),
        f"asks={question.asks}": 1.0,
        f"{question.asks}/{shape(span)}": 1.0,
    }


def _overlap(a: Candidate, b: Candidate) -> bool:
    return a.statement is b.statement and a.i < b.j and b.i < a.j
