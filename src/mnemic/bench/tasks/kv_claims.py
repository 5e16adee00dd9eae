"""What the papers of cache methods report, at equal bytes: each beside its baseline and its twin by lot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench.bounded import LENGTH, OWN, SETTINGS, fitted, pair_nbytes, read, take_back
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.types import Ints, MnemicError
from mnemic.worlds import tokens

NAME = "kv_claims"
FOLDER = None
PROTOCOL = """The reference model reads a text into a cache of so many bytes and is asked for the value of a
fact; right is the greedy next token. "METHOD 25%" and "METHOD 50%": pages of 448 tokens with 24 facts among
filler, inside the model's window, in that share of the full cache's bytes; needle: the question is not known
while reading; needle_known: it ends the page, so that what is kept is chosen by it, is taken back (the last
tokens are kept by every method), and then asked. "METHOD 8K": a text of 8,192 tokens with 200 facts, of which
cases are asked one by one after it was read once, in the bytes of 448 tokens (of two tiers the fast one):
needle; or it ends with 96 different tokens, which are written again: copied, a case a token, right when it is
the greedy one; methods that recall blocks recall as many tokens, in units as short as a fact and what is around
it. thread_ahead: what follows the page is known while reading, and may be read ahead: it asks where
a thread of three facts leads, and all five tokens of the answer must be the greedy ones; the draft is what the
model says to it from a cache of the whole page in two bits (kivi), "undrafted" reads the question ahead and
nothing else. A case is a page, a fact or a token. "METHOD, scrambled" draws by lot what the method chooses
(mnemic.bench.scrambled). Only those metrics are measured that a claim of a method asks for. Methods are set
for a window of 512 (sinks 4, recent 8, block 8; the rest: mnemic.bench.bounded). Options: cases=100,
methods=NAMES (those whose claims are measured)."""

CASES, ROWS, FACTS = 100, 25, 24
LONG, LONG_FACTS, COPIED = 8192, 200, 96
FAR = {"block": 32, "sinks": 16}  # of the texts beyond the window
UNITS = {"block": 8, "chosen": 32}
SHORT: dict[str, dict[str, Any]] = {
    "infllm": UNITS,
    "quest": UNITS,
    "actqkv": UNITS,
    "recycled-attention": {"unit": 8},
}
"""There: units as short as a fact and what is around it; as many tokens are recalled as by the others."""
ALIAS: dict[str, tuple[str, dict[str, Any]]] = {
    "window": ("streaming", {"sinks": 0}),
    "undrafted": ("speckv", {}),
}
HOPS = 3
LOT = ", scrambled"
Question = tuple[list[int], list[int]]


def run(data: Path | None, options: Options) -> Outcome:
    """Measure every system that a claim names.

    Raises:
        MnemicError: no claim of these methods is measured here.
    """
    from mnemic.kv.files import fingerprint
    from mnemic.models import load_reference

    given = options.extra.get("methods")
    wanted = systems(given.split(",") if given else None)
    if not wanted:
        raise MnemicError(f"no claim of {given} is measured here; `mnemic methods kv` lists the methods")
    model, _ = load_reference()
    count = int(options.extra.get("cases", CASES))
    cases = options.chosen(range(count), lambda i: f"{options.seed}.{i}")
    made = cache(partial(_policy, model))
    about = {
        "task": PROTOCOL,
        "set": [SETTINGS, OWN, FAR, SHORT],
        "model": fingerprint(model)[:16],
        "cases": cases,
    }
    rows: dict[str, list[Row]] = {}
    sizes: dict[str, int] = {}
    for system, metric in options.progress(wanted, "systems"):
        what = about | {"system": system, "metric": metric, "seed": options.seed}
        found = options.kept(what, partial(_measure, model, made, system, metric, cases, options.seed))
        rows.setdefault(system, []).extend(found["rows"])
        sizes[system] = max(sizes.get(system, 0), found["nbytes"])
    return Outcome(rows, next(iter(rows)), {"model": about["model"], "sizes": sizes})


def systems(methods: list[str] | None = None) -> list[tuple[str, str]]:
    """What is measured: (system, metric) of every claim of these methods (of all), each once."""
    from mnemic.recipes import recipes

    claims = [(each.name, each.claim()) for each in recipes("kv")]
    named = (
        (system, claim.metric)
        for name, claim in claims
        if claim is not None and claim.task == NAME and (methods is None or name in methods)
        for system in (claim.baseline, claim.method, claim.sabotage)
    )
    return list(dict.fromkeys(named))


def _policy(model: Any, system: str) -> Any:
    """The policy of a system, prepared."""
    from mnemic.bench.scrambled import scrambled

    name, _, place = system.removesuffix(LOT).rpartition(" ")
    method, own = ALIAS.get(name, (name, {}))
    settings = SETTINGS | (FAR | SHORT.get(method, {}) if place == "8K" else {}) | OWN.get(method, {}) | own
    policy = fitted(model, method, settings)
    return scrambled(policy, model) if system.endswith(LOT) else policy


def _measure(
    model: Any, made: Callable[[str], Any], system: str, metric: str, cases: list[int], seed: int
) -> dict[str, Any]:
    place = system.removesuffix(LOT).rpartition(" ")[2]
    if place == "8K":
        return (_copied if metric == "copied" else _far)(model, made(system), cases, seed)
    if metric == "thread_ahead":
        return _ahead(model, system, cases, seed)
    right: list[float] = []
    nbytes = 0
    for first in range(0, len(cases), ROWS):
        pages = [page(np.random.default_rng([seed, 5, case]), metric) for case in cases[first : first + ROWS]]
        text = np.stack([each[0] for each in pages])
        budget = (
            None
            if system.startswith("full ")
            else int(float(place[:-1]) / 100 * text.size * pair_nbytes(model))
        )
        cache = read(model, made(system), budget, text)
        nbytes = max(nbytes, cache.nbytes // len(pages))
        if metric == "needle_known":
            take_back(cache, len(pages[0][1][0]))
        found = said(model, cache, [each[1][0] for each in pages])
        right += [float(one == each[1][1][0]) for one, each in zip(found, pages, strict=True)]
    return {
        "rows": [{"id": f"{seed}.{metric}.{i}", metric: one} for i, one in zip(cases, right, strict=True)],
        "nbytes": nbytes,
    }


def page(rng: np.random.Generator, metric: str) -> tuple[Ints, Question]:
    """A text of LENGTH tokens and a question about it, which ends the text where it is known."""
    told = tokens.facts(rng, FACTS)
    asked = tokens.ask_value(told, int(rng.integers(FACTS)))
    if metric != "needle_known":
        return tokens.tell(rng, told, LENGTH), asked
    return np.concatenate([tokens.tell(rng, told, LENGTH - len(asked[0])), asked[0]]), asked


def _far(model: Any, policy: Any, cases: list[int], seed: int) -> dict[str, Any]:
    """Facts asked of a text far longer than the window."""
    rng = np.random.default_rng([seed, 6])
    told = tokens.facts(rng, LONG_FACTS)
    text, order = tokens.tell(rng, told, LONG), rng.permutation(LONG_FACTS)
    cache = read(model, policy, LENGTH * pair_nbytes(model), text[None])
    rows: list[Row] = []
    for case in cases:
        question, answer = tokens.ask_value(told, int(order[case]))
        found = said(model, cache, [question])
        cache.crop(-len(question))
        rows.append({"id": f"{seed}.needle.{case}", "needle": float(found[0] == answer[0])})
    return {"rows": rows, "nbytes": cache.nbytes}


def _copied(model: Any, policy: Any, cases: list[int], seed: int) -> dict[str, Any]:
    """A string at the end of a text far longer than the window, written again."""
    import torch

    rng = np.random.default_rng([seed, 7])
    string = tokens.KEYS + rng.permutation(tokens.VOCABULARY - tokens.KEYS)[:COPIED]
    text = np.concatenate([[tokens.START], tokens.filler(rng, LONG - 1 - COPIED), string])
    budget = None if type(policy).__name__ == "Full" else LENGTH * pair_nbytes(model)
    cache = read(model, policy, budget, text[None])
    nbytes = cache.nbytes
    with torch.inference_mode():
        ids = torch.tensor([[tokens.AGAIN, *string.tolist()]])
        greedy = model(ids, past_key_values=cache).logits[0, 1:-1].argmax(1).numpy()
    right = greedy == string[1:]
    return {
        "rows": [{"id": f"{seed}.copied.{i}", "copied": float(right[i])} for i in cases if i < len(right)],
        "nbytes": nbytes,
    }


def _ahead(model: Any, system: str, cases: list[int], seed: int) -> dict[str, Any]:
    """Threads asked after a page, the question and a draft of the answer read ahead while reading it."""
    import torch

    from mnemic import kv
    from mnemic.bench.scrambled import scrambled
    from mnemic.kv.speckv import look_ahead

    rows: list[Row] = []
    nbytes = 0
    for case in cases:
        text, (question, answer) = thread(np.random.default_rng([seed, 8, case]))
        prompt = torch.from_numpy(np.concatenate([text, question]))
        drafted = 0 if system.startswith("undrafted") else len(answer)
        ahead = tuple(question)
        if drafted:
            ahead = look_ahead(
                model, prompt, window=len(question), lookahead=drafted, method="kivi",
                block=SETTINGS["block"], residual=SETTINGS["residual"],
            )  # fmt: skip
        policy = kv.policy("speckv", ahead=ahead, sinks=SETTINGS["sinks"], recent=SETTINGS["recent"], block=8)
        policy = scrambled(policy, model, case) if system.endswith(LOT) else policy
        budget = int(text.size * pair_nbytes(model) / 4)
        cache = read(model, policy, budget, text[None])
        nbytes = max(nbytes, cache.nbytes)
        with torch.inference_mode():
            ids = torch.tensor([[*question, *answer]])
            greedy = model(ids, past_key_values=cache).logits[0, len(question) - 1 : -1].argmax(1)
        right = greedy.tolist() == answer
        rows.append({"id": f"{seed}.thread_ahead.{case}", "thread_ahead": float(right)})
    return {"rows": rows, "nbytes": nbytes}


def thread(rng: np.random.Generator) -> tuple[Ints, Question]:
    """A text of LENGTH tokens with a thread among its facts, and the question where it leads."""
    linked = tokens.facts(rng, FACTS, HOPS)
    told = rng.permutation(linked)
    row = int(np.flatnonzero(told[:, 0] == linked[0, 0])[0])
    return tokens.tell(rng, told, LENGTH), tokens.ask_thread(told, row, HOPS)


def said(model: Any, cache: Any, questions: list[list[int]]) -> list[int]:
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor(questions), past_key_values=cache).logits[:, -1]
    found: list[int] = logits.argmax(1).tolist()
    return found
