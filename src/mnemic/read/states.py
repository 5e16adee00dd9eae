"""Which state of somebody a question asks for, which one a sentence tells, and whether as true.

"What does Ann drive now?" is answered by "sold the old one and got a sedan", not by "almost paid for a van".
Sentence vectors do not bring them together by themselves; they do tell, by a linear map, which everyday state
(home, job, car, pet, ...) a question or a sentence is about. With softmax classifiers p over K states and a
logistic probe r of the sentence's vector s and of the small words that tell fact from wish:

    telling = sigmoid(a + b log(eps + sum_k p(k | question) p(k | sentence) + best) + c r)
    best    = max over phrases of sum_k p(k | question) p(k | phrase),    r = u . s + v . marks + w

Names asked for are left out of what is embedded and must stand in the sentence. The words that are the answer
are the phrase that most looks like a value of the state asked for, by the same classifier as in `best`.
Everything is fitted to lines of `worlds.lessons` by `python -m mnemic.bench.fit_states`, for one embedder; with
another one nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np

from mnemic.index.words import terms
from mnemic.read import extract
from mnemic.read.about import Event, nameless
from mnemic.read.phrases import Word
from mnemic.read.question import Question, analyse
from mnemic.types import Citation, Embedder, Floats, When

EPS = 1e-3
ASKED = 0.2  # share of a question that must be about known states
TOLD = 0.5  # probability that makes a sentence one that tells the state

MARKS: dict[str, str] = {
    "nearly": "nearly almost barely hardly",
    "wish": "would could might may wish hope dream want wonder consider think thought imagine plan intend "
    "meant tempted maybe perhaps someday if",
    "deny": "not never no cannot neither nor without nothing refuse reject decline deny denied turn fail "
    "vain forbid withdraw cancel unable afford",
    "dislike": "hate loathe bad awful disgust silly dull boring laugh joke mock complain overrated sick "
    "allergic stand bear detest dread",
    "loan": "borrow lend lent rent hire test return back lift loan try trial sample taste brief once",
    "visit": "visit holiday weekend trip postcard tourist guest wedding hour night watch look see saw admire "
    "pass read hear listen photograph meet met",
    "others": "somebody somebody's neighbour colleague else friend",
    "now": "now today since daily every always only these permanent good own mine",
    "gain": "buy bought get got new become join start begin began move hire sign adopt switch change "
    "exchange trade swap settle accept enrol register promote win take took pay paid appoint "
    "subscribe convert replace upgrade pick choose chose own belong member",
}
"""Small words and verbs of English, by what they say about a fact; how much each group tells is fitted."""
_MARKS = {w: k for k, (_, ws) in enumerate(MARKS.items()) for w in ws.split()}
_STEMS = {t: k for w, k in _MARKS.items() for t in terms(w)}


@dataclass(frozen=True)
class Fitted:
    """The weights for one embedder of dimension d; K states, the last class is none of them.

    Attributes:
        asks, tells, means: [K + 1, d + 1] classifiers of questions, sentences and phrases, the bias last.
        real: [d + marks + 1] the probe r; mix: [3] a, b, c.
    """

    embedder: str
    asks: Floats
    tells: Floats
    means: Floats
    real: Floats
    mix: Floats


@cache
def fitted() -> Fitted:
    with np.load(str(files("mnemic.read").joinpath("states.npz"))) as stored:
        arrays = {name: stored[name].astype(np.float32) for name in ("asks", "tells", "means", "real", "mix")}
        return Fitted(str(stored["embedder"]), **arrays)


def known(embedder: Embedder | None) -> bool:
    """Whether the weights are for this embedder."""
    return embedder is not None and embedder.fingerprint.startswith(fitted().embedder)


@dataclass(frozen=True)
class Asked:
    """A question about a state: taken apart, with the share of each state [K] in it."""

    question: Question
    names: frozenset[str]
    states: Floats

    @property
    def share(self) -> float:
        return float(self.states.sum())


def asked(text: str, embedder: Embedder) -> Asked:
    """What state a question without its times asks for."""
    question = analyse(text)
    vector = embedder.encode([nameless(text, question.words, question.names)])
    return Asked(question, question.names, softmax(fitted().asks, vector)[0, :-1])


def telling(wanted: Asked, among: Sequence[Event], embedder: Embedder) -> list[Event]:
    """The events that tell the state asked for as true, each with its probability as match."""
    named = [e for e in among if wanted.names <= e.statement.stems | e.statement.about]
    if not named:
        return []
    words = [e.statement.words for e in named]
    spoken = [nameless(e.statement.record.text, w, wanted.names) for e, w in zip(named, words, strict=True)]
    held = [chunks(e.statement.record.text, w, wanted.names) for e, w in zip(named, words, strict=True)]
    vectors = embedder.encode([*spoken, *(text for some in held for text in some)])
    cuts = np.cumsum([len(named), *(len(some) for some in held)])
    parts = [vectors[a:b] for a, b in pairwise(cuts)]
    shared = overlap(fitted(), wanted.states, vectors[: len(named)], parts)
    real = reality(fitted().real, vectors[: len(named)], np.array([marks(w) for w in words]))
    a, b, c = fitted().mix
    p = 1 / (1 + np.exp(-(a + b * shared + c * real)))
    best: dict[tuple[int, When], Event] = {}  # a record tells a state once for each time it speaks of
    for event, likely in zip(named, p, strict=True):
        at = (event.statement.record.id, event.when)
        if likely >= TOLD and (at not in best or likely > best[at].match):
            best[at] = replace(event, match=float(likely), sure=float(likely))
    return list(best.values())


def overlap(weights: Fitted, states: Floats, vectors: Floats, parts: Sequence[Floats]) -> Floats:
    """[n] log of how far a question and sentences speak of the same state.

    Args:
        states: [K] or [n, K] of the question; vectors: [n, d] of the sentences; parts: [phrases, d] of each.
    """
    states = np.broadcast_to(states, (len(vectors), states.shape[-1]))
    whole = (softmax(weights.tells, vectors)[:, :-1] * states).sum(axis=1)
    best = [
        float((softmax(weights.means, some)[:, :-1] @ share).max()) if len(some) else 0.0
        for some, share in zip(parts, states, strict=True)
    ]
    return np.asarray(np.log(EPS + whole + best), np.float32)


def chunks(text: str, words: Sequence[Word], names: frozenset[str]) -> list[str]:
    """The runs of words between the small ones, without the names asked for."""
    runs: list[list[Word]] = [[]]
    for word in words:
        if word.kind in ("open", "name", "number", "unit") and names.isdisjoint(word.stems):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return [text[run[0].start : run[-1].end] for run in runs if run]


def reality(real: Floats, vectors: Floats, marked: Floats) -> Floats:
    """[n] r: above 0 where a sentence tells a fact rather than a wish, a doubt or a loan."""
    return np.asarray(np.hstack([vectors, marked]) @ real[:-1] + real[-1], np.float32)


def marks(words: Sequence[Word]) -> Floats:
    """[marks] 1 for every group of `MARKS` of which a sentence has a word."""
    found = np.zeros(len(MARKS), np.float32)
    for word in words:
        for group in (_MARKS.get(word.lower), *(_STEMS.get(t) for t in terms(word.lower))):
            if group is not None:
                found[group] = 1
    return found


def value(wanted: Asked, event: Event, embedder: Embedder) -> Citation | None:
    """The phrase of an event that most looks like a value of the state asked for; None if it has no phrase."""
    ranked = [
        c
        for c in extract.candidates(wanted.question, [event.statement])
        if not event.tells(c.start, c.end) and not _names(c.statement.words[c.i : c.j], wanted.names)
    ]
    if not ranked:
        return None
    meant = softmax(fitted().means, embedder.encode([c.text for c in ranked]))[:, :-1] @ wanted.states
    best = ranked[int(np.argmax(meant))]
    return Citation(event.statement.record, best.text, best.start, best.end)


def _names(words: Sequence[Word], names: frozenset[str]) -> bool:
    return any(not names.isdisjoint(word.stems) for word in words)


def softmax(classifier: Floats, vectors: Floats) -> Floats:
    """[n, K + 1] probabilities of the classes of a linear classifier [K + 1, d + 1]."""
    z = vectors @ classifier[:, :-1].T + classifier[:, -1]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)
