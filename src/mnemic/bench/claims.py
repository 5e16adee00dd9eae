"""Executes the claims that methods carry, each against its baseline and with its sabotaged twin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.bench import runner, stats
from mnemic.recipes import recipes
from mnemic.types import Claim


def check(claim: Claim, outcome: runner.Outcome, seed: int = 0) -> dict[str, Any]:
    """Method against baseline over the cases both have; the verdict says if the twin fails too."""
    kept, low, high = _difference(claim, outcome, claim.method, seed)
    _, twin_low, _ = _difference(claim, outcome, claim.sabotage, seed)
    holds, twin_holds = low > claim.margin, twin_low > claim.margin
    verdict = "holds" if holds else "does not hold here"
    return {
        "says": claim.says,
        "metric": claim.metric,
        "budget": claim.budget,
        "method_mean": _mean(outcome, claim.method, claim.metric),
        "baseline_mean": _mean(outcome, claim.baseline, claim.metric),
        "sabotage_mean": _mean(outcome, claim.sabotage, claim.metric),
        "difference": float(kept.mean()) * _sign(claim),
        "low": low if claim.better == "more" else -high,
        "high": high if claim.better == "more" else -low,
        "n": len(kept),
        "holds": holds,
        "sabotage_fails": not twin_holds,
        "verdict": verdict if not twin_holds else f"{verdict}, but so does its sabotaged twin: not shown",
    }


def run(
    rooms: list[str] | None, data: Path | None, options: runner.Options, results: Path | None = None
) -> list[dict[str, Any]]:
    """Every claim of these rooms (of all), tasks run once each; in order of room and name.

    With `results`, a folder of committed results, nothing is run: claims are checked on the rows written there,
    those of the half not tuned on, and claims are left out that no result there is about.
    """
    carriers = [
        (recipe, claim)
        for recipe in recipes()
        if rooms is None or recipe.room in rooms
        if (claim := recipe.claim()) is not None
    ]
    outcomes: dict[str, runner.Outcome] = {}
    asked: dict[str, dict[str, str]] = {}
    tasks = {_result(claim): claim.task for _, claim in carriers}
    for _, claim in carriers:
        asked.setdefault(_result(claim), {}).update(claim.options)
    for name, own in asked.items():
        if results is None:
            task = runner.task(tasks[name])
            extra = dict(options.extra) | own
            outcomes[name] = task.run(runner.data_folder(task, data), replace(options, extra=extra))
        elif (stored := results / f"{name}.json").exists():
            outcomes[name] = committed(json.loads(stored.read_text(encoding="utf-8")))
    return [
        {"room": recipe.room, "name": recipe.name, "paper": recipe.paper, "task": _result(claim)}
        | check(claim, outcome, options.seed)
        for recipe, claim in carriers
        if (outcome := outcomes.get(_result(claim))) is not None
        if results is None or {claim.method, claim.baseline, claim.sabotage} <= outcome.systems.keys()
    ]


def committed(result: Mapping[str, Any]) -> runner.Outcome:
    """The rows of a result, those of the half not tuned on where it has both and that half has any."""
    rows = result["per_query"]
    unseen = [row for row in rows if runner.half(str(row.get("case", row["id"]))) == "report"]
    systems: dict[str, list[runner.Row]] = {}
    for row in unseen if result["part"] == "all" and result["data"] else rows:
        systems.setdefault(row["system"], []).append(row)
    return runner.Outcome(systems, result["default"])


def merge(old: list[Mapping[str, Any]], new: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """New results in place of old ones of the same method; those whose method is gone are dropped."""
    alive = {(recipe.room, recipe.name) for recipe in recipes()}
    both = {(each["room"], each["name"]): each for each in [*old, *new]}
    return [both[key] for key in sorted(both) if key in alive]


def _result(claim: Claim) -> str:
    return runner.stem(claim.task, claim.options)


def _sign(claim: Claim) -> int:
    return 1 if claim.better == "more" else -1


def _difference(claim: Claim, outcome: runner.Outcome, system: str, seed: int) -> tuple[Any, float, float]:
    """Differences to the baseline, positive where the system is better, with their interval."""
    rows = outcome.systems
    delta, starts = stats.differences(rows[system], rows[claim.baseline], claim.metric)
    return _sign(claim) * delta, *stats.interval(_sign(claim) * delta, starts, seed=seed)


def _mean(outcome: runner.Outcome, system: str, metric: str) -> float:
    return float(np.mean(list(stats.column(outcome.systems[system], metric).values())))
