"""What reading costs, for every recurrent layer: at once and by token, up to 64K tokens, against attention."""

from __future__ import annotations

import gc
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from mnemic.bench import peers
from mnemic.bench.runner import Options, Outcome
from mnemic.types import MnemicError

NAME = "recurrent_speed"
FOLDER = None
PROTOCOL = """
One layer (width 64, 2 heads), one thread, processor seconds of one random sequence, all in the same run.
Forward and backward over `length` tokens, at once in chunks against the same layer stepped token by token:
`times_faster` is the ratio. `step_late_over_early` is the median time of one token after the whole text was
read over that of one after 64 tokens, steps of both in turn: 1 means that a step costs the same however much
was read. Forward alone, without gradients, from 512 tokens to `longest` (softmax attention to a quarter of
it): `seconds_a_token_long_over_short` is the cost of a token at `longest` over that at a sixteenth of it, 1
means linear in length; `extra_mib_short` and `extra_mib_long` the most memory held beside input and output at
a quarter of `longest` and at `longest`, counted from every allocation. `extra.crossover` is the least of the
lengths from which on the layer's forward pass is ahead of softmax attention's (null: not within what was
measured). A case is a repeat. --option length=2048, longest=65536 and repeats=3; layers=a,b for some;
peers=PYTHON, an interpreter of an environment with titans-pytorch or flash-linear-attention (its plain
PyTorch forms), times those in the same run: of the latter the memory itself, queries, keys and values given,
so what is needed to make these is left out in its favour. titans-pytorch takes all gradients at the weights
that the text began with unless its weights are made anew each chunk, as they are here.
"""

DIM, HEADS = 64, 2
CHUNKED = {"lact, chunk 16": ("lact", {"chunk": 16}), "lact, chunk 512": ("lact", {"chunk": 512})}
STEPPED = (
    "gam",
    "lact, chunk 512",
)  # also shown by token: what a claim about reading at once is nothing without


def run(data: Path | None, options: Options) -> Outcome:
    """Time every layer.

    Raises:
        MnemicError: the interpreter of the peers does not run.
    """
    from mnemic.recurrent import names

    length, repeats = int(options.extra.get("length", 2048)), int(options.extra.get("repeats", 3))
    longest = int(options.extra.get("longest", 65536))
    layers = options.extra["layers"].split(",") if "layers" in options.extra else [*names(), *CHUNKED]
    systems: dict[str, list[dict[str, Any]]] = {}
    forward: dict[str, list[list[float]]] = {}
    for layer in options.progress(dict.fromkeys([*layers, "attention"]), "layers"):
        measured = [measure(layer, length, longest, options.seed + i, memory=i == 0) for i in range(repeats)]
        forward[layer] = [[n, median(each[1][n] for each in measured)] for n in measured[0][1]]
        if layer in layers:
            rows = systems[layer] = [{"id": f"repeat-{i}"} | row for i, (row, _) in enumerate(measured)]
            if layer in STEPPED:
                systems[f"{layer}, by token"] = [
                    {"id": row["id"], "tokens_per_second": row["tokens_per_second"] / row["times_faster"]}
                    for row in rows
                ]
    if "peers" in options.extra:
        for name, rows in others(options.extra["peers"], length, repeats, options.seed).items():
            systems[name] = [{"id": f"repeat-{i}"} | row for i, row in enumerate(rows)]
    curve = {"x": "tokens", "y": "forward seconds", "log_x": True, "log_y": True, "lines": forward}
    ahead = {layer: crossover(points, forward["attention"]) for layer, points in forward.items()}
    del ahead["attention"]
    extra = {"length": length, "longest": longest, "crossover": ahead}
    curves = {"forward seconds against length": curve}
    return Outcome(systems, layers[0], extra | {"curves": curves}, repeats=True)


def measure(
    name: str, length: int, longest: int, seed: int, *, memory: bool
) -> tuple[dict[str, Any], dict[int, float]]:
    """One repeat of a layer: its metrics, and forward seconds by length."""
    import torch

    from mnemic.recurrent import State, build

    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kind, options = CHUNKED.get(name, (name, {}))
        layer, x = build(kind, dim=DIM, heads=HEADS, **options), torch.randn(1, longest, DIM)

        def at_once() -> None:
            torch.autograd.backward(layer(x[:, :length])[0].square().sum())

        def by_token() -> None:
            state: State | None = None
            outputs = []
            for token in x[:, :length].unbind(1):
                y, state = layer.step(token, state)
                outputs.append(y)
            torch.autograd.backward(torch.stack(outputs, 1).square().sum())

        at_once()  # what is done but once is not timed, nor for the peers
        chunks, tokens = seconds(at_once), seconds(by_token)
        row = {
            "times_faster": tokens / chunks,
            "seconds_at_once": chunks,
            "tokens_per_second": length / chunks,
        }
        with torch.no_grad():
            late, early = (layer(x[:, :read])[1] for read in (length, 64))
            token = x[:, 0]
            steps = [[seconds(partial(layer.step, token, state)) for state in (late, early)] for _ in range(64)]
            row["step_late_over_early"] = median(s[0] for s in steps) / median(s[1] for s in steps)
            reach = longest // 4 if layer.growing else longest
            lengths = [512 << n for n in range(20) if 512 << n <= reach] or [reach]
            layer(x[:, : lengths[0]])
            forward = {n: seconds(partial(layer, x[:, :n])) for n in lengths}
            if not layer.growing and lengths[-1] // 16 in forward:
                row["seconds_a_token_long_over_short"] = forward[reach] / (16 * forward[reach // 16])
            if memory and not layer.growing:
                for label, n in (("short", longest // 4), ("long", longest)):
                    held = peak(partial(layer, x[:, :n])) - n * DIM * x.element_size()
                    row[f"extra_mib_{label}"] = held / 2**20
        return row, forward
    finally:
        torch.set_num_threads(threads)


def crossover(points: Sequence[Sequence[float]], attention: Sequence[Sequence[float]]) -> int | None:
    """The least length from which on a layer is faster at every length that both were timed at."""
    theirs = {point[0]: point[1] for point in attention}
    ahead = None
    for n, ours in points:
        if n in theirs:
            ahead = (n if ahead is None else ahead) if ours < theirs[n] else None
    return None if ahead is None else int(ahead)


def peak(work: Callable[[], object]) -> int:
    """The most bytes held at any time of what was allocated during the work."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    events = [each for each in watched.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = most = 0
    for each in sorted(events, key=lambda each: int(each.start_ns())):
        held += each.nbytes()
        most = max(most, held)
    del watched, events
    gc.collect()  # what was recorded holds itself, and would be looked through while others are timed
    return most


def seconds(work: Callable[[], object]) -> float:
    """Of processor time, without looks for garbage."""
    gc.disable()
    try:
        begun = time.process_time()
        work()
        return time.process_time() - begun
    finally:
        gc.enable()


def others(python: str, length: int, repeats: int, seed: int) -> Mapping[str, list[dict[str, float]]]:
    """What the peers that this interpreter can import take, by name."""
    given = [python, str(peers.__file__), *map(str, (length, repeats, seed, DIM, HEADS))]
    try:
        done = subprocess.run(given, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise MnemicError(f"the peers could not be timed with {python}: {said.strip()[-400:]}") from None
    found: dict[str, list[dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return found
