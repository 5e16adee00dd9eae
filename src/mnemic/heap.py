"""What the C library's allocator does with freed memory; nothing where it is not glibc."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

LARGE = 1 << 18  # bytes from which an array gets pages of its own
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def give_back() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, more of it than an index takes."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def steady() -> None:
    """Have large arrays always take pages of their own, which freeing returns.

    By itself glibc moves that bound up to 32 MiB as large arrays are freed; the arrays of an index, made anew
    with every record, then leave gaps, and a process that runs for days grows by more than it holds.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, LARGE)
            mallopt(_M_TRIM_THRESHOLD, LARGE)
