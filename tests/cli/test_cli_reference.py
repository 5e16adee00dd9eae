"""What is written about the command line is what it does."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from mnemic.cli import COMMANDS, main
from mnemic.cli.reference import reference

ROOT = Path(__file__).parents[2]


def test_the_reference_is_in_step_with_the_commands() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python -m mnemic.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help
    assert "--json" in {option for parameter in command.params for option in parameter.opts}
    assert all(isinstance(it, click.Argument) or getattr(it, "help", None) for it in command.params)
