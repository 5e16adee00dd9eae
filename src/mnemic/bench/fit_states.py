"""Fits the weights of `read.states` on the lines of `worlds.lessons`; writes `read/states.npz`.

    python -m mnemic.bench.fit_states

Questions, sentences and phrases have a softmax regression each, the probe of reality and the mix are logistic.
The mix is fitted on wordings that the rest has not seen: they are halved by a hash, what is fitted on one half
is mixed on the other. Prints how well the halves do on one another, and states of which no line was seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import mnemic.read
from mnemic.bench.runner import Options
from mnemic.read import states
from mnemic.read.about import nameless
from mnemic.read.chronicle import without_order
from mnemic.read.phrases import phrases, words
from mnemic.read.question import analyse
from mnemic.read.states import Fitted
from mnemic.read.time import plan
from mnemic.types import Embedder, Floats
from mnemic.worlds.lessons import Line, lines

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
VALUES = 4  # values filled into each wording
SHRINK, SHRINK_REAL, SHRINK_MARKS = 1e-5, 1.0, 0.3  # of the classifiers (mean loss), the probe (summed loss)
PAIRS = 6000
ASKED_AT = 1.7e9  # seconds since 1970, after every month the lessons name
TARGET = Path(mnemic.read.__file__).parent / "states.npz"


@dataclass(frozen=True)
class Corpus:
    """Lines with their vectors, and the phrases of those that tell a state, each labelled with what it is.

    `state` is the class of each line, the last one for none; `unit` that of each phrase.
    """

    lines: list[Line]
    state: NDArray[np.int64]
    vectors: Floats
    marks: Floats
    phrase: Floats
    unit: NDArray[np.int64]
    of: NDArray[np.int64]  # the line a phrase is of
    parts: list[Floats]  # of each line the vectors of its runs of words

    @property
    def classes(self) -> int:
        return int(self.state.max()) + 1

    def where(self, test: Callable[[Line], bool]) -> Mask:
        return np.array([test(line) for line in self.lines])


def corpus(embedder: Embedder, seed: int = 0) -> Corpus:
    made = list(lines(random.Random(seed), VALUES))
    names = sorted({line.topic for line in made if line.kind == "state"})
    state = np.array([names.index(m.topic) if m.kind == "state" else len(names) for m in made])
    texts = [_bare(line) for line in made]
    units: list[tuple[str, int, int]] = []
    for n, line in enumerate(made):
        if line.kind == "state" and line.says:
            units.extend((text, int(state[n]) if fits else len(names), n) for text, fits in _phrases(line))
    units = list({(text, kind): (text, kind, n) for text, kind, n in units}.values())
    held = [states.chunks(m.text, words(m.text), frozenset((m.who.lower(),))) if m.says else [] for m in made]
    vectors = embedder.encode(
        [*texts, *(text for text, _, _ in units), *(text for some in held for text in some)]
    )
    cuts = np.cumsum([len(texts) + len(units), *(len(some) for some in held)])
    marked = np.array([states.marks(words(line.text)) for line in made])
    return Corpus(
        made, state, vectors[: len(made)], marked, vectors[len(made) : cuts[0]],
        np.array([kind for _, kind, _ in units]), np.array([n for _, _, n in units]),
        [vectors[a:b] for a, b in pairwise(cuts)],
    )  # fmt: skip


def _bare(line: Line) -> str:
    """What is embedded of a line: without its name, a question without its times and "oldest first"."""
    text = line.text
    if not line.says:
        text = plan(without_order(text), ASKED_AT).what
        question = analyse(text)
        return nameless(text, question.words, question.names)
    return nameless(text, words(text), frozenset((line.who.lower(),)))


def _phrases(line: Line) -> list[tuple[str, bool]]:
    """The phrases of a line, and whether each is the value, with or without its article."""
    found = words(line.text)
    made = []
    for i, j in phrases(found):
        text = line.text[found[i].start : found[j - 1].end]
        bare = text.split(" ", 1)[-1] if found[i].kind == "det" else text
        whole = line.value.split(" ", 1)[-1] if line.value.startswith("the ") else line.value
        if not any(w.lower == line.who.lower() for w in found[i:j]):
            made.append((text, bare.lower() in (line.value.lower(), whole.lower())))
    return made


def fit(known: Corpus, seen: Mask, mix: Floats | None = None, name: str = "") -> Fitted:
    """All weights but the mix from the lines seen."""
    says = known.where(lambda line: line.says)
    real = known.where(lambda line: line.kind == "state") & says & seen
    fact = known.where(lambda line: line.way == "told")
    features = np.hstack([known.vectors, known.marks])[real]
    shrink = np.r_[np.full(known.vectors.shape[1], SHRINK_REAL), np.full(known.marks.shape[1], SHRINK_MARKS)]
    told = seen[known.of]
    return Fitted(
        name,
        classifier(known.vectors[seen & ~says], known.state[seen & ~says], known.classes),
        classifier(known.vectors[seen & says], known.state[seen & says], known.classes),
        classifier(known.phrase[told], known.unit[told], known.classes),
        logistic(features, fact[real], shrink),
        np.zeros(3, np.float32) if mix is None else mix,
    )


def classifier(x: Floats, y: NDArray[np.int64], classes: int) -> Floats:
    """[classes, d + 1] softmax regression, the bias last."""
    n, d = x.shape
    hot = np.eye(classes)[y]

    def loss(w: Array) -> tuple[float, Array]:
        weight = w.reshape(classes, d + 1)
        p = states.softmax(weight, x)  # type: ignore[arg-type]
        slope = (p - hot) / n
        value = -float(np.log((p * hot).sum(axis=1) + 1e-12).mean()) + SHRINK / 2 * float(
            (weight[:, :-1] ** 2).sum()
        )
        grad = np.hstack([slope.T @ x + SHRINK * weight[:, :-1], slope.sum(axis=0)[:, None]])
        return value, grad.ravel()

    w = minimize(loss, np.zeros(classes * (d + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    return np.asarray(w.reshape(classes, d + 1), np.float32)


def logistic(x: Any, y: Mask, shrink: Array | float) -> Floats:
    """[features + 1] logistic regression, the bias last."""
    x = np.hstack([x, np.ones((len(x), 1))]).astype(np.float64)
    l2 = np.append(np.broadcast_to(shrink, x.shape[1] - 1), 0.01)

    def loss(w: Array) -> tuple[float, Array]:
        z = x @ w
        value = float(np.logaddexp(0, z).sum() - z[y].sum() + (l2 * w * w).sum() / 2)
        return value, x.T @ (1 / (1 + np.exp(-z)) - y) + l2 * w

    w = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return np.asarray(w, np.float32)


def pairs(known: Corpus, seen: Mask, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Questions and sentences, a third of them of the same state; whether the sentence answers."""
    rng = np.random.default_rng(seed)
    says = known.where(lambda line: line.says)
    fact = known.where(lambda line: line.way == "told")
    questions = np.flatnonzero(seen & ~says & (known.state < known.classes - 1))
    sentences = np.flatnonzero(seen & says)
    q, s = rng.choice(questions, PAIRS), rng.choice(sentences, PAIRS)
    for n in np.flatnonzero(rng.random(PAIRS) < 0.35):
        same = sentences[known.state[sentences] == known.state[q[n]]]
        s[n] = rng.choice(same) if len(same) else s[n]
    return q, s, (known.state[q] == known.state[s]) & fact[s]


def features(known: Corpus, weights: Fitted, q: NDArray[np.int64], s: NDArray[np.int64]) -> Array:
    share = states.softmax(weights.asks, known.vectors[q])[:, :-1]
    shared = states.overlap(weights, share, known.vectors[s], [known.parts[n] for n in s])
    return np.column_stack([shared, states.reality(weights.real, known.vectors[s], known.marks[s])])


def wording(line: Line) -> int:
    """One half or the other, by the wording."""
    return hashlib.sha256(f"{line.topic}{line.way}{line.template}".encode()).digest()[0] & 1


def _report(what: str, z: Array, y: Mask) -> None:
    given = z > 0
    print(
        f"{what}: precision {y[given].mean():.3f}, recall {given[y].mean():.3f} (n={len(y)}, {y.sum()} answer)"
    )


def main() -> None:
    embedder = Options().plain_embedder
    known = corpus(embedder)
    half = known.where(lambda line: bool(wording(line)))
    x, y = [], []
    for seen, seed in ((half, 0), (~half, 1)):
        q, s, answers = pairs(known, ~seen, seed)
        x.append(features(known, fit(known, seen), q, s))
        y.append(answers)
    mix = logistic(np.vstack(x), np.concatenate(y), 0.1)[[2, 0, 1]]
    _report("wordings never seen", mix[0] + np.vstack(x) @ mix[1:], np.concatenate(y))
    state_names = sorted({line.topic for line in known.lines if line.kind == "state"})
    new = known.where(lambda line: line.kind == "state" and state_names.index(line.topic) % 4 == 0)
    q, s, answers = pairs(known, new, 2)
    _report("states never seen", mix[0] + features(known, fit(known, ~new), q, s) @ mix[1:], answers)
    weights = fit(known, np.ones(len(known.lines), bool), mix, embedder.fingerprint)
    arrays = {name: getattr(weights, name) for name in ("asks", "tells", "means", "real", "mix")}
    small = {name: a.astype(np.float16) for name, a in arrays.items()}
    np.savez_compressed(TARGET, embedder=np.array(weights.embedder), **small)
    print(f"{len(known.lines)} lines; {sum(a.size for a in small.values())} weights in {TARGET}")


if __name__ == "__main__":
    main()
