"""Freed memory goes back to the system, also out of the gaps that large arrays leave behind."""

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

for size in (30 << 20, 1 << 20):  # freed: glibc alone now takes arrays up to 30 MiB from its heap
    del (large := [np.ones(size, np.uint8)])[0]
before, kept, small = resident(), [], []
for _ in range(40):  # every array is freed under a small one that stays
    kept.append(np.ones(1 << 20, np.uint8))
    small.append(bytearray(1000))
kept.clear()
if sys.argv[1] == "given back":
    heap.give_back()
print((resident() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_gaps_between_what_stays_are_given_back() -> None:
    grown = {}
    for how in ("given back", "as it is"):
        done = subprocess.run([sys.executable, "-c", _GROWN, how], capture_output=True, text=True, check=True)
        grown[how] = int(done.stdout)
    assert grown["given back"] < 4  # MiB of 40
    if grown["as it is"] < 20:
        pytest.skip("this allocator gives back by itself")
