"""Turns committed results into pages: one a bench, tables and plots made from the JSON and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Metrics = Mapping[str, Mapping[str, float]]
Lines = Mapping[str, Sequence[Sequence[float]]]

PAIRED = 6  # metrics whose paired comparisons a page shows
TOGETHER, COLUMNS = 10, 6  # lines that one panel tells apart; panels side by side of more


def page(path: Path) -> Path:
    """Write NAME.md and its plots beside the result NAME.json; returns the page's path."""
    result = json.loads(path.read_text(encoding="utf-8"))
    plots = [intervals_plot(result, path)] if len(result["systems"]) > 1 else []
    plots += [curve_plot(title, curve, path) for title, curve in result["extra"].get("curves", {}).items()]
    machine = result["machine"]
    text = [
        f"# {result['task']}",
        "",
        result["protocol"],
        "",
        f"Cases: {result['part']}. Each cell: mean [95% bootstrap interval] of n cases. "
        f"The default settings are **{result['default']}**.",
        "",
        table(result["systems"]),
        "",
        *halves_table(result),
        *paired_table(result),
        *(f"![{plot.stem}]({plot.name})\n" for plot in plots),
        f"Made by `{result['command']}` (seed {result['seed']}, version {result['version']}) in "
        f"{result['seconds']:.0f} s on {machine['processor']}, {machine['cores']} cores, "
        f"Python {machine['python']}; data: [{path.name}]({path.name}).",
    ]
    target = path.with_suffix(".md")
    target.write_text("\n".join(text) + "\n", encoding="utf-8")
    return target


def table(systems: Mapping[str, Metrics]) -> str:
    """A Markdown table of systems and metrics, the longer of the two downwards."""
    metrics = list(dict.fromkeys(metric for each in systems.values() for metric in each))
    if len(metrics) > len(systems):
        lines = ["| metric | " + " | ".join(systems) + " |", "|---" * (len(systems) + 1) + "|"]
        for metric in metrics:
            cells = (cell(values.get(metric)) for values in systems.values())
            lines.append(f"| {metric} | " + " | ".join(cells) + " |")
        return "\n".join(lines)
    lines = ["| system | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for system, values in systems.items():
        lines.append(f"| {system} | " + " | ".join(cell(values.get(metric)) for metric in metrics) + " |")
    return "\n".join(lines)


def cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    if value["n"] == 1:
        return f"{number(value['value'])} n=1"
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}] n={value['n']}"


def difference(value: Mapping[str, float]) -> str:
    within = f" [{value['low']:+.3f}, {value['high']:+.3f}]" if value["n"] > 1 else ""
    return f"{value['difference']:+.3f}{within} n={value['n']}"


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if 0 < abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def halves_table(result: Mapping[str, Any]) -> list[str]:
    if not any(_of_some(each) for each in result.get("halves", {}).values()):
        return []
    title = f"{result['default']} on the half of the cases that settings were chosen on, and on the other:"
    return [title, "", table(result["halves"]), ""]


def paired_table(result: Mapping[str, Any]) -> list[str]:
    paired = {metric: some for metric, others in result["paired"].items() if (some := _of_some(others))}
    if not paired:
        return []
    lines = [
        f"Paired with {result['default']} (its mean minus the other's, 95% interval, sign-flip p after Holm; "
        "further metrics in the JSON):",
        "",
        "| metric | against | difference | p |",
        "|---|---|---|---|",
    ]
    for metric, others in list(paired.items())[:PAIRED]:
        for system, each in others.items():
            lines.append(f"| {metric} | {system} | {difference(each)} | {each['p_holm']:.3g} |")
    return [*lines, ""]


def _of_some(values: Metrics) -> Metrics:
    """Those that say more than one case does."""
    return {name: each for name, each in values.items() if each["n"] > 1}


def intervals_plot(result: Mapping[str, Any], path: Path, most: int = 6) -> Path:
    """Means with their intervals, a panel a metric (the first `most` of them)."""
    plt = pyplot()
    metrics = list(result["metrics"])[:most]
    systems = list(result["systems"])
    figure, panels = plt.subplots(
        1,
        len(metrics),
        figsize=(1.5 + 2.2 * len(metrics), 0.8 + 0.28 * len(systems)),
        sharey=True,
        squeeze=False,
    )
    for panel, metric in zip(panels[0], metrics, strict=True):
        for row, system in enumerate(systems):
            value = result["systems"][system].get(metric)
            if value:
                colour = "tab:blue" if system == result["default"] else "0.45"
                panel.plot([value["low"], value["high"]], [row, row], color=colour, linewidth=1.5)
                panel.plot(value["value"], row, "o", color=colour, markersize=5)
        panel.set_title(metric, fontsize=9)
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(systems)), systems, fontsize=8)
    panels[0][0].invert_yaxis()
    return save_figure(figure, path.with_suffix(".svg"))


def curve_plot(title: str, curve: Mapping[str, Any], path: Path) -> Path:
    """Lines of [x, y] or [x, y, low, high] points; each of many has its own panel, all of them in grey."""
    lines = {label: points for label, points in curve["lines"].items() if points}
    figure = _together(lines, title, curve) if len(lines) <= TOGETHER else _apart(lines, title, curve)
    slug = "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")
    return save_figure(figure, path.with_name(f"{path.stem}-{slug}.svg"))


def _together(lines: Lines, title: str, curve: Mapping[str, Any]) -> Any:
    figure, panel = pyplot().subplots(figsize=(6, 3.8))
    for label, points in lines.items():
        _line(panel, points, label)
    _scaled(panel, curve)
    panel.set_xlabel(curve["x"])
    panel.set_ylabel(curve["y"])
    panel.set_title(title, fontsize=10)
    if len(lines) > 1:
        panel.legend(fontsize=7)
    return figure


def _apart(lines: Lines, title: str, curve: Mapping[str, Any]) -> Any:
    rows = -(-len(lines) // COLUMNS)
    size = (1.7 * COLUMNS, 0.8 + 1.35 * rows)
    figure, grid = pyplot().subplots(rows, COLUMNS, figsize=size, sharex=True, sharey=True)
    panels = list(grid.flat)
    gap = [float("nan")] * 2
    all_x, all_y = zip(*(point[:2] for points in lines.values() for point in [*points, gap]), strict=True)
    for panel, (label, points) in zip(panels, lines.items(), strict=False):
        panel.plot(all_x, all_y, color="0.88", linewidth=0.5, zorder=1)
        _line(panel, points, label)
        panel.set_title(label, fontsize=7)
    for panel in panels[len(lines) :]:
        panel.set_visible(False)
    for n, panel in enumerate(panels):
        _scaled(panel, curve)
        panel.minorticks_off()
        panel.tick_params(labelsize=6, labelbottom=n + COLUMNS >= len(lines))
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(curve["x"], fontsize=9)
    figure.supylabel(curve["y"], fontsize=9)
    figure.tight_layout()
    return figure


def _line(panel: Any, points: Sequence[Sequence[float]], label: str) -> None:
    x, y = [point[0] for point in points], [point[1] for point in points]
    (line,) = panel.plot(x, y, marker="o", markersize=3, linewidth=1.3, label=label)
    if len(points[0]) == 4:
        low, high = [p[2] for p in points], [p[3] for p in points]
        panel.fill_between(x, low, high, color=line.get_color(), alpha=0.15)
        panel.vlines(x, low, high, color=line.get_color(), linewidth=0.8)


def _scaled(panel: Any, curve: Mapping[str, Any]) -> None:
    if curve.get("log_x"):
        panel.set_xscale("log")
    if curve.get("log_y"):
        panel.set_yscale("log")
    panel.grid(alpha=0.3)


def claims_board(results: Sequence[Mapping[str, Any]]) -> str:
    """The board of docs/claims.md: paper, claim, measured, interval, holds or not."""
    lines = [
        "# Claims",
        "",
        "What each method's paper reports, in the smallest experiment that shows it here: method minus",
        "baseline over the cases not tuned on, 95% bootstrap interval, over starts too where models were",
        "trained from several; the same condition must fail for the sabotaged twin. A claim that does not",
        "hold stays.",
        "",
        "| method | paper | claim | measured | at equal | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for each in results:
        measured = (
            f"{each['metric']}: {number(each['method_mean'])} against {number(each['baseline_mean'])}, "
            f"{difference(each)}"
        )
        lines.append(
            f"| {each['room']}/{each['name']} | {each['paper']} | {each['says']} | {measured} "
            f"| {each['budget']} | {each['verdict']} |"
        )
    return "\n".join(lines) + "\n"


def pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        from mnemic.types import MnemicError

        raise MnemicError("plots need matplotlib: pip install 'mnemic[bench]'") from None
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "mnemic"
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> Path:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot().close(figure)
    return path
