"""Memory that was freed, returned to the system; nothing happens where the C library is not glibc."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def give_back() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, in gaps, more of it than an index takes."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
