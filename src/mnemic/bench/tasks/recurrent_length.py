"""Far beyond the trained length: what a selective state space loses there, and what mends save."""

from __future__ import annotations

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
`size_8x`: norm of the states over that at the trained length. A case is a test sequence. "X-emptied" is X
without what stands before the queries. --option steps=1500 and tests=200.
"""

LENGTH, PAIRS, VOCAB, TEST_SEED = 32, 4, 32, 10**6
TIMES = (1, 2, 4, 8, 16, 32)
SHAPE: dict[str, Any] = {"heads": 4, "size": 16, "chunk": 8}
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("mamba", {}),
    "longmamba": ("longmamba", {"trained": LENGTH}),
    "stuffed-mamba-forget": ("stuffed-mamba", {"mend": "forget"}),
    "stuffed-mamba-norm": ("stuffed-mamba", {"mend": "norm"}),
    "stuffed-mamba-window": ("stuffed-mamba", {"mend": "window", "window": LENGTH}),
}


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    steps, tests = int(options.extra.get("steps", 1500)), int(options.extra.get("tests", 200))
    trained = learnt(steps, options.seed)
    calibration, _ = texts(64, options.seed + 1)
    test, targets = texts(tests, TEST_SEED)
    systems: dict[str, list[dict[str, Any]]] = {}
    for system, (layer, shape) in SYSTEMS.items():
        model = adapted(trained, layer, shape, calibration)
        found: dict[str, Tensor] = {}
        emptied: dict[str, Tensor] = {}
        with torch.no_grad():
            for times in TIMES:
                for where in ("near", "far"):
                    right, size = recalled(model, filled(test, times, where), targets)
                    found[f"{where}_{times}x"] = right
                    emptied[f"{where}_{times}x"], _ = recalled(model, test[:, 2 * PAIRS :], targets)
                    if where == "near":
                        found[f"size_{times}x"] = size / found.get("size", size)
                        found.setdefault("size", size)
        del found["size"]
        for name, columns in ((system, found), (f"{system}-emptied", emptied)):
            cases = [
                {"id": f"sequence-{i}"} | {metric: float(column[i]) for metric, column in columns.items()}
                for i in range(tests)
            ]
            systems[name] = options.chosen(cases, lambda case: case["id"])
    return Outcome(systems, "mamba", {"curves": curves(systems), "steps": steps, "shape": SHAPE})


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


def learnt(steps: int, seed: int) -> Stack:
    """A model of Mamba layers, trained."""
    import torch
    from torch.nn import functional as F

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Stack

    torch.manual_seed(seed)
    model = Stack(VOCAB, [build("mamba", dim=32, **SHAPE) for _ in range(2)])
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


def curves(systems: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    def mean(system: str, metric: str) -> float:
        scores: list[float] = [row[metric] for row in systems[system]]
        return sum(scores) / max(len(scores), 1)

    return {
        f"{what} against length": {
            "x": f"tokens of the text, trained on {LENGTH}", "y": y, "log_x": True,
            "lines": {
                system: [[LENGTH * n, mean(system, f"{what}_{n}x")] for n in TIMES] for system in SYSTEMS
            },
        }
        for what, y in (("near", "accuracy"), ("far", "accuracy"), ("size", "norm of the states, trained: 1"))
    }  # fmt: skip
