"""What each method of cache memory still knows as its bytes shrink: the frontier of recall against bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np

from mnemic.bench import stats
from mnemic.bench.runner import Options, Outcome, Row, save
from mnemic.types import Ints, MnemicError
from mnemic.worlds import tokens

NAME = "frontier"
FOLDER = None
PROTOCOL = """The reference model reads a page of 448 tokens into a cache of 50, 25, 12.5, 6 or 3% of
the full cache's bytes, is asked three questions it did not know while reading, and keeps what it reads.
needle (one of 24 facts), keyvalue (223 facts and nothing else), threads (3 hops), order (which key was told
first): the share of first questions whose every answer token is the greedy one; X_third: the same of third
questions; copy_surprise: nats a token of the second half of a page that writes a string
twice (its perplexity is e to that). A case
is a page. Methods are set for a window of 512 (sinks 4, recent 8, block 8, where they have them). A method
whose least size is above the bytes has no row: extra.too_small. Of two tiers the bytes are those of the
fast one. Options: methods=NAMES, cases=100, shares=0.5,0.25."""

CASES, ROWS = 100, 50  # pages, and how many of them are read side by side
SHARES = "0.5,0.25,0.125,0.06,0.03"
LENGTH = 448  # tokens of a page; with its questions it stays inside the model's window
SETTINGS = {"sinks": 4, "recent": 8, "block": 8, "local": 16, "window": 8, "chosen": 2, "length": 128}
TASKS = ("needle", "keyvalue", "threads", "order")
Question = tuple[list[int], list[int]]


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic.kv.files import fingerprint
    from mnemic.models import load_reference

    model, _ = load_reference()
    count = int(options.extra.get("cases", CASES))
    cases = options.chosen(range(count), lambda i: f"{options.seed}.{i}")
    shares = [float(share) for share in options.extra.get("shares", SHARES).split(",")]
    given = options.extra.get("methods")
    wanted = given.split(",") if given else list(_methods())
    folder = (options.cache or Path(gettempdir()) / "mnemic-bench") / "frontier"
    systems: dict[str, list[Row]] = {"full": _kept(folder, model, "full", 1.0, cases, options)["rows"]}
    too_small: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for method in wanted:
        for share in shares if method != "full" else ():
            done = _kept(folder, model, method, share, cases, options)
            name = f"{method} {100 * share:g}%"
            if "refused" in done:
                too_small[name] = done["refused"]
                continue
            systems[name], sizes[name] = done["rows"], done["nbytes"]
    extra = {
        "model": fingerprint(model)[:16], "sizes": sizes, "too_small": too_small,
        "curves": _curves(systems, options.seed), "best": _best(systems, shares),
    }  # fmt: skip
    return Outcome(systems=systems, default="full", extra=extra)


def _methods() -> Iterator[str]:
    """The methods a cache can be attached with."""
    from mnemic import kv, recipes

    for name in recipes.names("kv"):
        try:
            kv.policy(name)
        except MnemicError:
            continue
        yield name


def _kept(folder: Path, model: Any, method: str, share: float, cases: list[int], options: Options) -> Any:
    """What this method got, from an earlier run with the same model and cases where there was one."""
    from mnemic.kv.files import fingerprint

    about = json.dumps([PROTOCOL, SETTINGS, fingerprint(model), method, share, options.seed, list(cases)])
    path = folder / f"{method}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        save(_measure(model, method, share, cases, options), path)
    return json.loads(path.read_text(encoding="utf-8"))


def _measure(model: Any, method: str, share: float, cases: list[int], options: Options) -> dict[str, Any]:
    from mnemic import kv

    known = {field.name for field in dataclasses.fields(kv.policy(method))}
    policy = kv.policy(method, **{name: value for name, value in SETTINGS.items() if name in known})
    policy = policy.prepared(model)
    rows: list[Row] = []
    nbytes = 0
    starts = range(0, len(cases), ROWS)
    for first in options.progress(starts, f"{method} {100 * share:g}%"):
        some = cases[first : first + ROWS]
        found: list[Row] = [{"id": f"{options.seed}.{case}"} for case in some]
        for number, task in enumerate((*TASKS, "copy")):
            pages = [_page(task, np.random.default_rng([options.seed, case, number])) for case in some]
            texts = np.stack([text for text, _ in pages])
            budget = None if method == "full" else int(share * LENGTH * len(some) * _pair(model))
            try:
                cache = _read(model, policy, budget, texts)
                nbytes = max(nbytes, cache.nbytes // len(some))
                turns = [
                    _said(model, cache, [questions[i] for _, questions in pages])
                    for i in range(len(pages[0][1]))
                ]
            except MnemicError as error:
                return {"refused": str(error)}
            for row, first_said, third_said in zip(found, turns[0], turns[-1], strict=True):
                if task == "copy":
                    row["copy_surprise"] = first_said[1]
                else:
                    row[task], row[f"{task}_third"] = first_said[0], third_said[0]
        rows += found
    return {"rows": rows, "nbytes": nbytes}


def _pair(model: Any) -> int:
    """Bytes of a token in a full cache."""
    config = model.config
    return int(
        2 * model.dtype.itemsize * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    )


def _page(task: str, rng: np.random.Generator) -> tuple[Ints, list[Question]]:
    """A text, and three questions about it (for copy, the one continuation)."""
    if task == "copy":
        page = tokens.copy(rng, LENGTH)
        half = int(np.flatnonzero(page.ids == tokens.AGAIN)[0])
        rest = page.ids[half + 2 :].tolist()
        return page.ids[:half], [(page.ids[half : half + 2].tolist(), rest)]
    if task == "keyvalue":
        told = tokens.facts(rng, LENGTH // 2 - 1)
        text = tokens.tell(rng, told, LENGTH)
    else:
        linked = tokens.facts(rng, 24, 9 if task == "threads" else 0)
        told = rng.permutation(linked)
        text = tokens.tell(rng, told, LENGTH)
    rows = rng.choice(len(told), 6, replace=False).tolist()
    if task == "order":
        return text, [tokens.ask_first(told, *rows[2 * i : 2 * i + 2]) for i in range(3)]
    if task == "threads":
        places = {int(key): row for row, key in enumerate(told[:, 0])}
        return text, [tokens.ask_thread(told, places[int(linked[3 * i, 0])], 3) for i in range(3)]
    return text, [tokens.ask_value(told, row) for row in rows[:3]]


def _read(model: Any, policy: Any, budget: int | None, texts: Ints) -> Any:
    import torch

    from mnemic import kv

    cache = kv.attach(model, policy, budget=budget)
    kv.read(model, cache, torch.from_numpy(texts), progress=False)
    return cache


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
    metrics = [f"{task}{kind}" for task in TASKS for kind in ("", "_third")] + ["copy_surprise"]
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
