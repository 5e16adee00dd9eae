"""What a fresh process costs: the time to a first answer, and the memory a record takes once all is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mnemic import Memory
from mnemic.bench.runner import Options, Outcome, Row
from mnemic.bench.tasks.speed import Turns, question
from mnemic.types import MnemicError

NAME = "cold"
FOLDER = None
PROTOCOL = """Processes of their own, one after another in each round, over a memory of `records` generated
turns of 75 words with vectors (see the bench speed): python that imports torch, the command `mnemic ask`, and
`mnemic recall --no-vectors`. Milliseconds of wall clock from start to end; one case a round, after one round
that warms the disk's cache and writes bytecode, as an installation does. ask_per_torch: the ratio within a
round. recall_words_imports_torch: 1 if `recall --no-vectors` did. bytes_per_record: resident memory of a
process that has built the word index, loaded all vectors and answered, less that of one that did the same in an
empty memory, per record. Options: records (10000)."""

ASK = ["-m", "mnemic", "ask"]
RECALL = ["-m", "mnemic", "recall", "--no-vectors"]
IMPORTS = "import sys; from mnemic.cli import main; main(sys.argv[1:], standalone_mode=False); \
print('torch imported' if 'torch' in sys.modules else 'no torch')"
RESIDENT = """
import sys
import numpy as np
from psutil import Process
from mnemic.store import Store
from mnemic.store.mirror import PATIENCE, Mirror
with Store.open(sys.argv[1]) as store:
    mirror = Mirror(store)
    mirror.refresh()
    for _ in range(PATIENCE + 1):
        mirror.words(sys.argv[2].split(), "default")
        mirror.vectors(np.full(384, 384**-0.5, np.float32))
    print(Process().memory_info().rss)
"""


def run(data: Path | None, options: Options) -> Outcome:
    records, rounds = int(options.extra.get("records", 10_000)), options.limit or 10
    turns = Turns(options.seed)
    asked = question(turns.text())
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full.mnemic", Path(folder) / "empty.mnemic"
        with Memory.open(full) as memory:
            turns.fill(memory.store, records, options.progress)
            memory.remember(turns.text(), kind="turn")
        with Memory.open(empty, embedder=None):
            pass
        printed = _python(["-c", IMPORTS, *RECALL[2:], asked, "--memory", str(full)])
        for n in options.progress(range(rounds + 1), "starting"):
            row: Row = {"id": str(n)}
            row["import_torch_ms"] = _milliseconds(["-c", "import torch"])
            row["ask_ms"] = _milliseconds([*ASK, asked, "--memory", str(full)])
            row["recall_words_ms"] = _milliseconds([*RECALL, asked, "--memory", str(full)])
            row["ask_per_torch"] = row["ask_ms"] / row["import_torch_ms"]
            rows.append(row)
        held = [int(_python(["-c", RESIDENT, str(path), asked])) for path in (empty, full)]
    rows = rows[1:]
    medians = {name: float(np.median([row[name] for row in rows])) for name in rows[0] if name != "id"}
    rows.append({"id": "imports", "recall_words_imports_torch": int(printed.endswith("torch imported\n"))})
    rows.append({"id": "resident", "bytes_per_record": (held[1] - held[0]) / records})
    return Outcome({"mnemic": rows}, extra={"records": records, "p50": medians})


def _milliseconds(arguments: list[str]) -> float:
    begun = time.perf_counter()
    _python(arguments)
    return 1000 * (time.perf_counter() - begun)


def _python(arguments: list[str]) -> str:
    """What a process of its own prints.

    Raises:
        MnemicError: it failed; the message ends with its last line.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise MnemicError(f"python {' '.join(arguments[:2])} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
