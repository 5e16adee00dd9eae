"""read: a model reads a text into a bounded cache, keeps it in a file, and is asked about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mnemic.cli.common import command, print_json
from mnemic.types import MnemicError


@command("read", memory=False)
@click.argument("text", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model", "folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PATH", help="Folder of a causal language model of transformers.",
)  # fmt: skip
@click.option("--kv", "method", default="em-llm", show_default=True, help="What keeps it: `mnemic methods kv`.")
@click.option(
    "--budget", metavar="BYTES", help='What the cache may own in memory: "64MiB" [default: no limit].'
)
@click.option(
    "--ask", "questions", multiple=True, metavar="WORDS", help="Put these words after the text; go on."
)
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(1), help="Tokens of each answer.")
@click.option(
    "--open", "opened", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Go on from a cache saved before; --kv and --budget are those it was saved with.",
)  # fmt: skip
@click.option(
    "--save", "saved", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Save the cache once TEXT is read, before anything is asked.",
)  # fmt: skip
def read_command(
    text: Path | None, folder: Path, method: str, budget: str | None, questions: tuple[str, ...], tokens: int,
    opened: Path | None, saved: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Read TEXT with a model into a cache of bounded size, and answer from it; questions are asked in turn."""
    if text is None and opened is None:
        raise MnemicError("give a TEXT to read, or --open FILE with a cache saved before")
    from mnemic.models.hf import HuggingFaceModel

    loaded = HuggingFaceModel(folder)  # says which extra is missing, where one is
    from mnemic import kv

    model, tokenizer = loaded.model, loaded.tokenizer
    cache = kv.load(opened, model) if opened else kv.attach(model, method, budget=budget)
    if text:
        kv.read(model, cache, _ids(tokenizer, text.read_text(encoding="utf-8"), first=not opened))
    if saved:
        kv.save(cache, saved)
    read = cache.get_seq_length()
    answers: list[dict[str, Any]] = []
    for question in questions:
        ids = kv.generate(
            model, cache, _ids(tokenizer, f"\n{question}"), max_new_tokens=tokens, do_sample=False,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
        )  # fmt: skip
        answers.append(
            {"question": question, "text": tokenizer.decode(ids[0], skip_special_tokens=True).strip()}
        )
        if not as_json:
            click.echo(answers[-1]["text"])
    sizes = {"tokens": read, "nbytes": cache.nbytes, "nbytes_offloaded": cache.nbytes_offloaded}
    if as_json:
        return print_json(sizes | {"answers": answers})
    click.echo(
        "{tokens} tokens, {nbytes} bytes in memory, {nbytes_offloaded} on disk".format(**sizes), err=True
    )
    return None


def _ids(tokenizer: Any, text: str, first: bool = False) -> Any:
    """The tokens [n] of a text; only the first begins with what the model wants at a beginning."""
    return tokenizer(text, add_special_tokens=first, return_tensors="pt", verbose=False).input_ids[0]
