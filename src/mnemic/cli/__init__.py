"""The command line: a thin layer over `Memory`. Results on stdout, progress and warnings on stderr.

Every command takes `--json` (docs/json.md) and `--memory PATH`. A failure is one sentence and exit code 1;
a command written wrongly is exit code 2. Commands are imported when they run, so that none pays for another.
"""

from __future__ import annotations

import importlib

import click

from mnemic import __version__

COMMANDS = {
    "remember": "remember",
    "recall": "find",
    "ask": "find",
    "order": "find",
    "timeline": "find",
    "show": "keep",
    "history": "keep",
    "supersede": "keep",
    "forget": "keep",
    "undo": "keep",
    "profile": "keep",
    "stats": "care",
    "export": "care",
    "import": "care",
    "backup": "care",
    "doctor": "care",
    "reembed": "care",
    "budget": "care",
    "serve": "serve",
    "key": "serve",
    "mcp": "serve",
    "read": "read",
    "demo": "demo",
    "methods": "measure",
    "bench": "measure",
    "claims": "measure",
    "train-reference": "train",
}


class Commands(click.Group):
    """The commands, each in the module that is imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"mnemic.cli.{COMMANDS[name]}")
        command = getattr(module, f"{name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="mnemic")
def main() -> None:
    """A memory for language models: remember, recall with sources and dates, and really forget."""
