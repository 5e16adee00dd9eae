"""JSON files of results: whole or not there at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def save(result: Mapping[str, Any] | Sequence[Any], path: Path) -> None:
    """Write JSON whole or not at all, numbers to six places, or three digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".part")
    draft.write_text(json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float | np.floating):
        number = float(value)
        if not np.isfinite(number):
            return None
        return round(number, 6) if abs(number) >= 1e-4 else float(f"{number:.3g}")
    return value.item() if isinstance(value, np.generic) else value
