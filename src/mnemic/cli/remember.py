"""remember: files, folders, conversations and standard input, with progress, resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from mnemic.cli.common import command, no_vectors_option, open_memory, print_json, space_option
from mnemic.sources import FORMATS


@command("remember")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...|-")
@space_option
@click.option("--source", help="Name the source, instead of its path.")
@click.option("--when", metavar="TIME", help="When it happened, where the file does not say.")
@click.option("--kind", type=click.Choice(FORMATS), help="How to read it, instead of by its name.")
@no_vectors_option
def remember_command(
    paths: tuple[str, ...], path: Path | None, as_json: bool, vectors: bool, **given: Any
) -> None:
    """Remember files and folders: text, Markdown, HTML, PDF, e-pub, chats (JSON, JSONL); "-" is standard input.

    What was remembered when this is interrupted stays; run it again to continue. Nothing is stored twice.
    """
    from mnemic import sources

    files = [file for one in paths for file in (["-"] if one == "-" else sources.files(one))]
    sizes = {file: Path(file).stat().st_size for file in files if file != "-"}
    started, new, there, done = time.time(), 0, 0, 0
    with (
        open_memory(path, vectors=vectors, new=True) as memory,
        tqdm(total=sum(sizes.values()), unit="B", unit_scale=True, disable=None) as bar,
    ):
        for file in files:
            bar.set_description(Path(file).name, refresh=False)
            stop, before = bar.n + sizes.get(file, 0), new + there
            for batch in memory.remember_batches(file, vectors=vectors, **given):
                fresh = sum(record.written >= started for record in batch)
                new, there = new + fresh, there + len(batch) - fresh
                bar.update(min(sum(len(record.text.encode()) for record in batch), stop - bar.n))
            bar.update(stop - bar.n)
            done += new + there == before
    if as_json:
        return print_json(
            {"files": len(files), "records": new, "already_there": there, "unchanged_files": done}
        )
    click.echo(f"{new} records remembered from {len(files)} {'file' if len(files) == 1 else 'files'}")
    if there or done:
        click.echo(f"{there} records and {done} whole files were already there")
    return None
