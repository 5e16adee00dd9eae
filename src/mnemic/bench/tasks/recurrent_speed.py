"""What reading at once saves over reading token by token, for every recurrent layer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mnemic.bench.runner import Options, Outcome

NAME = "recurrent_speed"
FOLDER = None
PROTOCOL = """
Forward and backward pass over one random sequence by one layer (width 64, 2 heads, one thread): read at once in
chunks, against the same layer stepped token by token; `times_faster` is the ratio of their processor seconds in
the same run. `step_late_over_early` is the processor time of one token after the whole text was read over that
of one after 64 tokens: 1 means that a step costs the same however much was read. A case is a repeat.
--option length=2048 and repeats=3; layers=a,b for some.
"""


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic.recurrent import names

    length, repeats = int(options.extra.get("length", 2048)), int(options.extra.get("repeats", 3))
    layers = options.extra["layers"].split(",") if "layers" in options.extra else names()
    systems = {
        layer: [{"id": f"repeat-{i}"} | measure(layer, length, options.seed + i) for i in range(repeats)]
        for layer in options.progress(layers, "layers")
    }
    return Outcome(systems, layers[0], {"length": length})


def measure(name: str, length: int, seed: int) -> dict[str, Any]:
    """Processor seconds of both ways through one sequence."""
    import torch

    from mnemic.recurrent import State, build

    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layer, x = build(name, dim=64, heads=2), torch.randn(1, length, 64)

        def at_once() -> None:
            torch.autograd.backward(layer(x)[0].square().sum())

        def by_token() -> None:
            state: State | None = None
            outputs = []
            for token in x.unbind(1):
                y, state = layer.step(token, state)
                outputs.append(y)
            torch.autograd.backward(torch.stack(outputs, 1).square().sum())

        @torch.no_grad()
        def steps(read: int) -> float:
            _, state = layer(x[:, :read])
            return seconds(lambda: [layer.step(x[:, i], state) for i in range(32)])

        chunks, tokens = seconds(at_once), seconds(by_token)
        return {
            "times_faster": tokens / chunks,
            "seconds_at_once": chunks,
            "tokens_per_second": length / chunks,
            "step_late_over_early": steps(length) / steps(64),
        }
    finally:
        torch.set_num_threads(threads)


def seconds(work: Any) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
