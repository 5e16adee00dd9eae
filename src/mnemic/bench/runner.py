"""Runs a task and turns its per-case scores into a result that says how it was made.

A task is a file in `bench/tasks` with `NAME`, `FOLDER`, `PROTOCOL` and `run(data, options) -> Outcome`.
It only produces rows, one a case and system; denominators, intervals and tests are the same for all.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from tempfile import gettempdir
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np

from mnemic import __version__
from mnemic.bench import stats, tasks
from mnemic.bench.trained import Trained
from mnemic.types import Embedder, MnemicError

Row = dict[str, Any]
T = TypeVar("T")


def half(case: str) -> Literal["tune", "report"]:
    """The half a case belongs to, by a hash of its id: what is tuned on is never reported."""
    return "tune" if hashlib.sha256(case.encode()).digest()[0] & 1 else "report"


@dataclass(frozen=True)
class Options:
    """What a user may choose about a run.

    Attributes:
        part: which half of the cases to run.
        limit: at most so many cases.
        extra: options of one task, by name.
        cache: folder where vectors of texts already embedded and results of models already trained are kept,
            so that a run continues where it stopped; by default one among the temporary files.
        resume: an archive of results of models already trained, for those the cache does not have; all that the
            run asked for is added to it at its end.
    """

    part: Literal["all", "tune", "report"] = "all"
    limit: int | None = None
    seed: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    resume: Path | None = None
    quiet: bool = False

    def wants(self, case: str) -> bool:
        return self.part == "all" or half(case) == self.part

    def chosen(self, cases: Sequence[T], key: Any) -> list[T]:
        """The cases of this run: those of the half asked for, the first `limit` of them."""
        return [case for case in cases if self.wants(str(key(case)))][: self.limit]

    def started(self, scores: Mapping[str, Sequence[float]], start: int) -> list[Row]:
        """The cases of one start that this run wants: metric to the score of every test sequence."""
        cases: list[Row] = [
            {"id": f"start-{start}/sequence-{i}", "start": str(start)} | dict(zip(scores, each, strict=True))
            for i, each in enumerate(zip(*scores.values(), strict=True))
        ]
        return self.chosen(cases, lambda case: case["id"])

    @property
    def folder(self) -> Path:
        return self.cache or Path(gettempdir()) / "mnemic-bench"

    def kept(self, what: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, as JSON: made once for everything that `what` says, and read from the cache then.

        `what` must say all the result depends on; a training run is told by its first loss and gradient.
        """
        return self.trained.of(what, make)

    @cached_property
    def trained(self) -> Trained:
        return Trained(self.folder, self.resume)

    @cached_property
    def plain_embedder(self) -> Embedder:
        """The default model with one key a text, its vectors kept between runs."""
        from mnemic.models import open_embedder
        from mnemic.models.cached import CachedEmbedder

        embedder = open_embedder("default")
        assert embedder is not None
        return CachedEmbedder(embedder, self.folder)

    @cached_property
    def embedder(self) -> Embedder:
        """What a memory uses by default: the model with second keys."""
        from mnemic.read.keys import SecondKey

        return SecondKey(self.plain_embedder)

    def progress(self, cases: Iterable[T], label: str) -> Iterable[T]:
        from tqdm import tqdm

        return cast(Iterable[T], tqdm(cases, desc=label, file=sys.stderr, disable=self.quiet, leave=False))


@dataclass(frozen=True)
class Outcome:
    """Rows per system: [{"id": case, metric: value or None, ...}], the first key of a row is its id.

    `default` names the system whose metrics stand at the top of the result; `extra` is any JSON beside it.
    Where rows are `repeats` of one measurement no half of them was chosen on, and systems are not paired.
    """

    systems: Mapping[str, Sequence[Row]]
    default: str = "mnemic"
    extra: Mapping[str, Any] = field(default_factory=dict)
    repeats: bool = False


class Task(Protocol):
    NAME: str
    FOLDER: str | None
    PROTOCOL: str

    def run(self, data: Path | None, options: Options) -> Outcome: ...


def names() -> list[str]:
    return sorted(module.name for module in iter_modules(tasks.__path__) if not module.name.startswith("_"))


def task(name: str) -> Task:
    """The task called `name`.

    Raises:
        MnemicError: there is none; the message lists those there are.
    """
    if name not in names():
        raise MnemicError(f"there is no bench {name!r}; there are: {', '.join(names())}")
    return cast(Task, import_module(f"mnemic.bench.tasks.{name}"))


def stem(name: str, extra: Mapping[str, str]) -> str:
    """The name of a result: that of its bench, and of the task it was asked for where the bench has several."""
    return f"{name}-{extra['task']}" if "task" in extra else name


def data_folder(task: Task, data: Path | None) -> Path | None:
    """Where a task's files are: `data`, or its folder in it; from MNEMIC_BENCH_DATA when not given.

    Raises:
        MnemicError: the task needs data and none is there.
    """
    if task.FOLDER is None:
        return None
    root = data or (Path(given) if (given := os.environ.get("MNEMIC_BENCH_DATA")) else None)
    if root is None:
        raise MnemicError(
            f"the bench {task.NAME!r} needs its data: give --data DIR or set MNEMIC_BENCH_DATA to the folder "
            f"that holds {task.FOLDER}/"
        )
    for folder in (root / task.FOLDER, root):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    raise MnemicError(f"no data for the bench {task.NAME!r}: {root} has no files and no folder {task.FOLDER}/")


def run(name: str, data: Path | None = None, options: Options | None = None) -> dict[str, Any]:
    """Run a task; the result is plain JSON (docs/json.md)."""
    options = options or Options()
    chosen = task(name)
    folder = data_folder(chosen, data)
    begun = time.perf_counter()
    trained = options.trained  # an archive that is none is told before anything is run
    outcome = chosen.run(folder, options)
    trained.pack()
    systems = {system: summary(rows, options.seed) for system, rows in outcome.systems.items()}
    return {
        "task": stem(name, options.extra),
        "data": folder.name if folder else None,
        "protocol": " ".join(chosen.PROTOCOL.split()),
        "part": options.part,
        "metrics": systems[outcome.default],
        "default": outcome.default,
        "systems": systems,
        "halves": halves(outcome, options),
        "paired": paired(outcome, options.seed),
        "extra": dict(outcome.extra),
        "per_query": [{"system": system, **row} for system, rows in outcome.systems.items() for row in rows],
        "command": command(name, options),
        "seed": options.seed,
        "version": __version__,
        "machine": machine(),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def metric_names(rows: Sequence[Row]) -> list[str]:
    """Metrics in the order in which rows first show them: every numeric value but the id."""
    seen = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key != "id" and isinstance(value, int | float | np.number)
    )
    return list(seen)


def summary(rows: Sequence[Row], seed: int) -> dict[str, dict[str, float | int]]:
    """Per metric: the mean over the cases that have it, its bootstrap interval, their number."""
    result = {}
    for metric in metric_names(rows):
        cases = stats.column(rows, metric)
        scores = np.array(list(cases.values()))
        low, high = stats.interval(scores, stats.starts(rows, cases), seed=seed)
        result[metric] = {"value": float(scores.mean()), "low": low, "high": high, "n": len(scores)}
    return result


def halves(outcome: Outcome, options: Options) -> dict[str, dict[str, dict[str, float | int]]]:
    """The default system's metrics on either half, when both were run; settings were chosen on "tune".

    The half goes by a row's "case" where it has one (several questions of one article), else by its id.
    """
    rows = outcome.systems[outcome.default]
    if options.part != "all" or outcome.repeats:
        return {}
    return {
        name: summary([row for row in rows if half(str(row.get("case", row["id"]))) == name], options.seed)
        for name in ("tune", "report")
    }


def paired(outcome: Outcome, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Per metric and other system: default minus other, its interval and Holm-adjusted p."""
    default = outcome.systems[outcome.default]
    result: dict[str, dict[str, dict[str, float]]] = {}
    for metric in () if outcome.repeats else metric_names(default):
        row: dict[str, dict[str, float]] = {}
        for system, rows in outcome.systems.items():
            if system == outcome.default:
                continue
            delta, starts = stats.differences(default, rows, metric)
            if len(delta):
                low, high = stats.interval(delta, starts, seed=seed)
                p = stats.paired_p(delta, seed=seed)
                row[system] = {
                    "difference": float(delta.mean()),
                    "low": low,
                    "high": high,
                    "n": len(delta),
                    "p": p,
                }
        for system, p in stats.holm({system: each["p"] for system, each in row.items()}).items():
            row[system]["p_holm"] = p
        if row:
            result[metric] = row
    return result


def command(name: str, options: Options) -> str:
    words = ["mnemic", "bench", name]
    if options.part != "all":
        words += ["--part", options.part]
    if options.limit is not None:
        words += ["--limit", str(options.limit)]
    if options.seed:
        words += ["--seed", str(options.seed)]
    for key, value in options.extra.items():
        words += ["--option", f"{key}={value}"]
    return " ".join(words)


def machine() -> dict[str, str | int | None]:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = models[0] if models else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
