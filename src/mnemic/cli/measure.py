"""methods: what is built from which paper, and how it compares."""

from __future__ import annotations

from typing import Any

import click

from mnemic.cli.common import command, print_json
from mnemic.recipes import ROOMS, recipes


@command("methods", memory=False)
@click.option("--room", type=click.Choice(ROOMS), help="Only those of one room.")
def methods_command(room: str | None, as_json: bool) -> None:
    """The published methods that are here: room, name, paper, what each does."""
    found: list[dict[str, Any]] = [
        {"room": it.room, "name": it.name, "paper": it.paper, "summary": it.summary} for it in recipes(room)
    ]
    if as_json:
        return print_json({"methods": found})
    for it in found:
        click.echo(f"{it['room'] + '/' + it['name']:<28} {it['paper'] or '':>4}  {it['summary']}")
    return None
