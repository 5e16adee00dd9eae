"""stats, export, import, backup, doctor, reembed, budget: the file, its health and its limits."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from mnemic import plain
from mnemic.cli.common import command, open_memory, origin, print_json, space_option
from mnemic.types import Budget


@command("stats")
@click.option("--space", help="Only this tenant [default: all].")
def stats_command(space: str | None, path: Path | None, as_json: bool) -> None:
    """How much is remembered, of when, in how many bytes, with which embedder."""
    with open_memory(path, vectors=False) as memory:
        stats = memory.stats(space)
    stats |= {name: plain.instant(stats[name]) for name in ("first", "last")}
    if as_json:
        return print_json(stats)
    for name, value in stats.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} ({count:,})" for key, count in value.items())
        click.echo(f"{name:>14}  {value:,}" if isinstance(value, int) else f"{name:>14}  {value}")
    return None


@command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--space", help="Only this tenant [default: all].")
def export_command(file: Path, space: str | None, path: Path | None, as_json: bool) -> None:
    """Write everything to FILE (or -) as JSON lines, lossless, with a manifest."""
    to_stdout = str(file) == "-"
    with open_memory(path, vectors=False) as memory:
        counts = memory.export(sys.stdout if to_stdout else file, space)
    if as_json and not to_stdout:
        return print_json({"file": str(file)} | counts)
    counted = ", ".join(f"{number} {name}" for name, number in counts.items())
    click.echo(f"{counted} written to {file}", err=to_stdout)
    return None


@command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
def import_command(file: Path, path: Path | None, as_json: bool) -> None:
    """Read what `export` wrote: all of it or, if FILE is damaged, nothing."""
    with open_memory(path, vectors=False, new=True) as memory:
        new = memory.import_(sys.stdin if str(file) == "-" else file)
    if as_json:
        return print_json({"file": str(file), "records": new})
    click.echo(f"{new} new records from {file}")
    return None


@command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup_command(file: Path, path: Path | None, as_json: bool) -> None:
    """Copy the memory to a new FILE while it is in use."""
    with open_memory(path, vectors=False) as memory:
        memory.backup(file)
    if as_json:
        return print_json({"file": str(file)})
    click.echo(f"copied to {file}")
    return None


@command("doctor")
def doctor_command(path: Path | None, as_json: bool) -> None:
    """Look the whole file over, mend what is derived, finish purges; exit code 1 if something is wrong."""
    with open_memory(path, vectors=False) as memory:
        report = memory.doctor()
        bare = len(memory.store.without_parts(limit=2**62))
        embedded = memory.stats()["embedder"] is not None
    advice = [f"{bare} records have no vector: `mnemic reembed` gives them theirs"] if bare and embedded else []
    if as_json:
        print_json(
            {"healthy": report.healthy, "found": report.found, "mended": report.mended, "advice": advice}
        )
    else:
        for title, lines in (("mended", report.mended), ("advice", advice), ("wrong", report.found)):
            for line in lines:
                click.echo(f"{title}: {line}")
        if report.healthy:
            click.echo("nothing is wrong")
    if not report.healthy:
        raise click.exceptions.Exit(1)


@command("reembed")
@click.option("--model", default="default", show_default=True, help="A sentence-transformers name or folder.")
def reembed_command(model: str, path: Path | None, as_json: bool) -> None:
    """Give every record a vector of another model, and those without one theirs; run again to continue."""
    with open_memory(path, vectors=False) as memory, tqdm(unit=" records", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        count = memory.reembed(model, progress)
    if as_json:
        return print_json({"model": model, "records": count})
    click.echo(f"{count} records embedded by {model}")
    return None


@command("budget")
@click.option("--bytes", "nbytes", type=click.IntRange(0), help="At most so many bytes of texts and vectors.")
@click.option("--records", type=click.IntRange(0), help="At most so many records.")
@click.option("--rule", default="decay", show_default=True, help="what goes first: `mnemic methods retain`.")
@click.option("--lift", is_flag=True, help="No limit from now on.")
@space_option
def budget_command(
    nbytes: int | None,
    records: int | None,
    rule: str,
    lift: bool,
    space: str,
    path: Path | None,
    as_json: bool,
) -> None:
    """Let a space keep no more than this; what is worth least is forgotten and named, until `undo`."""
    if lift == (nbytes is not None or records is not None):
        raise click.UsageError("give --bytes, --records or both, or --lift")
    with open_memory(path, vectors=False) as memory:
        gone = memory.budget(space, None if lift else Budget(nbytes, records), rule=rule)
    if as_json:
        return print_json({"forgotten": [plain.record(record) for record in gone]})
    for record in gone:
        click.echo(f"forgotten: {origin(record)}")
    click.echo(f"{len(gone)} records forgotten")
    return None
