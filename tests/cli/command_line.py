"""What a command answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

import mnemic

Run = Callable[..., Result]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(mnemic.__file__).parents[1])}  # of a process of its own


def of(result: Result) -> Any:
    """The JSON document that was printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
