"""What each method of cache memory still knows as its bytes shrink: the frontier of recall against bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench import stats
from mnemic.bench.bounded import LENGTH, OWN, SETTINGS, fitted, pair_nbytes, read, take_back
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.types import Ints, MnemicError
from mnemic.worlds import tokens

NAME = "frontier"
FOLDER = None
PROTOCOL = """The reference model reads a page of 448 tokens into a cache of 50, 25, 12.5, 6 or 3% of
the full cache's bytes, is asked three questions one after the other, and keeps what it reads.
needle (one of 24 facts), keyvalue (223 facts and nothing else), threads (3 hops), order (which key was told
first): the share of first questions whose every answer token is the greedy one, none of them known while
reading; X_third: the same of third questions; X_seen, X_seen_third: the page ended with the first question,
so that what was kept was chosen with it in sight, was taken back (the last tokens are kept by every method)
and asked, and two others after it. copy_surprise: nats a token of the second half of a page that writes a
string twice (its perplexity is e to that). A case is a page. Methods are set for a window of 512 (sinks 4,
recent 8, block 8; the rest: mnemic.bench.bounded), and where that is above the bytes, smaller (LESS in the
task; extra.settings says which); a method whose least size is above them all the same has no row
(extra.too_small). Of two tiers the bytes are those of the fast one. Options: methods=NAMES, cases=100,
shares=0.5,0.25."""

CASES, ROWS = 100, 50  # pages, and how many of them are read side by side
SHARES = "0.5,0.25,0.125,0.06,0.03"
LESS = {"sinks": 2, "recent": 4, "local": 8, "chosen": 1, "residual": 8, "room": 8, "middle": 4, "vital": 8}
TASKS = ("needle", "keyvalue", "threads", "order")
Question = tuple[list[int], list[int]]


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic import kv
    from mnemic.kv.files import fingerprint
    from mnemic.models import load_reference

    model, _ = load_reference()
    count = int(options.extra.get("cases", CASES))
    cases = options.chosen(range(count), lambda i: f"{options.seed}.{i}")
    shares = [float(share) for share in options.extra.get("shares", SHARES).split(",")]
    given = options.extra.get("methods")
    wanted = given.split(",") if given else kv.names()
    systems: dict[str, list[Row]] = {"full": _kept(model, "full", 1.0, cases, options)["rows"]}
    too_small: dict[str, str] = {}
    sizes: dict[str, int] = {}
    settings: dict[str, str] = {}
    for method in wanted:
        for share in shares if method != "full" else ():
            done = _kept(model, method, share, cases, options)
            name = f"{method} {100 * share:g}%"
            if "refused" in done:
                too_small[name] = done["refused"]
                continue
            systems[name], sizes[name], settings[name] = done["rows"], done["nbytes"], done["settings"]
    extra = {
        "model": fingerprint(model)[:16], "sizes": sizes, "settings": settings, "too_small": too_small,
        "curves": _curves(systems, options.seed), "best": _best(systems, shares),
    }  # fmt: skip
    return Outcome(systems=systems, default="full", extra=extra)


def _kept(model: Any, method: str, share: float, cases: list[int], options: Options) -> dict[str, Any]:
    """What this method got, from an earlier run with the same model and cases where there was one."""
    from mnemic.kv.files import fingerprint

    what: dict[str, Any] = {
        "task": PROTOCOL,
        "settings": [SETTINGS, OWN, LESS],
        "model": fingerprint(model),
        "seed": options.seed,
    }
    what |= {"method": method, "share": share, "cases": cases}
    return options.kept(what, lambda: _measure(model, method, share, cases, options))


def _measure(model: Any, method: str, share: float, cases: list[int], options: Options) -> dict[str, Any]:
    """What a method set for these windows gets, set smaller where that does not fit."""
    refused = ""
    for size, smaller in (("usual", {}), ("less", LESS)):
        settings = SETTINGS | OWN.get(method, {}) | smaller
        try:
            return _asked(model, method, settings, share, cases, options) | {"settings": size}
        except MnemicError as error:
            refused = str(error)
    return {"refused": refused}


def _asked(
    model: Any, method: str, settings: dict[str, Any], share: float, cases: list[int], options: Options
) -> dict[str, Any]:
    """The rows of all pages, and the bytes a page takes at most."""
    policy = fitted(model, method, settings)
    rows: list[Row] = []
    nbytes = 0
    for first in options.progress(range(0, len(cases), ROWS), f"{method} {100 * share:g}%"):
        some = cases[first : first + ROWS]
        found: list[Row] = [{"id": f"{options.seed}.{case}"} for case in some]
        budget = None if method == "full" else int(share * LENGTH * len(some) * pair_nbytes(model))
        for number, task in enumerate((*TASKS, "copy")):
            for seen in (False, True) if task != "copy" else (False,):
                drawn = [_page(task, np.random.default_rng([options.seed, c, number]), seen) for c in some]
                cache = read(model, policy, budget, np.stack([text for text, _ in drawn]))
                nbytes = max(nbytes, cache.nbytes // len(some))
                if seen:
                    take_back(cache, len(drawn[0][1][0][0]))
                turns = [_said(model, cache, list(each)) for each in zip(*(q for _, q in drawn), strict=True)]
                name = f"{task}_seen" if seen else task
                for row, first_said, third_said in zip(found, turns[0], turns[-1], strict=True):
                    if task == "copy":
                        row["copy_surprise"] = first_said[1]
                    else:
                        row[name], row[f"{name}_third"] = first_said[0], third_said[0]
        rows += found
    return {"rows": rows, "nbytes": nbytes}


def _page(task: str, rng: np.random.Generator, seen: bool) -> tuple[Ints, list[Question]]:
    """A text, and three questions about it (for copy, the one continuation); it ends with a first one seen."""
    if task == "copy":
        page = tokens.copy(rng, LENGTH)
        half = int(np.flatnonzero(page.ids == tokens.AGAIN)[0])
        rest = page.ids[half + 2 :].tolist()
        return page.ids[:half], [(page.ids[half : half + 2].tolist(), rest)]
    length = LENGTH - (3 if task == "order" else 2) * seen
    linked = tokens.facts(rng, length // 2 - 1 if task == "keyvalue" else 24, 9 if task == "threads" else 0)
    told = linked if task == "keyvalue" else rng.permutation(linked)
    text = tokens.tell(rng, told, length)
    rows = rng.choice(len(told), 6, replace=False).tolist()
    if task == "order":
        asked = [tokens.ask_first(told, *rows[2 * i : 2 * i + 2]) for i in range(3)]
    elif task == "threads":
        places = {int(key): row for row, key in enumerate(told[:, 0])}
        asked = [tokens.ask_thread(told, places[int(linked[3 * i, 0])], 3) for i in range(3)]
    else:
        asked = [tokens.ask_value(told, row) for row in rows[:3]]
    return np.concatenate([text, asked[0][0]]) if seen else text, asked


def _said(model: Any, cache: Any, asked: list[Question]) -> list[tuple[float, float]]:
    """Of each row's question: whether every answer token is the greedy one, and nats a token of the answer.

    Question and answer are then in the cache.
    """
    import torch
    from torch.nn.functional import cross_entropy

    start = len(asked[0][0])
    ids = torch.tensor([question + answer for question, answer in asked])
    with torch.inference_mode():
        said = model(ids, past_key_values=cache).logits[:, start - 1 : -1]
    right = (said.argmax(2) == ids[:, start:]).all(1).double()
    surprise = cross_entropy(said.transpose(1, 2), ids[:, start:], reduction="none").mean(1)
    return list(zip(right.tolist(), surprise.tolist(), strict=True))


def _curves(systems: dict[str, list[Row]], seed: int) -> dict[str, Any]:
    """A plot a metric: its mean and interval against the share of bytes, a line a method."""
    metrics = [f"{task}{kind}" for task in TASKS for kind in ("", "_third", "_seen", "_seen_third")] + [
        "copy_surprise"
    ]
    curves = {}
    for metric in metrics:
        lines: dict[str, list[list[float]]] = {}
        for system, rows in systems.items():
            method, _, share = system.partition(" ")
            values = np.array([row[metric] for row in rows])
            at = [float(share[:-1])] if share else [100.0]
            lines.setdefault(method, []).append([*at, float(values.mean()), *stats.interval(values, seed=seed)])
        curves[metric] = {"x": "% of the full cache", "y": metric, "lines": lines, "log_x": True}
    return curves


def _best(systems: dict[str, list[Row]], shares: list[float]) -> dict[str, dict[str, list[str]]]:
    """Which methods are on the frontier: at each share and metric, those whose mean none exceeds."""
    best: dict[str, dict[str, list[str]]] = {}
    for share in shares:
        ending = f" {100 * share:g}%"
        here = {name.removesuffix(ending): rows for name, rows in systems.items() if name.endswith(ending)}
        for metric in next(iter(here.values()), [{"id": ""}])[0]:
            if metric == "id":
                continue
            sign = -1 if metric == "copy_surprise" else 1
            means = {name: sign * float(np.mean([row[metric] for row in rows])) for name, rows in here.items()}
            top = max(means.values())
            best.setdefault(metric, {})[ending.strip()] = [name for name, mean in means.items() if mean == top]
    return best
