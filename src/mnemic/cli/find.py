"""recall, ask, order, timeline: what is in memory, and where and when it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mnemic import plain
from mnemic.cli.common import (
    command,
    no_vectors_option,
    open_memory,
    origin,
    print_hit,
    print_json,
    print_record,
    space_option,
)
from mnemic.types import Place


def filters(function: Any) -> Any:
    """Options that restrict what may be found."""
    for option in reversed(
        [
            click.option("--before", metavar="TIME", help='What ended before this: "2023-04", "last spring".'),
            click.option("--after", metavar="TIME", help="What started at this or later."),
            click.option("--when", metavar="TIME", help='What happened during this: "1851", "last spring".'),
            click.option(
                "--now", metavar="TIME", help="The moment that words like yesterday refer to [default: now]."
            ),
            space_option,
            click.option("--source", help="Only from this source."),
            click.option("--author", help="Only by this author."),
            click.option("--session", help="Only from this conversation."),
            click.option("--kind", type=click.Choice(["text", "turn", "summary"]), help="Only this kind."),
            no_vectors_option,
        ]
    ):
        function = option(function)
    return function


@command("recall")
@click.argument("query")
@click.option("--k", default=10, show_default=True, help="At most so many records.")
@click.option("--tokens", type=int, help="At most so many tokens of text.")
@click.option("--beside", default=0, help="Add so many neighbours in time of each.")
@filters
def recall_command(query: str, path: Path | None, as_json: bool, vectors: bool, **given: Any) -> None:
    """What is in memory about QUERY: text, source, date and why it was found, best first."""
    with open_memory(path, vectors=vectors) as memory:
        found = memory.recall(query, **given)
    if as_json:
        return print_json(plain.recall(found))
    if not found:
        click.echo("nothing found")
    for rank, hit in enumerate(found, 1):
        print_hit(rank, hit)
    if found.profile:
        click.echo(click.style("Always in mind:", bold=True))
        for record in found.profile:
            click.echo(f"   {record.text}  " + click.style(origin(record), dim=True))
    return None


@command("ask")
@click.argument("question")
@click.option("--k", default=10, show_default=True, help="Answer from so many records.")
@click.option(
    "--model",
    help="Folder of a model that writes the answer [default: OPENAI_BASE_URL and OPENAI_MODEL, if set].",
)
@filters
def ask_command(question: str, path: Path | None, as_json: bool, vectors: bool, **given: Any) -> None:
    """Answer QUESTION from memory, each statement cited and dated, or say that it is not there."""
    with open_memory(path, vectors=vectors) as memory:
        answer = memory.ask(question, **given)
    if as_json:
        return print_json(plain.answer(answer))
    click.echo(click.style(answer.text, bold=True))
    for number, citation in enumerate(answer.citations, 1):
        click.echo(f"[{number}] “{citation.quote}”")
        click.echo(click.style(f"    {origin(citation.record)}", dim=True))
    return None


@command("order")
@click.argument("a")
@click.argument("b")
@space_option
def order_command(a: str, b: str, space: str, path: Path | None, as_json: bool) -> None:
    """Which of the passages A and B came first, and where each is."""
    with open_memory(path, vectors=False) as memory:
        found = memory.order(a, b, space=space)
    if as_json:
        return print_json(plain.order(found))
    click.echo(click.style(f"{found.first.upper()} came first" if found.first else "cannot be said", bold=True))
    for name, place in (("A", found.a), ("B", found.b)):
        click.echo(f"{name}: {_where(place)}")
    return None


def _where(place: Place | None) -> str:
    if place is None:
        return "not in memory"
    return f"character {place.start} of {origin(place.record)} ({place.agreement:.0%} of its words)"


@command("timeline")
@click.option("--about", metavar="QUERY", help="Only what is about this.")
@click.option("--k", default=50, show_default=True, help="At most so many records.")
@filters
def timeline_command(path: Path | None, as_json: bool, vectors: bool, **given: Any) -> None:
    """What happened when: dated records in the order of their events."""
    with open_memory(path, vectors=vectors) as memory:
        records = memory.timeline(**given)
    if as_json:
        return print_json({"records": [plain.record(record) for record in records]})
    for record in records:
        print_record(record)
    return None
