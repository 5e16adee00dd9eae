"""Far beyond the trained length: what a selective state space loses there, and what mends save."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemic.bench.runner import Options, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from mnemic.recurrent.engine.stack import Stack

NAME = "recurrent_length"
FOLDER = None
PROTOCOL = """
One model of Mamba layers (2 blocks, width 32) is trained on associative recall in texts of 32 tokens, 4 pairs.
Its weights are then read by Mamba, by LongMamba and by the three mends of Stuffed Mamba, calibrated on texts of
the trained length, and tested on texts of 1 to 32 times that length. The rest of a text is filler: before the
pairs ("near", where only a state that went bad is a reason to fail) or between pairs and queries ("far", where
the pairs must also be kept). `near_8x`: share of keys whose value is said first, at 8 times the length;
`size_8x`: norm of the states over that at the trained length. The first mend forgets as much faster and writes
as much less as finds most, near, in other texts of 8 times the length (`extra.forget`). Models of half and of
twice the state, trained alike, are read by Mamba and the second mend: `extra.reach` is the longest text in
which at least nine in ten are still found, beside the state's bytes. A case is a test sequence. "X-emptied" is
X without what stands before the queries. Intervals are over starts, too. --option steps=1500, tests=200 and
starts=3.
"""

LENGTH, PAIRS, VOCAB, TEST_SEED = 32, 4, 32, 10**6
TIMES = (1, 2, 4, 8, 16, 32)
SIZE, OTHERS = 16, {8: ("mamba", "stuffed-mamba-norm"), 32: ("mamba", "stuffed-mamba-norm")}
SHAPE: dict[str, Any] = {"heads": 4, "chunk": 8}
FORGET = tuple(product((1.0, 1.25, 1.5, 2.0, 3.0, 5.0), (1.0, 0.9, 0.75, 0.5)))
"""What the first mend may be: its decay times this, its writing times that."""
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("mamba", {}),
    "longmamba": ("longmamba", {"trained": LENGTH}),
    "stuffed-mamba-forget": ("stuffed-mamba", {"mend": "forget"}),
    "stuffed-mamba-norm": ("stuffed-mamba", {"mend": "norm"}),
    "stuffed-mamba-window": ("stuffed-mamba", {"mend": "window", "window": LENGTH}),
}


def run(data: Path | None, options: Options) -> Outcome:
    steps, tests = int(options.extra.get("steps", 1500)), int(options.extra.get("tests", 200))
    starts = int(options.extra.get("starts", 3))
    shown = {
        named(system, size): (system, size) for size in (SIZE, *OTHERS) for system in OTHERS.get(size, SYSTEMS)
    }
    systems: dict[str, list[dict[str, Any]]] = {
        each: [] for name in shown for each in (name, f"{name}-emptied")
    }
    nbytes: dict[str, int] = {}
    forget: dict[str, dict[str, float]] = {}
    for start in options.progress(range(options.seed, options.seed + starts), "starts"):
        calibration, _ = texts(64, start + 1)
        test, targets = texts(tests, TEST_SEED)
        trained = {size: learnt(steps, size, start) for size in (SIZE, *OTHERS)}
        for name, (system, size) in shown.items():
            layer, shape = SYSTEMS[system]
            if system == "stuffed-mamba-forget":
                forget[f"start-{start}"] = forgetting(trained[size], size, start)
                shape = shape | forget[f"start-{start}"]
            model = adapted(trained[size], layer, shape | {"size": size}, calibration)
            found, emptied, nbytes[name] = asked(model, test, targets)
            for each, columns in ((name, found), (f"{name}-emptied", emptied)):
                scores = {metric: column.tolist() for metric, column in columns.items()}
                systems[each] += options.started(scores, start)
    within = {
        name: {where: reach(systems[name], where) for where in ("near", "far")}
        for name in shown
        if systems[name]
    }
    extra = {"steps": steps, "shape": SHAPE, "forget": forget, "state_bytes": nbytes, "reach": within}
    return Outcome(systems, "mamba", {"curves": curves(systems, list(shown))} | extra)


def asked(model: Stack, test: Tensor, targets: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Metric to a number a text, with and without what stands before the queries, and the bytes of a state."""
    import torch

    found: dict[str, Tensor] = {}
    emptied: dict[str, Tensor] = {}
    with torch.no_grad():
        nothing, _ = recalled(model, test[:, 2 * PAIRS :], targets)
        _, trained = recalled(model, test, targets)
        for times in TIMES:
            for where in ("near", "far"):
                found[f"{where}_{times}x"], norm = recalled(model, filled(test, times, where), targets)
                emptied[f"{where}_{times}x"] = nothing
                if where == "near":
                    found[f"size_{times}x"] = norm / trained
        nbytes = sum(state.nbytes for state in model(test[:1])[1])
    return found, emptied, nbytes


def named(system: str, size: int) -> str:
    return system if size == SIZE else f"{system}, size {size}"


def forgetting(trained: Stack, size: int, seed: int) -> dict[str, float]:
    """How much faster to forget and how much less to write: what finds most, near, in other texts."""
    import torch

    longer, targets = texts(100, seed + 2)
    longer = filled(longer, 8, "near")

    def found(mend: tuple[float, float]) -> float:
        shape = {"mend": "forget", "decay_times": mend[0], "write_times": mend[1], "size": size}
        with torch.no_grad():
            right, _ = recalled(adapted(trained, "stuffed-mamba", shape, longer[:1]), longer, targets)
        return float(right.mean())

    best = max(FORGET, key=found)
    return {"decay_times": best[0], "write_times": best[1]}


def texts(n: int, seed: int) -> tuple[Tensor, Tensor]:
    import torch

    from mnemic.worlds.recall_tasks import associative_recall

    made = associative_recall(n, LENGTH, PAIRS, seed=seed, vocab=VOCAB, noise=False)
    return torch.from_numpy(made.tokens), torch.from_numpy(made.targets)


def filled(tokens: Tensor, times: int, where: str) -> Tensor:
    """Texts `times` as long: filler before the pairs ("near") or after them ("far")."""
    import torch

    filler = torch.zeros(len(tokens), (times - 1) * LENGTH, dtype=tokens.dtype)
    cut = 0 if where == "near" else 2 * PAIRS
    return torch.cat([tokens[:, :cut], filler, tokens[:, cut:]], 1)


def learnt(steps: int, size: int, seed: int) -> Stack:
    """A model of Mamba layers with a state of this size, trained."""
    import torch
    from torch.nn import functional as F

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Stack

    torch.manual_seed(seed)
    model = Stack(VOCAB, [build("mamba", dim=32, size=size, **SHAPE) for _ in range(2)])
    tokens, targets = texts(32 * steps, seed)
    adam = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 5e-3 * min(10 * (step + 1) / steps, 1.1 * (1 - step / steps), 1)
        batch = slice(32 * step, 32 * step + 32)
        loss = F.cross_entropy(model(tokens[batch])[0].flatten(0, 1), targets[batch].flatten())
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return model


def adapted(trained: Stack, layer: str, shape: dict[str, Any], calibration: Tensor) -> Stack:
    """The trained weights in layers of another kind, calibrated where those want it."""
    import torch

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Block, Stack
    from mnemic.recurrent.longmamba import Enlarged
    from mnemic.recurrent.stuffed_mamba import Stuffed

    model = Stack(VOCAB, [build(layer, dim=32, **SHAPE, **shape) for _ in trained.blocks])
    model.load_state_dict(trained.state_dict(), strict=False)
    with torch.no_grad():
        x = model.embed(calibration)
        for block in model.blocks:
            assert isinstance(block, Block)
            if isinstance(block.layer, Enlarged | Stuffed):
                block.layer.calibrate(block.before_layer(x))
            x, _ = block(x, None, None)
    return model


def recalled(model: Stack, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Share of right answers of every text whose end has these targets, and the norm of its states."""
    import torch

    logits, states = model(tokens)
    targets = targets[:, 2 * PAIRS :]
    hits = (logits[:, -targets.shape[1] :].argmax(-1) == targets) & (targets >= 0)
    norms = torch.stack([state.tensors["memory"].flatten(1).norm(dim=1) for state in states])
    return hits.sum(1) / (targets >= 0).sum(1), norms.sum(0)


def mean(rows: list[dict[str, Any]], metric: str) -> float:
    return float(sum(row[metric] for row in rows) / max(len(rows), 1))


def reach(rows: list[dict[str, Any]], where: str) -> int:
    """The longest text up to which nine in ten are found; 0: not even at the trained length."""
    longest = 0
    for times in TIMES:
        if mean(rows, f"{where}_{times}x") < 0.9:
            break
        longest = LENGTH * times
    return longest


def curves(systems: dict[str, list[dict[str, Any]]], shown: list[str]) -> dict[str, Any]:
    return {
        f"{what} against length": {
            "x": f"tokens of the text, trained on {LENGTH}", "y": y, "log_x": True,
            "lines": {
                name: [[LENGTH * n, mean(systems[name], f"{what}_{n}x")] for n in TIMES] for name in shown
            },
        }
        for what, y in (("near", "accuracy"), ("far", "accuracy"), ("size", "norm of the states, trained: 1"))
    }  # fmt: skip
