"""demo: a generated tale, diary and months of conversation are remembered, then asked about."""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from mnemic import plain
from mnemic.cli.common import command, no_vectors_option, origin, print_json
from mnemic.types import moment

if TYPE_CHECKING:
    from mnemic.memory import Memory
    from mnemic.worlds.question import Question


@command("demo", memory=False)
@click.option("--seed", default=1, show_default=True, help="Of the world that is generated.")
@no_vectors_option
def demo_command(seed: int, vectors: bool, as_json: bool) -> None:
    """Remember a generated tale, diary and months of conversation, and answer questions about them."""
    from mnemic.memory import Memory
    from mnemic.worlds.chat import Chat
    from mnemic.worlds.diary import Diary
    from mnemic.worlds.tale import tale

    book, chat, diary = tale(seed), Chat(seed), Diary(seed, days=90)
    notes = [{"name": "me", "content": it.text, "created_at": str(it.when)} for it in diary.entries]
    with TemporaryDirectory() as folder:
        files = {
            "tale.txt": book.text,
            "chat.json": json.dumps({"sessions": chat.sessions}),
            "diary.json": json.dumps(notes),
        }
        with Memory.open(Path(folder) / "demo.mnemic", embedder="default" if vectors else None) as memory:
            told = [_remembered(memory, Path(folder) / name, text, vectors) for name, text in files.items()]
            worlds = (book.questions, chat.questions, diary.questions(24))
            asked = [_asked(memory, one, vectors) for world in worlds for one in _one_of_each(world)]
            profile = memory.profile()
    if as_json:
        return print_json(
            {"remembered": told, "asked": asked, "profile": [plain.record(one) for one in profile]}
        )
    for one in told:
        click.echo(f"remembered {one['file']}: {one['records']} records in {one['seconds']:.1f} s")
    for one in asked:
        click.echo(click.style(f"\n{one['question']}", bold=True) + f"  (asked on {one['now'][:10]})")
        click.echo(f"  answer: {one['answer']}")
        for line in one["cited"] or one["found"]:
            click.echo(click.style(f"  {'cites' if one['cited'] else 'found'}:  {line}", dim=True))
        click.echo(click.style(f"  (in the generated world: {one['truth'] or 'never said'})", dim=True))
    click.echo(click.style("\nAlways in mind:", bold=True))
    for entry in profile:
        click.echo(f"  {entry.text}  " + click.style(origin(entry), dim=True))
    return None


def _remembered(memory: Memory, file: Path, text: str, vectors: bool) -> dict[str, Any]:
    file.write_text(text, encoding="utf-8")
    started = time.perf_counter()
    records = memory.remember_path(file, source=file.name, vectors=vectors)
    return {"file": file.name, "records": len(records), "seconds": time.perf_counter() - started}


def _one_of_each(questions: Any) -> list[Question]:
    """The first question of every kind."""
    return list({one.kind: one for one in reversed(questions)}.values())[::-1]


def _asked(memory: Memory, question: Question, vectors: bool) -> dict[str, Any]:
    answer = memory.ask(question.text, now=question.now, vectors=vectors)
    return {
        "question": question.text,
        "now": moment(question.now).isoformat(timespec="seconds"),
        "answer": answer.text,
        "cited": [f"{origin(one.record)}: “{one.quote}”" for one in answer.citations],
        "found": [f"{origin(one.record)}: {_short(one.record.text)}" for one in answer.evidence[:1]],
        "truth": ", ".join(question.answers),
    }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:99] + "…"
