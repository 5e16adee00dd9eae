"""Recall against state bytes: what every recurrent layer can recall, attention and a window as ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemic.bench import stats
from mnemic.bench.equal_bytes import EQUAL_BYTES, SMALLER, sized
from mnemic.bench.runner import Options, Outcome
from mnemic.bench.training import fingerprint, train
from mnemic.types import MnemicError

if TYPE_CHECKING:
    from torch import Tensor

    from mnemic.recurrent import State
    from mnemic.recurrent.engine.stack import Stack
    from mnemic.worlds.recall_tasks import RecallTask

NAME = "recurrent"
FOLDER = None
PROTOCOL = """
Recall tasks (`mnemic.worlds.recall_tasks` draws them), one a run: --option task=associative (the default:
key-value pairs, then every key once more at a random later place), joint (a key's value depends on its
context), copying (items among noise, said in order afterwards; also at 2 and 4 times the length), disjoint
(the one token two sets share; `accuracy` with the large set first, the hard order, `accuracy_small_first` the
other way round) or passkey (digits told once, asked for at the end of texts of 1 to 64 times the length;
`near` with the passkey near the question, where a state that is full but sound still knows it). `accuracy` is
the share of a sequence's questions answered right, `exact` 1 where all are. Every layer stands in the same
model (embedding, `depth` blocks of layer and MLP, tied head), trained from the same start seed on the same
sequences in the same order with the same AdamW; tested on sequences of another seed. A case is a test
sequence; intervals are over starts, where there are several, and over the sequences of each, p over sequences
alone. Chance in associative recall is one in the number of pairs. State bytes are those of one sequence
over all blocks, short convolutions included; those of attention, which grow, are taken after the test length.
`extra.learnt` is the accuracy along training, so that a layer that was still learning can be told from one
that is full. "X-emptied" is X, trained as ever, its state emptied between what is told and the questions.
"jrt" reads what is told ahead and then as ever, "jrt-prompt" is based reading it twice; its steps are as
many, its texts longer; "atlas-online" is atlas with a window of one token, the rule of Titans, and larger
maps in as many bytes; "hax-window" is hax with as many tokens kept, but the latest. --option preset=minutes:
every layer at about 4.5 KiB of state a block, one start; preset=hour: the same (associative recall: with
twice the steps), every layer but attention also at half and a quarter of these bytes ("X-half", "X-quarter");
preset=hours: three sizes, three starts. Where gates start (momentum of Titans and ATLAS), the sharpness of
"deep-transformer", steps of Memora, Moneta, LaCT and "atlas-online" and the gate of "titans-gate" were chosen
with 300 to 600 steps of other starts on sequences of another seed than those reported; what "titans-context"
learns, and that networks forget back to what they began with, with other starts trained on other sequences,
but tested on these.
--option layers=a,b for some, starts=3 and steps=2000 for other numbers of them than the preset's. A model that
was trained to its end is not trained again when a run goes on.
"""

Shape = Mapping[str, float]
TEST_SEED = 10**6
AT_ONCE = 50  # test sequences read side by side
VARIANTS = {"jrt": "jrt", "jrt-prompt": "based", "atlas-online": "atlas", "hax-window": "hax"}
"""Systems that are a layer which reads what is told twice, learns by another rule or keeps other tokens."""


@dataclass(frozen=True)
class Preset:
    """How much is trained.

    Attributes:
        sizes: channels of a key and a value per head (the window, for a sliding window); none: equal bytes.
        asked: metric to the shape of the task it is measured on; the first is the main one.
        trained: so many of these are trained on, in turn.
        smaller: at equal bytes, whether layers of SMALLER are also trained at half and a quarter of them.
        tests: sequences tested.
    """

    sizes: tuple[int, ...]
    starts: int
    steps: int
    depth: int
    asked: Mapping[str, Shape]
    trained: int = 1
    smaller: bool = False
    dim: int = 32
    heads: int = 2
    batch: int = 32
    rate: float = 1e-2
    tests: int = 200


def longer(shape: Shape, *times: int) -> dict[str, Shape]:
    """The same task on texts so many times as long."""
    return {f"accuracy_{n}x": {**shape, "length": n * shape["length"]} for n in times}


def copying(length: int, items: int, vocab: int) -> dict[str, Shape]:
    shape: Shape = {"length": length, "items": items, "vocab": vocab}
    return {"accuracy": shape} | longer(shape, 2, 4)


def disjoint(small: int, large: int, vocab: int) -> dict[str, Shape]:
    hard: Shape = {"first": large, "second": small, "vocab": vocab}
    return {"accuracy": hard, "accuracy_small_first": {"first": small, "second": large, "vocab": vocab}}


def passkey(length: int, digits: int) -> dict[str, Shape]:
    shape: Shape = {"length": length, "digits": digits}
    far = longer(shape, 2, 4, 8, 16, 32, 64)
    return {"accuracy": shape} | far | {"accuracy_64x_near": {**far["accuracy_64x"], "depth": 1 - 1 / 128}}


PRESETS: dict[str, dict[str, Preset]] = {
    "associative": {
        "minutes": Preset((), 1, 300, 1, {"accuracy": {"length": 48, "pairs": 8, "vocab": 64}}),
        "hour": Preset((), 1, 600, 1, {"accuracy": {"length": 48, "pairs": 8, "vocab": 64}}, smaller=True),
        "hours": Preset((8, 16, 32), 3, 2000, 2, {"accuracy": {"length": 128, "pairs": 16, "vocab": 256}}),
    },
    "joint": {
        "minutes": Preset((), 1, 600, 2, {"accuracy": {"contexts": 3, "keys": 3, "symbols": 8}}),
        "hours": Preset((8, 16, 32), 3, 4000, 2, {"accuracy": {"contexts": 6, "keys": 6, "symbols": 16}}),
    },
    "copying": {
        "minutes": Preset((), 1, 600, 2, copying(48, 8, 16)),
        "hours": Preset((8, 16, 32), 3, 4000, 2, copying(256, 16, 16)),
    },
    "disjoint": {
        "minutes": Preset((), 1, 1200, 2, disjoint(4, 24, 48), trained=2),
        "hours": Preset((8, 16, 32), 3, 4000, 4, disjoint(4, 64, 256), trained=2),
    },
    "passkey": {
        "minutes": Preset((), 1, 600, 2, passkey(32, 3)),
        "hours": Preset((8, 16, 32), 3, 2000, 2, passkey(128, 5)),
    },
}
for presets in PRESETS.values():
    presets.setdefault("hour", replace(presets["minutes"], smaller=True))


def run(data: Path | None, options: Options) -> Outcome:
    """Train every layer at every size and test it.

    Raises:
        MnemicError: a task, preset or layer that does not exist.
    """
    from mnemic.recurrent import names

    task, given = options.extra.get("task", "associative"), options.extra.get("preset", "minutes")
    if task not in PRESETS:
        raise MnemicError(f"there is no recall task {task!r}; there are: {', '.join(PRESETS)}")
    if given not in PRESETS[task]:
        raise MnemicError(f"there is no preset {given!r}; there are: {', '.join(PRESETS[task])}")
    preset = PRESETS[task][given]
    preset = replace(
        preset,
        starts=int(options.extra.get("starts", preset.starts)),
        steps=int(options.extra.get("steps", preset.steps)),
    )
    layers = options.extra["layers"].split(",") if "layers" in options.extra else [*names(), *VARIANTS]
    systems: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, int] = {}
    learnt: dict[str, list[float]] = {}
    shapes_of = {layer: layer if layer in EQUAL_BYTES else VARIANTS.get(layer, layer) for layer in layers}
    unknown = [layer for layer in layers if not preset.sizes and shapes_of[layer] not in EQUAL_BYTES]
    if unknown:
        raise MnemicError(
            f"no shape of {unknown[0]!r} at equal bytes is known; there are: {', '.join(EQUAL_BYTES)}"
        )
    family: dict[str, list[str]] = {}
    for layer in options.progress(layers, "layers"):
        kind = shapes_of[layer]
        shapes = {f"{layer}-{size}": sized(kind, size) for size in preset.sizes} or {layer: EQUAL_BYTES[kind]}
        if preset.smaller:
            shapes |= {f"{layer}-{part}": each[kind] for part, each in SMALLER.items() if kind in each}
        family[layer] = list(shapes)
        for name, shape in shapes.items():
            systems |= {name: [], f"{name}-emptied": []}
            for start in range(options.seed, options.seed + preset.starts):
                trained = measure(layer, shape, task, preset, start, options)
                for system, shares in ((name, trained["whole"]), (f"{name}-emptied", trained["emptied"])):
                    systems[system] += options.started(shares, start)
                sizes[name], learnt[f"{name}/{start}"] = trained["nbytes"], trained["learnt"]
    default = "gated-delta-rule" if "gated-delta-rule" in systems else next(iter(systems))
    curves = plots(preset, family, sizes, systems, options.seed)
    return Outcome(
        systems,
        default,
        {"curves": curves, "state_bytes": sizes, "learnt": learnt, "preset": {"task": task} | vars(preset)},
    )


def plots(
    preset: Preset, family: Mapping[str, Sequence[str]], sizes: Mapping[str, int],
    systems: Mapping[str, list[dict[str, Any]]], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Recall against state bytes, a line a layer, and of its largest state against the length of the text."""
    curves: dict[str, Any] = {
        "recall against state bytes": {
            "x": "state bytes of one sequence", "y": "accuracy", "log_x": True,
            "lines": {
                layer: sorted([sizes[name], *point(systems[name], "accuracy", seed)] for name in members)
                for layer, members in family.items()
            },
        }
    }  # fmt: skip
    lengths = {
        metric: shape["length"]
        for metric, shape in preset.asked.items()
        if "length" in shape and not metric.endswith("near")
    }
    if len(lengths) > 1:
        largest = {layer: max(members, key=lambda name: sizes[name]) for layer, members in family.items()}
        curves["recall against length"] = {
            "x": f"tokens of the text, trained on {lengths['accuracy']:.0f}", "y": "accuracy", "log_x": True,
            "lines": {
                layer: [[length, *point(systems[name], metric, seed)] for metric, length in lengths.items()]
                for layer, name in largest.items()
            },
        }  # fmt: skip
    return curves


def point(rows: list[dict[str, Any]], metric: str, seed: int) -> list[float]:
    """Mean and 95% interval of a metric."""
    scores = np.array([row[metric] for row in rows])
    starts = stats.starts(rows, (row["id"] for row in rows))
    return [float(scores.mean()), *stats.interval(scores, starts, seed=seed)] if len(scores) else []


def measure(
    layer: str, shape: Mapping[str, float], task: str, preset: Preset, start: int, options: Options
) -> dict[str, Any]:
    """Train one model and test it, unless that was done before.

    Returns "whole" and "emptied", metric to the share of right answers of every test sequence with and without
    what was told; "nbytes" of the states of one sequence; "learnt", the main metric along training.
    """
    import torch
    from torch.nn import functional as F

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Stack

    shapes = list(preset.asked.values())
    torch.manual_seed(start)
    model = Stack(
        draw(task, 1, start, shapes[0]).vocab,
        [
            build(VARIANTS.get(layer, layer), dim=preset.dim, heads=preset.heads, **shape)
            for _ in range(preset.depth)
        ],
    )
    count = -(-preset.steps // preset.trained) * preset.batch
    texts = [draw(task, count, start, each) for each in shapes[: preset.trained]]

    def loss(step: int) -> Tensor:
        turn, which = divmod(step, preset.trained)
        batch, text = slice(turn * preset.batch, (turn + 1) * preset.batch), texts[which]
        logits, _ = read(layer, model, torch.from_numpy(text.tokens[batch]), text.told)
        targets = torch.from_numpy(text.targets[batch, text.told :])
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    def made() -> dict[str, Any]:
        main = draw(task, preset.tests, TEST_SEED, shapes[0])
        learnt = train(
            model, loss, preset.steps, preset.rate, lambda: float(np.mean(right(layer, model, main)[0]))
        )
        whole: dict[str, list[float]] = {}
        emptied: dict[str, list[float]] = {}
        _, nbytes = right(layer, model, main)
        for metric, each in preset.asked.items():
            test = draw(task, preset.tests, TEST_SEED, each)
            whole[metric], _ = right(layer, model, test)
            emptied[metric], _ = right(layer, model, test, emptied=True)
        for shares in (whole, emptied):
            shares["exact"] = [float(share == 1) for share in shares["accuracy"]]
        return {"whole": whole, "emptied": emptied, "nbytes": nbytes, "learnt": learnt}

    what = {"bench": NAME, "task": task, "layer": layer, "shape": dict(shape)}
    what["preset"] = vars(replace(preset, starts=1, smaller=False))  # the others are nothing to a start
    return options.kept(what | {"start": start, "first": fingerprint(model, loss)}, made)


def draw(task: str, n: int, seed: int, shape: Shape) -> RecallTask:
    """Sequences of a task."""
    from mnemic.worlds import recall_tasks as tasks

    if task == "associative":
        return tasks.associative_recall(n, seed=seed, noise=False, **shape)  # type: ignore[arg-type]
    makers: dict[str, Callable[..., RecallTask]] = {
        "joint": tasks.joint_recall, "copying": tasks.selective_copying,
        "disjoint": tasks.set_intersection, "passkey": tasks.passkey,
    }  # fmt: skip
    return makers[task](n, seed=seed, **shape)


def read(layer: str, model: Stack, tokens: Tensor, told: int) -> tuple[Tensor, list[State]]:
    """Logits of the tokens after the first `told`, read as the system does, and the states."""
    from mnemic.recurrent import jrt

    asked = tokens.shape[1] - told
    if layer == "jrt":
        _, states = jrt.prefix(model, tokens[:, :told])
        logits, states = model(tokens[:, told:], states)
        return logits, states
    logits, states = model(jrt.repeated(tokens, told) if layer == "jrt-prompt" else tokens)
    return logits[:, -asked:], states


def right(layer: str, model: Stack, test: RecallTask, *, emptied: bool = False) -> tuple[list[float], int]:
    """Share of right answers of every sequence, and the bytes of the states of one."""
    import torch

    shares: list[float] = []
    nbytes = 0
    with torch.no_grad():
        for start in range(0, len(test.tokens), AT_ONCE):
            tokens = torch.from_numpy(test.tokens[start : start + AT_ONCE])
            targets = torch.from_numpy(test.targets[start : start + AT_ONCE, test.told :])
            if emptied:
                logits, states = model(tokens[:, test.told :])
            else:
                logits, states = read(layer, model, tokens, test.told)
            asked = targets >= 0
            hits = (logits.argmax(-1) == targets) & asked
            shares += (hits.sum(1) / asked.sum(1)).tolist()
            nbytes = sum(state.nbytes for state in states) // len(tokens)
    return shares, nbytes
