"""train-reference: how the model this project ships is made."""

from __future__ import annotations

from pathlib import Path

import click

from mnemic.cli.common import command, print_json


@command("train-reference", memory=False)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="reference", show_default=True,
    metavar="DIR", help="Where the model and its log go; a run that was stopped here goes on.",
)  # fmt: skip
@click.option("--minutes", type=float, default=75.0, show_default=True, help="Stop after so long.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="How much is learned in all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the start and of the lessons.")
def train_reference_command(out: Path, minutes: float, steps: int | None, seed: int, as_json: bool) -> None:
    """Train the reference model on generated texts; run it again to go on."""
    from mnemic.models.reference.train import STEPS, train

    finished = train(out, steps=steps or STEPS, minutes=minutes, seed=seed)
    if as_json:
        return print_json({"finished": finished, "out": str(out)})
    click.echo(f"the model is in {out}" if finished else f"stopped; the same command goes on from {out}")
    return None
