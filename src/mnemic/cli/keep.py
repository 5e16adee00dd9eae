"""show, history, supersede, forget, undo, profile: look at a memory and change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mnemic import plain
from mnemic.cli.common import (
    command,
    no_vectors_option,
    open_memory,
    print_json,
    print_record,
    space_option,
)


@command("show")
@click.argument("id", type=int)
@space_option
def show_command(id: int, space: str, path: Path | None, as_json: bool) -> None:
    """Record ID, all of it: text, origin, times, versions."""
    with open_memory(path, vectors=False) as memory:
        record = memory.show(id, space=space)
    if as_json:
        return print_json(plain.record(record))
    print_record(record)
    click.echo()
    for name, value in plain.record(record).items():
        if name not in ("id", "text") and value not in (None, [], {}):
            click.echo(f"{name:>14}  {value}")
    return None


@command("history")
@click.argument("id", type=int)
@space_option
def history_command(id: int, space: str, path: Path | None, as_json: bool) -> None:
    """What happened to record ID: when it was stored, superseded, forgotten, brought back."""
    with open_memory(path, vectors=False) as memory:
        changes = memory.history(id, space=space)
    if as_json:
        return print_json({"changes": [plain.change(change) for change in changes]})
    for change in changes:
        said = ", ".join(f"{name} {value}" for name, value in change.detail.items())
        undone = " (undone)" if change.undone else ""
        click.echo(f"{plain.instant(change.at)}  {change.op}{undone}  {said}".rstrip())
    return None


@command("supersede")
@click.argument("id", type=int)
@click.argument("text")
@click.option("--when", metavar="TIME", help="From when the new text holds [default: now].")
@space_option
@no_vectors_option
def supersede_command(
    id: int, text: str, when: str | None, space: str, vectors: bool, path: Path | None, as_json: bool
) -> None:
    """Replace what record ID says by TEXT; the old words stay in its history."""
    with open_memory(path, vectors=vectors) as memory:
        record = memory.supersede(id, text, when=when, space=space, vectors=vectors)
    if as_json:
        return print_json(plain.record(record))
    click.echo(f"#{record.id} now stands for #{id}")
    return None


@command("forget")
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--query", help="Records that contain all of these words.")
@click.option("--source", help="Everything from this source.")
@click.option("--before", metavar="TIME", help="Everything that ended before this.")
@click.option("--space", help="Everything in this space; with another choice, only in this space.")
@click.option("--purge", is_flag=True, help="Remove from every byte of the file; this cannot be undone.")
def forget_command(ids: tuple[int, ...], purge: bool, path: Path | None, as_json: bool, **given: Any) -> None:
    """Forget by ID, --query, --source, --before or --space. `undo` brings it back, unless purged."""
    choices = bool(ids) + sum(given[name] is not None for name in ("query", "source", "before"))
    if choices > 1 or (choices == 0 and given["space"] is None):
        raise click.UsageError("give exactly one of ID, --query, --source and --before, or --space alone")
    with open_memory(path, vectors=False) as memory:
        done = memory.forget(ids=ids or None, purge=purge, **given)
    if as_json:
        return print_json({"ids": list(done.ids), "purged": done.purged, "detail": done.detail})
    click.echo(done.detail)
    return None


@command("undo")
@space_option
def undo_command(space: str, path: Path | None, as_json: bool) -> None:
    """Take back the last change that is not undone yet."""
    with open_memory(path, vectors=False) as memory:
        undone = memory.undo(space=space)
    if as_json:
        return print_json({"undone": undone})
    click.echo(undone)
    return None


@command("profile")
@click.option("--add", metavar="TEXT", help="A standing instruction or preference to keep in mind.")
@click.option("--remove", metavar="ID", type=int, help="Forget this one.")
@space_option
def profile_command(add: str | None, remove: int | None, space: str, path: Path | None, as_json: bool) -> None:
    """Standing instructions and preferences, returned with every recall. Change one with `supersede`."""
    with open_memory(path, vectors=False, new=add is not None) as memory:
        if add is not None:
            memory.remember(add, kind="profile", author="user", space=space)
        if remove is not None:
            memory.forget(ids=[remove], space=space)
        records = memory.profile(space=space)
    if as_json:
        return print_json({"profile": [plain.record(record) for record in records]})
    for record in records:
        print_record(record)
    return None
