"""What a cold command imports: heavy libraries only where they are needed. (Times are `mnemic bench speed`.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, Run

HEAVY = {"torch", "transformers", "sentence_transformers", "scipy", "httpx", "bs4", "pypdf", "matplotlib"}


def printed_by(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def imported(arguments: list[str], folder: Path) -> set[str]:
    """The heavy libraries that a command imports in a process of its own."""
    script = (
        "import json, sys\n"
        "from mnemic.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    return HEAVY & set(json.loads(printed_by(script, folder).splitlines()[-1]))


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    run("remember", "-", "--no-vectors", "--memory", "m.mnemic", input="Ishmael went to sea.")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["recall", "who went to sea?", "--no-vectors"],
        ["recall", "who went to sea?"],  # no record has a vector
        ["ask", "who went to sea?", "--no-vectors"],
        ["timeline"],
        ["show", "1"],
        ["stats"],
    ],
    ids=" ".join,
)
def test_words_alone_import_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    assert imported([*arguments, "--memory", "m.mnemic"], folder) == set()


def test_a_question_to_vectors_imports_torch_and_nothing_heavier(folder: Path) -> None:
    assert imported(["reembed", "--memory", "m.mnemic"], folder) == {"torch"}
    assert imported(["ask", "who went to sea?", "--memory", "m.mnemic"], folder) == {"torch"}


def test_importing_the_package_imports_no_numpy(folder: Path) -> None:
    assert printed_by("import sys, mnemic; print('numpy' in sys.modules)", folder) == "False\n"
