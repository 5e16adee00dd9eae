"""Running the command line in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import Run

from mnemic.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mnemic ARGUMENTS`, with a data folder of its own."""
    monkeypatch.setenv("MNEMIC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return lambda *given, **more: CliRunner().invoke(main, [str(one) for one in given], **more)
