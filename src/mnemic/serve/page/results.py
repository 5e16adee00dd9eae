"""Results of `mnemic bench` and the board of claims, read from the folder that the command line writes.

That is `docs/results` of the working directory (`mnemic bench NAME --docs` puts them there), else that of the
checkout the package runs from. An installed package carries none: the page then says how to make them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[4] / "docs" / "results"
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def folder() -> Path | None:
    """Where results are; None if there are none."""
    for place in (Path("docs/results"), CHECKOUT):
        if place.is_dir() and any(place.glob("*.json")):
            return place
    return None


def claims() -> list[dict[str, Any]]:
    """The board of claims; empty if it was never made."""
    found = _read("claims")
    return found if isinstance(found, list) else []


def names() -> list[str]:
    """The benches that have a result."""
    place = folder()
    return sorted(it.stem for it in place.glob("*.json") if it.stem != "claims") if place else []


def bench(name: str) -> dict[str, Any] | None:
    """One result without its rows; None if there is none of that name."""
    found = _read(name)
    if not isinstance(found, dict) or not {"systems", "default", "protocol"} <= found.keys():
        return None
    return {key: value for key, value in found.items() if key != "per_query"}


def metrics(systems: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """What any of the systems was measured by, each once."""
    return list(dict.fromkeys(name for measured in systems.values() for name in measured))


def scale(systems: Mapping[str, Mapping[str, Mapping[str, float]]], metric: str) -> tuple[float, float]:
    """The stretch that the intervals of a metric take, over all systems; 0 to 1 where they lie in it."""
    ends = [
        float(it[end])
        for metrics in systems.values()
        if (it := metrics.get(metric))
        for end in ("low", "high")
        if it[end] is not None
    ]
    least, most = min(ends, default=0.0), max(ends, default=1.0)
    return (0.0, 1.0) if least >= 0 and most <= 1 else (min(least, 0.0), most)


def _read(name: str) -> Any:
    place = folder()
    if place is None or not _NAME.fullmatch(name):
        return None
    try:
        return json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
