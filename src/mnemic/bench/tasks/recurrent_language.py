"""Character-level language models of every recurrent layer, of equal parameters and equal steps."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemic.bench import stats
from mnemic.bench.runner import Options, Outcome
from mnemic.bench.training import fingerprint, train
from mnemic.types import Ints, MnemicError

if TYPE_CHECKING:
    from torch import Tensor

    from mnemic.recurrent.engine.stack import Stack

NAME = "recurrent_language"
FOLDER = None
PROTOCOL = """
Character-level language models, one a causal layer: the same stack, width, heads, start seed, windows of text
in the same order, steps and AdamW. The layer has its default sizes, and the MLPs are as wide as makes all
models as large as the one of softmax attention, to within 2% (`extra.parameters`). `bits` is the mean -log2 p
of a character over the first characters of a test window, as many as a training window has, read from an
empty state; `bits_2x` is that of the next as many, `bits_4x` of those from twice to four times the length,
and so on: what was learnt on short windows, far beyond them. `characters_per_second` is trained, forward and
backward, by processor time. A case is a test window. --option task=generated (the default; tales this project
generates, tested on tales of other seeds) or task=books (the texts in books/ under MNEMIC_BENCH_DATA or in
--option books=DIR: trained on the first four fifths of each, tested on the last). Characters outside
printable ASCII count as one. --option preset=minutes or hours; layers=a,b for some. A model that was trained
to its end is not trained again when a run goes on.
"""

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
OTHER = len(ALPHABET)
TEST_SEED = 10**6


@dataclass(frozen=True)
class Preset:
    """How much is trained: `length` characters in a training window, `longest` times as many in a test one."""

    steps: int
    length: int
    batch: int
    dim: int
    depth: int
    characters: int
    longest: int = 16
    heads: int = 2
    rate: float = 3e-3
    tests: int = 100


PRESETS = {
    "minutes": Preset(steps=200, length=64, batch=16, dim=64, depth=1, characters=10**6),
    "hours": Preset(steps=1500, length=256, batch=8, dim=64, depth=2, characters=4 * 10**6),
}


def run(data: Path | None, options: Options) -> Outcome:
    """Train a model of every layer and test it.

    Raises:
        MnemicError: a text, preset or layer that does not exist, or no books.
    """
    from mnemic.recurrent import names

    text, given = options.extra.get("task", "generated"), options.extra.get("preset", "minutes")
    if text not in ("generated", "books"):
        raise MnemicError(f"there is no text {text!r}; there are: generated, books")
    if given not in PRESETS:
        raise MnemicError(f"there is no preset {given!r}; there are: {', '.join(PRESETS)}")
    preset = PRESETS[given]
    layers = options.extra["layers"].split(",") if "layers" in options.extra else names()
    longest = preset.longest * preset.length + 1
    if text == "generated":
        read, unseen = tales(preset.characters, 0), tales(preset.tests * longest, TEST_SEED)
    else:
        read, unseen = books(options.extra.get("books"))
    starts = np.linspace(0, len(unseen) - longest, preset.tests).astype(np.int64)
    windows = unseen[starts[:, None] + np.arange(longest)]
    systems: dict[str, list[dict[str, Any]]] = {}
    made: dict[str, dict[str, Any]] = {}
    for layer in options.progress(layers, "layers"):
        made[layer] = measure(layer, text, read, windows, preset, options)
        bits = made[layer]["bits"]
        rows = [
            {"id": f"{text}/{start}"} | dict(zip(bits, each, strict=True))
            for start, each in zip(starts.tolist(), zip(*bits.values(), strict=True), strict=True)
        ]
        rows[0]["characters_per_second"] = made[layer]["characters_per_second"]
        systems[layer] = options.chosen(rows, lambda row: row["id"])
    ends = [preset.length * 2**n for n in range(len(bits_names(preset)))]
    lines = {
        layer: [
            [end, *mean(rows, metric, options.seed)]
            for end, metric in zip(ends, bits_names(preset), strict=True)
        ]
        for layer, rows in systems.items()
    }
    axis = f"position in the text, trained up to {preset.length}"
    curve = {"x": axis, "y": "bits per character", "log_x": True, "lines": lines}
    default = "gated-delta-rule" if "gated-delta-rule" in systems else layers[0]
    return Outcome(
        systems,
        default,
        {
            "curves": {"bits against position": curve},
            "parameters": {layer: each["parameters"] for layer, each in made.items()},
            "state_bytes": {layer: each["nbytes"] for layer, each in made.items()},
            "preset": vars(preset),
        },
    )


def measure(
    layer: str, text: str, read: Ints, windows: Ints, preset: Preset, options: Options
) -> dict[str, Any]:
    """Train one model and test it, unless that was done before.

    Returns "bits", metric to the bits per character of every test window; "parameters", "nbytes" of the states
    of one text after a training window, "characters_per_second".
    """
    import torch
    from torch.nn import functional as F

    model = sized(layer, preset, options.seed)
    random = np.random.default_rng(options.seed)
    begin = random.integers(len(read) - preset.length, size=(preset.steps, preset.batch, 1))

    def loss(step: int) -> Tensor:
        ids = torch.from_numpy(read[begin[step] + np.arange(preset.length + 1)])
        logits, _ = model(ids[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def made() -> dict[str, Any]:
        begun = time.process_time()
        train(model, loss, preset.steps, preset.rate)
        seconds = time.process_time() - begun
        with torch.no_grad():
            _, states = model(torch.from_numpy(windows[:1, : preset.length]))
        return {
            "bits": bits(model, windows, preset),
            "parameters": parameters(model),
            "nbytes": sum(state.nbytes for state in states),
            "characters_per_second": preset.steps * preset.batch * preset.length / seconds,
        }

    what = {"bench": NAME, "text": text, "layer": layer, "preset": vars(preset), "seed": options.seed}
    tested = int(np.sum(windows * np.arange(1, windows.size + 1).reshape(windows.shape), dtype=np.int64))
    return options.kept(what | {"tested": tested, "first": fingerprint(model, loss)}, made)


def sized(layer: str, preset: Preset, seed: int) -> Stack:
    """A model of the layer with as many parameters as that of softmax attention."""
    import torch

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.stack import Stack

    def stack(name: str, inner: int) -> Stack:
        torch.manual_seed(seed)
        layers = [build(name, dim=preset.dim, heads=preset.heads) for _ in range(preset.depth)]
        return Stack(OTHER + 1, layers, inner=inner)

    wanted = parameters(stack("attention", 4 * preset.dim))
    spare = wanted - parameters(stack(layer, 1))
    return stack(layer, max(1 + round(spare / (3 * preset.dim * preset.depth)), 1))


def parameters(model: Stack) -> int:
    return sum(p.numel() for p in model.parameters())


def bits_names(preset: Preset) -> list[str]:
    return ["bits"] + [f"bits_{2**n}x" for n in range(1, preset.longest.bit_length())]


def bits(model: Stack, windows: Ints, preset: Preset) -> dict[str, list[float]]:
    """Bits per character of every window [n, longest * length + 1], position by position."""
    import torch
    from torch.nn import functional as F

    found = []
    with torch.no_grad():
        for rows in np.array_split(windows, max(len(windows) // 10, 1)):
            ids = torch.from_numpy(rows)
            logits, _ = model(ids[:, :-1])
            found.append(F.cross_entropy(logits.mT, ids[:, 1:], reduction="none") / np.log(2))
    each, start, result = torch.cat(found).double(), 0, {}
    for n, metric in enumerate(bits_names(preset)):
        end = preset.length * 2**n
        result[metric], start = each[:, start:end].mean(1).tolist(), end
    return result


def mean(rows: list[dict[str, Any]], metric: str, seed: int) -> list[float]:
    """Mean and 95% interval of a metric."""
    scores = np.array([row[metric] for row in rows])
    return [float(scores.mean()), *stats.interval(scores, seed=seed)]


def encoded(text: str) -> Ints:
    """Every character as its place in the alphabet, OTHER if it has none."""
    table = np.full(128, OTHER, np.int64)
    table[[ord(letter) for letter in ALPHABET]] = np.arange(OTHER)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return table[np.where(points < 128, points, 0)]


def tales(characters: int, seed: int) -> Ints:
    """At least so many characters of tales, of as many seeds from `seed` on as it takes."""
    from mnemic.worlds.tale import tale

    parts: list[Ints] = []
    for each in count(seed):
        if sum(map(len, parts)) >= characters:
            break
        parts.append(encoded(tale(seed=each).text + "\n\n"))
    return np.concatenate(parts)


def books(folder: str | None) -> tuple[Ints, Ints]:
    """The first four fifths of all books, and the last fifths.

    Raises:
        MnemicError: there are none.
    """
    data = os.environ.get("MNEMIC_BENCH_DATA")
    root = Path(folder) if folder else Path(data) / "books" if data else None
    paths = sorted(root.glob("*.txt")) if root else []
    if not paths:
        raise MnemicError(
            f"no books in {root}: give --option books=DIR with .txt files, or set MNEMIC_BENCH_DATA to the "
            "folder that holds books/"
        )
    texts = [encoded(path.read_text(encoding="utf-8")) for path in paths]
    cuts = [len(text) * 4 // 5 for text in texts]
    read = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
    return np.concatenate(read), np.concatenate([text[cut:] for text, cut in zip(texts, cuts, strict=True)])
