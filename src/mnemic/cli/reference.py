"""Writes docs/cli.md from the commands themselves: `python -m mnemic.cli.reference > docs/cli.md`."""

from __future__ import annotations

import click

from mnemic.cli import main


def reference() -> str:
    """The help of every command, as Markdown."""
    whole = click.Context(main, info_name="mnemic", terminal_width=100, max_content_width=100)
    pages = [
        "# The command line\n\nWritten by `python -m mnemic.cli.reference > docs/cli.md`, checked by a test.\n",
        _help("mnemic", main, whole),
    ]
    for name in main.list_commands(whole):
        command = main.get_command(whole, name)
        assert command is not None
        alone = click.Context(command, whole, name, terminal_width=100, max_content_width=100)
        pages.append(_help(f"mnemic {name}", command, alone))
    return "\n".join(pages)


def _help(title: str, command: click.Command, context: click.Context) -> str:
    return f"## {title}\n\n```\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
