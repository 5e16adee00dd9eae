"""Plots as inline SVG, drawn on the server: shapes with classes that the style sheet colours, light and dark.

Every plot says in words what it shows (`aria-label`); numbers stand beside it in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDE = 1000


def months(counts: Sequence[tuple[str, int]], links: Sequence[str]) -> Markup:
    """A column for every month or year, each a link to it."""
    high, most = 64, max((count for _, count in counts), default=1) or 1
    step = WIDE / max(len(counts), 12)
    shapes = []
    for n, ((name, count), link) in enumerate(zip(counts, links, strict=True)):
        height = 0.0 if not count else max(3.0, (high - 14) * count / most)
        x, said = n * step, f"{name}: {count} {'record' if count == 1 else 'records'}"
        column = Markup(
            '<a href="{link}" aria-label="{said}"><title>{said}</title>'
            '<rect class="hit" x="{x:.1f}" y="0" width="{step:.1f}" height="{high}"/>'
            '<rect class="bar" x="{x0:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/></a>'
        ).format(link=link, said=said, x=x, step=step, high=high, x0=x + step * 0.1, y=high - 14 - height,
                 width=step * 0.8, height=height)  # fmt: skip
        shapes.append(column if count else Markup(""))
        if n == 0 or (len(name) == 7 and name.endswith("-01")) or (len(name) == 4 and name.endswith("0")):
            label = name if n == 0 or len(name) == 4 else name[:4]
            if n == 0 or x > 90:
                shapes.append(Markup('<text x="{x:.1f}" y="{y}">{label}</text>').format(x=x, y=high - 2, label=label))
    return _svg("Records over time", WIDE, high, shapes, "months")


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of `bars`: parts that follow one another, and a limit if there is one."""

    label: str
    parts: tuple[float, ...]
    limit: float | None = None


def bars(title: str, rows: Sequence[Bar], most: float | None = None) -> Markup:
    """Rows of stacked parts on one scale, the limit of each as a tick."""
    top = most or max((max(sum(it.parts), it.limit or 0) for it in rows), default=0) or 1
    left, high, shapes = 220, 26, []
    for n, row in enumerate(rows):
        y, x = n * high, float(left)
        label = row.label if len(row.label) <= 24 else row.label[:23] + "…"
        shapes.append(
            Markup('<text x="{x}" y="{y}" class="label">{label}</text>').format(x=left - 12, y=y + 17, label=label)
        )
        for part, value in enumerate(row.parts):
            width = (WIDE - left) * value / top
            shapes.append(
                Markup('<rect class="part{part}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="14" rx="1.5"/>').format(
                    part=part, x=x, y=y + 6, width=width
                )
            )
            x += width
        if row.limit is not None:
            at = left + (WIDE - left) * min(row.limit, top) / top
            shapes.append(
                Markup('<path class="limit" d="M{at:.1f} {y}v22"/>').format(at=min(at, WIDE - 1.0), y=y + 2)
            )
    return _svg(title, WIDE, high * len(rows), shapes, "bars")


def interval(low: float, value: float, high: float, least: float, most: float, mark: float | None = None) -> Markup:
    """A point with its interval on the scale from `least` to `most`; `mark` is where nothing or enough is."""
    wide, tall = 160, 18
    scale = (wide - 12) / ((most - least) or 1)

    def x(at: float) -> float:
        return 6 + (min(max(at, least), most) - least) * scale

    shapes = [Markup('<path class="axis" d="M0 9h{wide}"/>').format(wide=wide)]
    if mark is not None:
        shapes.append(Markup('<path class="zero" d="M{x:.1f} 1v16"/>').format(x=x(mark)))
    shapes.append(
        Markup('<path class="span" d="M{a:.1f} 9H{b:.1f}"/><circle class="point" cx="{c:.1f}" cy="9" r="4"/>').format(
            a=x(low), b=x(high), c=x(value)
        )
    )
    return _svg(f"{value:.3g}, between {low:.3g} and {high:.3g}", wide, tall, shapes, "interval")


def _svg(title: str, width: int, height: int, shapes: Sequence[Markup], name: str) -> Markup:
    inside = Markup("").join(shapes)
    role = Markup('role="group"') if name == "months" else Markup('role="img"')
    return Markup('<svg class="plot {name}" viewBox="0 0 {w} {h}" {role} aria-label="{title}">{inside}</svg>').format(
        name=name, w=width, h=height, role=role, title=escape(title), inside=inside
    )
