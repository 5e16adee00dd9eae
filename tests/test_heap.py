"""Freed memory goes back to the system, also after large arrays came and went."""

from __future__ import annotations

import subprocess
import sys

import pytest

_GROWN = """
import sys
import numpy as np
from mnemic import heap

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

if sys.argv[1] == "steady":
    heap.steady()
for size in (30 << 20, 1 << 20):  # freed: glibc alone now takes arrays up to 30 MiB from its heap
    del (large := [np.ones(size, np.uint8)])[0]
before, kept, small = resident(), [], []
for _ in range(40):  # every array is freed under a small one that stays
    kept.append(np.ones(1 << 20, np.uint8))
    small.append(bytearray(1000))
kept.clear()
print((resident() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_large_arrays_leave_no_gaps_behind() -> None:
    grown = {}
    for how in ("steady", "as it is"):
        done = subprocess.run([sys.executable, "-c", _GROWN, how], capture_output=True, text=True, check=True)
        grown[how] = int(done.stdout)
    assert grown["steady"] < 4  # MiB of 40
    if grown["as it is"] < 20:
        pytest.skip("this allocator gives back by itself")
