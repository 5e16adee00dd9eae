"""Recall against state bytes: associative recall by every recurrent layer, attention and a window as ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemic.bench.runner import Options, Outcome
from mnemic.types import MnemicError

NAME = "recurrent"
FOLDER = None
PROTOCOL = """
Multi-query associative recall: key-value pairs, then every key once more at a random later place; what counts
is the share of a sequence's keys whose value is said first. Every layer stands in the same model (embedding,
`depth` blocks of layer and MLP, tied head), trained from the same start seed on the same sequences in the same
order with the same AdamW; tested on sequences of another seed. A case is a test sequence. Chance is one in the
number of pairs. State bytes are those of one sequence over all blocks, short convolutions included; those of
attention, which grow, are taken after the test length. `extra.learnt` is the accuracy along training, so that a
layer that was still learning can be told from one that is full. "X-emptied" is X, trained as ever, its state
emptied between the pairs and the queries. --option preset=minutes: every layer at about 4.5 KiB of state, one
start; preset=hours: three sizes, three starts. --option layers=a,b for some.
"""

TEST_SEED = 10**6


@dataclass(frozen=True)
class Preset:
    """How much is trained.

    Attributes:
        sizes: channels of a key and a value per head (the window, for a sliding window); none: equal bytes.
        length, pairs, vocab: of the task.
        tests: sequences tested.
    """

    sizes: tuple[int, ...]
    starts: int
    steps: int
    depth: int
    length: int
    pairs: int
    vocab: int
    dim: int = 32
    heads: int = 2
    batch: int = 32
    rate: float = 1e-2
    tests: int = 200


EQUAL_BYTES: dict[str, dict[str, int]] = {
    "attention": {},
    "sliding-window": {"window": 14},
    "linear-attention": {"key_dim": 20, "value_dim": 20},
    "gated-linear-attention": {"key_dim": 20, "value_dim": 20},
    "delta-rule": {"key_dim": 20, "value_dim": 20},
    "gated-delta-rule": {"key_dim": 20, "value_dim": 20},
    "based": {"key_dim": 6, "value_dim": 16},
    "mom": {"key_dim": 10, "value_dim": 10},
    "titans": {"key_dim": 9, "value_dim": 9, "expansion": 1},
    "moneta": {"head_dim": 11, "expansion": 1},
    "yaad": {"head_dim": 11, "expansion": 1},
    "memora": {"head_dim": 11, "expansion": 1},
    "atlas": {"key_dim": 4, "value_dim": 8},
    "aaren": {"key_dim": 4, "value_dim": 136},
    "gam": {"conv": 36},
    "lssl": {"size": 36},
    "s4": {"size": 36},
    "s4d": {"size": 36},
    "lact": {"key_dim": 6, "value_dim": 8, "chunk": 8, "window": 8},
}
"""Shapes whose states are alike in size at a width of 32 and 2 heads."""

PRESETS = {
    "minutes": Preset((), 1, 300, 1, 48, 8, 64),
    "hours": Preset((8, 16, 32), 3, 2000, 2, 128, 16, 256),
}


def run(data: Path | None, options: Options) -> Outcome:
    """Train every layer at every size and test it.

    Raises:
        MnemicError: a preset or layer that does not exist.
    """
    from mnemic.recurrent import names

    given = options.extra.get("preset", "minutes")
    if given not in PRESETS:
        raise MnemicError(f"there is no preset {given!r}; there are: {', '.join(PRESETS)}")
    preset = PRESETS[given]
    layers = options.extra["layers"].split(",") if "layers" in options.extra else names()
    systems: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, int] = {}
    learnt: dict[str, list[float]] = {}
    unknown = [layer for layer in layers if not preset.sizes and layer not in EQUAL_BYTES]
    if unknown:
        raise MnemicError(
            f"no shape of {unknown[0]!r} at equal bytes is known; there are: {', '.join(EQUAL_BYTES)}"
        )
    for layer in options.progress(layers, "layers"):
        shapes = {f"{layer}-{size}": sized(layer, size) for size in preset.sizes} or {layer: EQUAL_BYTES[layer]}
        for name, shape in shapes.items():
            whole: list[dict[str, Any]] = []
            emptied: list[dict[str, Any]] = []
            for start in range(options.seed, options.seed + preset.starts):
                trained = measure(layer, shape, preset, start, options)
                whole, emptied = whole + trained.rows, emptied + trained.emptied
                sizes[name], learnt[f"{name}/{start}"] = trained.nbytes, trained.learnt
            systems |= {name: whole, f"{name}-emptied": emptied}
    lines: dict[str, list[list[float]]] = {}
    for name, nbytes in sizes.items():
        mean = sum(row["accuracy"] for row in systems[name]) / max(len(systems[name]), 1)
        layer = name if name in EQUAL_BYTES else name.rpartition("-")[0]
        lines.setdefault(layer, []).append([nbytes, mean])
    curve = {"x": "state bytes of one sequence", "y": "accuracy", "log_x": True, "lines": lines}
    default = "gated-delta-rule" if "gated-delta-rule" in systems else next(iter(systems))
    return Outcome(
        systems,
        default,
        {
            "curves": {"recall against state bytes": curve},
            "state_bytes": sizes,
            "learnt": learnt,
            "preset": vars(preset),
        },
    )


@dataclass(frozen=True)
class Trained:
    """A model's rows with its state and without, its state bytes per sequence, its accuracy along training."""

    rows: list[dict[str, Any]]
    emptied: list[dict[str, Any]]
    nbytes: int
    learnt: list[float]


def measure(layer: str, shape: Mapping[str, int], preset: Preset, start: int, options: Options) -> Trained:
    """Train one model and test it."""
    import torch
    from torch.nn import functional as F

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Stack
    from mnemic.worlds.recall_tasks import associative_recall

    def task(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        made = associative_recall(n, preset.length, preset.pairs, seed=seed, vocab=preset.vocab, noise=False)
        return torch.from_numpy(made.tokens), torch.from_numpy(made.targets)

    torch.manual_seed(start)
    model = Stack(
        preset.vocab,
        [build(layer, dim=preset.dim, heads=preset.heads, **shape) for _ in range(preset.depth)],
    )
    tokens, targets = task(preset.steps * preset.batch, start)
    test_tokens, test_targets = task(preset.tests, TEST_SEED)
    adam = torch.optim.AdamW(model.parameters(), lr=preset.rate, betas=(0.9, 0.95), weight_decay=0.01)
    warm = max(preset.steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: min((step + 1) / warm, (preset.steps - step) / (preset.steps - warm))
    )

    @torch.no_grad()
    def right(begin: int = 0) -> tuple[torch.Tensor, int]:
        """Share of right answers of a reader that begins at a token, and the bytes of its states."""
        logits, states = model(test_tokens[:, begin:])
        asked = test_targets[:, begin:] >= 0
        hits = (logits.argmax(-1) == test_targets[:, begin:]) & asked
        return hits.sum(1) / asked.sum(1), sum(state.nbytes for state in states) // preset.tests

    def rows(shares: torch.Tensor) -> list[dict[str, Any]]:
        cases = [(f"start-{start}/sequence-{i}", float(share)) for i, share in enumerate(shares)]
        return [{"id": case, "accuracy": share} for case, share in options.chosen(cases, lambda case: case[0])]

    along = []
    for step in range(preset.steps):
        batch = slice(step * preset.batch, (step + 1) * preset.batch)
        logits, _ = model(tokens[batch])
        loss = F.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), ignore_index=-100)
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        if (step + 1) % max(preset.steps // 5, 1) == 0:
            along.append(round(float(right()[0].mean()), 4))
    shares, nbytes = right()
    return Trained(rows(shares), rows(right(2 * preset.pairs)[0]), nbytes, along)


def sized(layer: str, size: int) -> dict[str, int]:
    """The options that give a layer this size per head."""
    if layer == "sliding-window":
        return {"window": size}
    if layer == "gam":
        return {"conv": size}
    if layer in ("lssl", "s4", "s4d"):
        return {"size": size}
    if layer in ("moneta", "yaad", "memora"):
        return {"head_dim": size}
    if layer in ("based", "atlas"):
        return {"key_dim": size // 2, "value_dim": size}
    return {"key_dim": size, "value_dim": size}
