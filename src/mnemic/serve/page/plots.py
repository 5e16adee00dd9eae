"""Plots as inline SVG, drawn on the server: shapes with classes that the style sheet colours, light and dark.

Every plot says in words what it shows (`aria-label`); numbers stand beside it in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

TALL, LABELS = 46, 16  # pixels of a column and of the line of labels under it
ROW = 38  # pixels of a row of bars
GAP = 4  # empty months or years in a row from which they are drawn as one


def months(counts: Sequence[tuple[str, int]], links: Sequence[str]) -> Markup:
    """A column for every month or year, each a link to it; a long empty stretch takes the room of one."""
    most = max((count for _, count in counts), default=1) or 1
    slots: list[tuple[str, int, str] | None] = []
    empty = 0
    for (name, count), link in zip(counts, links, strict=True):
        empty = empty + 1 if not count else 0
        if empty < GAP:
            slots.append((name, count, link))
        elif empty == GAP:
            slots[-GAP + 1 :] = [None]
    step = min(100 / max(len(slots), 1), 6.0)
    shapes, labelled = [], -100.0
    for n, slot in enumerate(slots):
        x = n * step
        if slot is None:
            shapes.append(
                Markup('<text class="gap" x="{x:.2f}%" y="{y}">…</text>').format(x=x + step / 2, y=TALL)
            )
            continue
        name, count, link = slot
        if count:
            said = f"{name}: {count:,} {'record' if count == 1 else 'records'}"
            height = max(3.0, TALL * count / most)
            shapes.append(
                Markup(
                    '<a href="{link}" aria-label="{said}"><title>{said}</title>'
                    '<rect class="hit" x="{x:.2f}%" y="0" width="{step:.2f}%" height="{tall}"/>'
                    '<rect class="bar" x="{x:.2f}%" y="{y:.1f}" width="{w:.2f}%" height="{h:.1f}"/></a>'
                ).format(
                    link=link, said=said, x=x, step=step, tall=TALL, y=TALL - height, w=step * 0.8, h=height
                )
            )
        fresh = n == 0 or slots[n - 1] is None or name.endswith("-01") or len(name) == 4
        if fresh and x - labelled >= 12 and x <= 90:
            labelled = x
            label = name[:4] if n and slots[n - 1] is not None else name
            shapes.append(
                Markup('<text x="{x:.2f}%" y="{y}">{label}</text>').format(x=x, y=TALL + 13, label=label)
            )
    return _svg("Records over time", TALL + LABELS, shapes, "months", Markup('role="group"'))


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of `bars`: parts that follow one another, and a limit if there is one."""

    label: str
    parts: tuple[float, ...]
    limit: float | None = None


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Rows of stacked parts on one scale, the limit of each as a tick."""
    top = max((max(sum(it.parts), it.limit or 0) for it in rows), default=0) or 1
    shapes = []
    for n, row in enumerate(rows):
        y, x = n * ROW, 0.0
        shapes.append(Markup('<text x="0" y="{y}">{label}</text>').format(y=y + 15, label=row.label))
        for part, value in enumerate(row.parts):
            width = 100 * value / top
            shapes.append(
                Markup('<rect class="part{part}" x="{x:.2f}%" y="{y}" width="{w:.2f}%" height="11"/>').format(
                    part=part, x=x, y=y + 21, w=width
                )
            )
            x += width
        if row.limit is not None:
            at = min(100 * row.limit / top, 99.7)
            shapes.append(
                Markup('<rect class="limit" x="{x:.2f}%" y="{y}" width="2" height="17"/>').format(
                    x=at, y=y + 18
                )
            )
    return _svg(title, ROW * len(rows), shapes, "bars")


def interval(
    low: float, value: float, high: float, least: float, most: float, mark: float | None = None
) -> Markup:
    """A point with its interval on the scale from `least` to `most`; `mark` is where nothing or enough is."""
    wide, tall = 160, 18
    scale = (wide - 12) / ((most - least) or 1)

    def x(at: float) -> float:
        return 6 + (min(max(at, least), most) - least) * scale

    shapes = [Markup('<path class="axis" d="M0 9h{wide}"/>').format(wide=wide)]
    if mark is not None:
        shapes.append(Markup('<path class="zero" d="M{x:.1f} 1v16"/>').format(x=x(mark)))
    shapes.append(
        Markup(
            '<path class="span" d="M{a:.1f} 9H{b:.1f}"/><circle class="point" cx="{c:.1f}" cy="9" r="4"/>'
        ).format(a=x(low), b=x(high), c=x(value))
    )
    said = f"{value:.3g}, between {low:.3g} and {high:.3g}"
    inside = Markup("").join(shapes)
    return Markup(
        '<svg class="plot interval" viewBox="0 0 {w} {h}" role="img" aria-label="{said}">{inside}</svg>'
    ).format(w=wide, h=tall, said=said, inside=inside)


def _svg(
    title: str, height: int, shapes: Sequence[Markup], name: str, role: Markup = Markup('role="img"')
) -> Markup:
    """As wide as there is room, so many pixels tall; widths inside are in per cent."""
    inside = Markup("").join(shapes)
    return Markup(
        '<svg class="plot {name}" width="100%" height="{h}" {role} aria-label="{title}">{inside}</svg>'
    ).format(name=name, h=height, role=role, title=title, inside=inside)
