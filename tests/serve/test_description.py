"""The server does what its OpenAPI description says, whatever is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import app_over, listening
from upstreams import Speaking

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.keys import Keys
from mnemic.serve.upstream import Remote

HERE = Path(__file__).parent
MORE = os.environ.get("MNEMIC_SCHEMATHESIS", "--phases fuzzing --max-examples 4")
"""For a long look: `--phases examples,coverage,fuzzing --max-examples 100`."""


@pytest.mark.timeout(1000)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    path, exported = tmp_path / "m.mnemic", tmp_path / "exported.jsonl"
    with Memory.open(path, HashEmbedder()) as memory:
        memory.remember("A whale was seen.", when="1851", source="log")
        memory.export(exported)
    keys = Keys(path)
    key = keys.add(None, writes=True)
    with (
        listening(Speaking().app) as url,
        listening(app_over(path, keys=keys, upstream=Remote(f"{url}/v1"))) as address,
    ):
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"),
                *("--header", f"Authorization: Bearer {key}", "--seed", "1", "--no-color"),
                *("--generation-database", "none", *MORE.split()),
            ],
            capture_output=True,
            text=True,
            timeout=900,
            env=os.environ
            | {"PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "EXPORTED": str(exported)},
            cwd=tmp_path,
        )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
