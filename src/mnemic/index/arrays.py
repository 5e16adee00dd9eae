"""One code for numpy and torch: arrays bring their namespace, torch is never imported for numpy's sake."""

from __future__ import annotations

import sys
from typing import Any

Array = Any  # a numpy array or a torch tensor


def namespace(array: Array) -> Any:
    """The module whose functions take `array`: numpy or torch."""
    return sys.modules[type(array).__module__.partition(".")[0]]
