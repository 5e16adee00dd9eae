"""What every command shares: where the memory is, how failures are told, how results are printed."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnemic.types import DEFAULT_SPACE, Hit, MnemicError, Record

if TYPE_CHECKING:
    from mnemic.memory import Memory


class _Told(logging.Handler):
    """Warnings as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


_TOLD = _Told(logging.WARNING)


def command(
    name: str, *, memory: bool = True, json_flag: bool = True
) -> Callable[[Callable[..., None]], click.Command]:
    """A command with `--json`, `--memory` and failures told in one sentence."""

    def made(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def told(**given: Any) -> None:
            if _TOLD not in (log := logging.getLogger("mnemic")).handlers:
                log.addHandler(_TOLD)
            try:
                function(**given)
            except (MnemicError, ValueError) as error:
                raise click.ClickException(str(error)) from None
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except OSError as error:
                raise click.ClickException(
                    f"{error.filename}: {error.strerror}" if error.filename else str(error)
                ) from None

        options = []
        if json_flag:
            options.append(
                click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/json.md).")
            )
        if memory:
            options.append(
                click.option(
                    "--memory", "path", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
                    help="Its file [default: memory.mnemic in MNEMIC_DATA_DIR or the platform's data folder].",
                )
            )  # fmt: skip
        for option in reversed(options):
            told = option(told)
        return click.command(name)(told)

    return made


space_option = click.option("--space", default=DEFAULT_SPACE, show_default=True, help="The tenant to act in.")
no_vectors_option = click.option(
    "--no-vectors", "vectors", flag_value=False, default=True, help="By words alone, without loading a model."
)


def open_memory(path: Path | None, *, vectors: bool = True, new: bool = False) -> Memory:
    """The memory at `path`; one that is not there is begun only by a command that remembers (`new`)."""
    from mnemic.memory import Memory, default_path

    path = path or default_path()
    if not (new or path.exists()):
        raise MnemicError(f"there is no memory at {path}; `mnemic remember FILE --memory {path}` begins one")
    return Memory.open(path, embedder="default" if vectors else None)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def origin(record: Record) -> str:
    """Where and when a record comes from, on one line: `2023-04-25 · chat.json · Moving house · user · #12`."""
    source = record.source and (record.source if len(record.source) <= 48 else "…" + record.source[-47:])
    parts = [
        record.when,
        record.title,
        *record.place[-1:],
        source,
        record.session,
        record.author,
        f"#{record.id}",
    ]
    return " · ".join(dict.fromkeys(str(part) for part in parts if part))


def print_record(record: Record, *, indent: str = "") -> None:
    click.echo(indent + click.style(origin(record), dim=True))
    for line in record.text.splitlines():
        click.echo(f"{indent}{line}")


def print_hit(rank: int, hit: Hit) -> None:
    click.echo(click.style(f"{rank}. ", bold=True) + click.style(origin(hit.record), fg="cyan"))
    text, start, end = hit.record.text, hit.start, hit.end
    if end > start:
        text = text[:start] + click.style(text[start:end], bold=True) + text[end:]
    for line in text.splitlines():
        click.echo(f"   {line}")
    channels = ", ".join(f"{name} {score:.2f}" for name, score in hit.channels.items())
    click.echo(click.style(f"   {hit.score:.3f}: {channels}{'; ' + hit.why if hit.why else ''}", dim=True))
