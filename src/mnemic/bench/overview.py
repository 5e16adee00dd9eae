"""All recurrent layers side by side, from what the benches measured: a layer a row, a measure a column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import mean

from mnemic.bench.equal_bytes import SMALLER
from mnemic.bench.report import number, pyplot, save_figure
from mnemic.types import MnemicError

NAME = "recurrent-overview"
Values = dict[str, float]
"""A measure of every layer that has it."""


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        title: what it is called here.
        result: the committed result it stands in, and `metric` there.
        size: "-quarter": of the layer at a quarter of the bytes.
        less: whether less is better.
        wide: whether it goes over orders of magnitude.
        quality: whether it counts for the order of the rows.
    """

    title: str
    result: str
    metric: str
    size: str = ""
    less: bool = False
    wide: bool = False
    quality: bool = True


COLUMNS = (
    Column("associative recall", "recurrent", "accuracy"),
    Column("a quarter of the bytes", "recurrent", "accuracy", size="-quarter"),
    Column("joint recall", "recurrent-joint", "accuracy"),
    Column("copying", "recurrent-copying", "accuracy"),
    Column("copying, 4 times as long", "recurrent-copying", "accuracy_4x"),
    Column("sets, large first", "recurrent-disjoint", "accuracy"),
    Column("passkey", "recurrent-passkey", "accuracy"),
    Column("passkey, 64 times as long", "recurrent-passkey", "accuracy_64x"),
    Column("tales, bits a character", "recurrent_language", "bits", less=True),
    Column("tales, 16 times as long", "recurrent_language", "bits_16x", less=True),
    Column("books, bits a character", "recurrent_language-books", "bits", less=True),
    Column("books, 16 times as long", "recurrent_language-books", "bits_16x", less=True),
    Column("tokens a second, trained", "recurrent_speed", "tokens_per_second", wide=True, quality=False),
)
RESULTS = frozenset(column.result for column in COLUMNS)


def write(folder: Path) -> Path:
    """Write the page and its plot into the folder of results; returns the page's path.

    Raises:
        MnemicError: there is no result of these benches.
    """
    there = {name: path for name in RESULTS if (path := folder / f"{name}.json").exists()}
    if not there:
        raise MnemicError(f"{folder} has no result of a recurrent bench")
    systems = {name: json.loads(path.read_text(encoding="utf-8"))["systems"] for name, path in there.items()}
    measured = {column: of(column, systems[column.result]) for column in COLUMNS if column.result in systems}
    columns = {column: values for column, values in measured.items() if values}
    layers = ordered(columns)
    plot = heat(columns, layers, folder / f"{NAME}.svg")
    page = folder / f"{NAME}.md"
    page.write_text(text(columns, layers, plot.name), encoding="utf-8")
    return page


def of(column: Column, systems: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Values:
    found = {
        name.removesuffix(column.size): metrics[column.metric]["value"]
        for name, metrics in systems.items()
        if name.endswith(column.size) and column.metric in metrics
    }
    others = ("-emptied", *(f"-{part}" for part in SMALLER))
    return {name: value for name, value in found.items() if not name.endswith(others)}


def goodness(column: Column, values: Values) -> Values:
    """From 0, the worst of them, to 1, the best."""
    scaled = {name: log(value) if column.wide else value for name, value in values.items()}
    low, high = min(scaled.values()), max(scaled.values())
    share = {name: (value - low) / (high - low or 1) for name, value in scaled.items()}
    return {name: 1 - each for name, each in share.items()} if column.less else share


def ordered(columns: Mapping[Column, Values]) -> list[str]:
    """The layers that the first column knows, by the mean of how good each is at what it was asked."""
    shares: dict[str, list[float]] = {name: [] for name in next(iter(columns.values()))}
    for column, values in columns.items():
        if column.quality:
            for name, share in goodness(column, values).items():
                if name in shares:
                    shares[name].append(share)
    return sorted(shares, key=lambda name: -mean(shares[name] or [0.0]))


def text(columns: Mapping[Column, Values], layers: Sequence[str], plot: str) -> str:
    lines = [
        "# Recurrent layers side by side",
        "",
        "Means of the committed results; the head of a column leads to the page with its intervals, cases and",
        "command. About 4.5 KiB of state where nothing else is said; attention, whose state grows, has what it",
        "needs. Rows are ordered by the mean, over all columns but the last, of where a layer lies between the",
        "worst (0) and the best (1) of those asked; the best of a column stands out.",
        "",
        f"![{NAME}]({plot})",
        "",
        "| layer | " + " | ".join(f"[{column.title}]({column.result}.md)" for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    best = {c: number((min if c.less else max)(values.values())) for c, values in columns.items()}
    for layer in layers:
        shown = [number(values[layer]) if layer in values else "" for values in columns.values()]
        cells = [f"**{it}**" if it == top else it for it, top in zip(shown, best.values(), strict=True)]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def heat(columns: Mapping[Column, Values], layers: Sequence[str], path: Path) -> Path:
    """Every number on a ground the darker the better it is among those of its column."""
    figure, panel = pyplot().subplots(figsize=(2.2 + 0.62 * len(columns), 1.6 + 0.24 * len(layers)))
    good = [goodness(column, values) for column, values in columns.items()]
    ground = [[each.get(layer, float("nan")) for each in good] for layer in layers]
    panel.imshow(ground, cmap="Blues", vmin=-0.1, vmax=1.3, aspect="auto")
    for row, layer in enumerate(layers):
        for at, values in enumerate(columns.values()):
            if layer in values:
                shown = f"{values[layer]:.2f}" if values[layer] < 100 else f"{values[layer] / 1000:.1f}K"
                colour = "white" if ground[row][at] > 0.7 else "black"
                panel.text(at, row, shown, ha="center", va="center", fontsize=7, color=colour)
    panel.set_xticks(range(len(columns)), [c.title for c in columns], fontsize=7, rotation=40, ha="left")
    panel.xaxis.tick_top()
    panel.set_yticks(range(len(layers)), layers, fontsize=8)
    panel.tick_params(length=0)
    return save_figure(figure, path)
