"""remember: files, folders, conversations and standard input, with progress, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from mnemic.cli.common import command, no_vectors_option, open_memory, print_json, space_option

FORMATS = ("text", "markdown", "html", "pdf", "epub", "chat")


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
    before = new = 0
    with (
        open_memory(path, vectors=vectors, new=True) as memory,
        tqdm(total=sum(sizes.values()), unit="B", unit_scale=True, disable=None) as bar,
    ):
        for file in files:
            bar.set_description(Path(file).name, refresh=False)
            start = bar.n
            for batch in memory.remember_batches(file, vectors=vectors, **given):
                bar.update(min(sum(len(it.text.encode()) for it in batch), start + sizes.get(file, 0) - bar.n))
                new += len(batch)
            bar.update(start + sizes.get(file, 0) - bar.n)
    if as_json:
        return print_json({"files": len(files), "records": new, "already_there": before})
    click.echo(f"{new} records remembered from {len(files)} {'file' if len(files) == 1 else 'files'}")
    return None
