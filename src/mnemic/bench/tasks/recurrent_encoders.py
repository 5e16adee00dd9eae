"""What encoders see: whether an outline is whole, told within it, and sets whose order has to be found."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemic.bench.runner import Options, Outcome
from mnemic.bench.training import fingerprint, train
from mnemic.types import MnemicError

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "recurrent_encoders"
FOLDER = None
PROTOCOL = """
--option task=pictures (the default): in pictures of 10 by 10 places with up to three outlines, half of them
with a gap of one place, every place within an outline is asked whether that outline is whole; the gap may stand
before it or behind it, in a row or a column. `accuracy` is the share of a picture's asked places answered
right, `exact` 1 where all are; chance is a half. Models of equal parameters (two blocks of layer and MLP, width
32, a learnt vector a place), steps, pictures and AdamW. "vim-one-way" is vim with both of its scans forwards,
"vig-row" vig shown the picture as one row, so that its neighbourhood has one dimension, "attention" softmax
attention of every place to all.
--option task=sets: of eleven links from symbol to symbol, in any order, the five that lead on from symbol 0 are
to be pointed at, as a set. `accuracy` is the share of them among the first five pointed at, each the likeliest,
`exact` 1 where these are the set; `bits` is -log2 p of the wanted members in the likeliest order, step by step.
"order-matters" is trained on orders drawn from the model itself after a third of the steps and uniformly
before, "order-matters-uniform" uniformly to the end, "order-matters-likeliest" on the model's likeliest order
from the first step on, "order-matters-given" on the order of the chain, which the others are not told.
"X-emptied" is X, trained as ever, shown no outlines, or links that lead nowhere. A case is a picture or a set;
intervals are over starts, too. --option starts=2 and steps (pictures 800, sets 2000); layers=a,b for some. A
model that was trained to its end is not trained again when a run goes on.
"""

DIM, DEPTH, HEADS, SIDE, BATCH = 32, 2, 2, 10, 16
TESTS, TEST_SEED = 200, 10**6
PICTURES: dict[str, str] = {
    "attention": "attention", "vim": "vim", "vim-one-way": "vim", "vig": "vig", "vig-row": "vig",
}  # fmt: skip
SETS = ("order-matters", "order-matters-uniform", "order-matters-likeliest", "order-matters-given")
STEPS = {"pictures": 800, "sets": 2000}


def run(data: Path | None, options: Options) -> Outcome:
    """Train every encoder and test it.

    Raises:
        MnemicError: a task or system that does not exist.
    """
    task = options.extra.get("task", "pictures")
    if task not in STEPS:
        raise MnemicError(f"there is no task {task!r}; there are: {', '.join(STEPS)}")
    known = list(PICTURES if task == "pictures" else SETS)
    layers = options.extra["layers"].split(",") if "layers" in options.extra else known
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise MnemicError(f"there is no {unknown[0]!r} in {task}; there are: {', '.join(known)}")
    starts, steps = int(options.extra.get("starts", 2)), int(options.extra.get("steps", STEPS[task]))
    measure = {"pictures": pictures, "sets": sets}[task]
    systems: dict[str, list[dict[str, Any]]] = {}
    learnt: dict[str, list[float]] = {}
    parameters: dict[str, int] = {}
    for layer in options.progress(layers, "encoders"):
        systems |= {layer: [], f"{layer}-emptied": []}
        for start in range(options.seed, options.seed + starts):
            made = measure(layer, steps, start, options)
            for system, found in ((layer, made["whole"]), (f"{layer}-emptied", made["emptied"])):
                systems[system] += options.started(found, start)
            learnt[f"{layer}/{start}"], parameters[layer] = made["learnt"], made["parameters"]
    extra = {"task": task, "steps": steps, "learnt": learnt, "parameters": parameters}
    return Outcome(systems, layers[0], extra)


def pictures(name: str, steps: int, start: int, options: Options) -> dict[str, Any]:
    """Train a model to see outlines and test it, unless that was done before.

    Returns "whole" and "emptied", metric to the scores of all test pictures; "learnt", along training;
    "parameters".
    """
    import torch
    from torch.nn import functional as F

    model = seer(name, start)
    marks, inside, closed = drawn(BATCH * steps, start)
    test = drawn(TESTS, TEST_SEED)

    def loss(step: int) -> Tensor:
        batch = slice(BATCH * step, BATCH * step + BATCH)
        logits, asked = model(marks[batch]), inside[batch]
        return F.binary_cross_entropy_with_logits(logits[asked], closed[batch][asked].float())

    @torch.no_grad()
    def right(*, emptied: bool = False) -> dict[str, list[float]]:
        marks, inside, closed = test
        found = model(marks & (not emptied)) > 0
        hits = ((found == closed) & inside).sum((1, 2)) / inside.sum((1, 2))
        return {"accuracy": hits.tolist(), "exact": (hits == 1).float().tolist()}

    def made() -> dict[str, Any]:
        learnt = train(model, loss, steps, 5e-3, lambda: sum(right()["accuracy"]) / TESTS)
        return {
            "whole": right(), "emptied": right(emptied=True), "learnt": learnt, "parameters": parameters(model),
        }  # fmt: skip

    what = {"bench": NAME, "task": "pictures", "layer": name, "steps": steps, "start": start, "side": SIDE}
    return options.kept(what | {"first": fingerprint(model, loss)}, made)


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Marks, places asked and answers of n pictures, [n, side, side] bool."""
    import torch

    from mnemic.worlds.outlines import outlines

    made = outlines(n, seed=seed, side=SIDE)
    return torch.from_numpy(made.marks), torch.from_numpy(made.inside), torch.from_numpy(made.closed)


def seer(name: str, seed: int) -> nn.Module:
    """A model of pictures with as many parameters as that of softmax attention: [n, side, side] -> logits."""
    import torch

    def made(name: str, inner: int) -> nn.Module:
        torch.manual_seed(seed)
        return _seer(name, inner)

    wanted = parameters(made("attention", 6 * DIM))
    spare = wanted - parameters(made(name, 1))
    return made(name, 1 + round(spare / (3 * DIM * DEPTH)))


def _seer(name: str, inner: int) -> nn.Module:
    import torch
    from torch import nn

    from mnemic.recurrent import build
    from mnemic.recurrent.engine.parts import HeadNorm
    from mnemic.recurrent.engine.stack import SwishMLP

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.MultiheadAttention(DIM, HEADS, bias=False, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.all(x, x, x, need_weights=False)[0]
            return y

    def layer() -> nn.Module:
        if name == "attention":
            return Attention()
        made = build(PICTURES[name], dim=DIM, **({"heads": HEADS} if PICTURES[name] == "vig" else {}))
        if name == "vim-one-way":
            made.run = partial(one_way, made)  # type: ignore[assignment]
        return made

    class Seer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mark = nn.Embedding(2, DIM)
            self.place = nn.Parameter(torch.randn(SIDE, SIDE, DIM))
            self.layers = nn.ModuleList(layer() for _ in range(DEPTH))
            self.mlps = nn.ModuleList(SwishMLP(DIM, inner) for _ in range(DEPTH))
            self.norms = nn.ModuleList(HeadNorm(DIM) for _ in range(2 * DEPTH + 1))
            self.head = nn.Linear(DIM, 1)

        def forward(self, marks: Tensor) -> Tensor:
            x = self.mark(marks.long()) + self.place
            shape = {"vig": x.shape, "vig-row": (len(x), 1, -1, DIM)}.get(name, (len(x), -1, DIM))
            x = x.reshape(shape)
            for i, (layer, mlp) in enumerate(zip(self.layers, self.mlps, strict=True)):
                x = x + layer(self.norms[2 * i](x))
                x = x + mlp(self.norms[2 * i + 1](x))
            logits: Tensor = self.head(self.norms[-1](x)).reshape(marks.shape)
            return logits

    return Seer()


def one_way(layer: Any, x: Tensor) -> Tensor:
    """Vim with both scans forwards: as many parameters, and nothing seen of what stands behind."""
    from torch.nn import functional as F

    x, z = layer.project(x).chunk(2, -1)
    y: Tensor = layer.output((layer.ahead(x) + layer.back(x)) / 2 * F.silu(z))
    return y


def sets(name: str, steps: int, start: int, options: Options) -> dict[str, Any]:
    """The same for sets of links."""
    import torch
    from torch.nn import functional as F

    from mnemic.recurrent import build
    from mnemic.worlds.outlines import chains

    def drawn(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Links [n, members, 2 symbols] as ones among zeros, the wanted, these in the order of the chain."""
        made = chains(n, seed=seed)
        links = torch.from_numpy(made.links)
        wanted = torch.from_numpy(made.wanted)
        rows, now, order = torch.arange(n), torch.zeros(n, dtype=torch.int64), []
        for _ in range(int(wanted[0].sum())):
            order.append((links[..., 0] == now[:, None]).float().argmax(1))
            now = links[rows, order[-1], 1]
        return F.one_hot(links, made.symbols).flatten(2).float(), wanted, torch.stack(order, 1)

    torch.manual_seed(start)
    links, wanted, given = drawn(BATCH * steps, start)
    test, asked, _ = drawn(TESTS, TEST_SEED)
    model: Any = build("order-matters", dim=links.shape[-1], width=64, steps=3)
    random = torch.Generator().manual_seed(start)

    def loss(step: int) -> Tensor:
        batch = slice(BATCH * step, BATCH * step + BATCH)
        uniform = name == "order-matters-uniform" or (name == "order-matters" and step < steps // 3)
        temperature = math.inf if uniform else 0.0 if name == "order-matters-likeliest" else 1.0
        order = given[batch]
        if name != "order-matters-given":
            order = model.search(links[batch], wanted[batch], temperature=temperature, generator=random)
        lost: Tensor = -model.write(links[batch], order).sum(1).mean()
        return lost

    @torch.no_grad()
    def right(*, emptied: bool = False) -> dict[str, list[float]]:
        shown = test * (not emptied)
        pointed = model.search(shown, torch.ones_like(asked), temperature=0)[:, : given.shape[1]]
        hits = asked.gather(1, pointed).float().mean(1)
        told = model.write(shown, model.search(shown, asked, temperature=0)).sum(1)
        return {
            "accuracy": hits.tolist(), "exact": (hits == 1).float().tolist(),
            "bits": (-told / math.log(2)).tolist(),
        }  # fmt: skip

    def made() -> dict[str, Any]:
        learnt = train(model, loss, steps, 3e-3, lambda: sum(right()["accuracy"]) / TESTS)
        return {
            "whole": right(), "emptied": right(emptied=True), "learnt": learnt, "parameters": parameters(model),
        }  # fmt: skip

    what = {"bench": NAME, "task": "sets", "layer": name, "steps": steps, "start": start}
    first = fingerprint(model, loss)
    random.manual_seed(start)
    return options.kept(what | {"first": first}, made)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
