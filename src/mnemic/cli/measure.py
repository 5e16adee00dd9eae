"""methods, bench, claims: what is built from which paper, and how it compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import click

from mnemic.cli.common import command, print_json
from mnemic.recipes import ROOMS, recipes
from mnemic.types import MnemicError

RESULTS = Path("docs/results")
BOARD = Path("docs/claims.md")

data_option = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Where the data is [default: MNEMIC_BENCH_DATA].",
)  # fmt: skip
cache_option = click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", envvar="MNEMIC_BENCH_CACHE",
    help="Keep vectors of texts and results of trained models here, so that a run continues where it stopped "
    "[env MNEMIC_BENCH_CACHE; default: among the temporary files].",
)  # fmt: skip
resume_option = click.option(
    "--resume", type=click.Path(dir_okay=False, path_type=Path), metavar="ZIP",
    help="Models whose results are in this archive are not trained again; those of this run are added to it.",
)  # fmt: skip
part_option = click.option(
    "--part", type=click.Choice(["all", "tune", "report"]), default="all", show_default=True,
    help="Which half of the cases, by a hash of their ids.",
)  # fmt: skip
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N cases.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")


@command("methods", memory=False)
@click.argument("room", required=False, type=click.Choice(ROOMS))
def methods_command(room: str | None, as_json: bool) -> None:
    """The published methods that are here (of one ROOM): name, paper, what each does.

    For `kv` also how it is used: as the cache of a model, or in a way of its own that its file shows. For
    `recurrent` the bytes of a layer's state ("+": it grows) and the operations a token costs it,
    read 256 at once, at a width of 256 with 4 heads.
    """
    found: list[dict[str, Any]] = [
        {"room": it.room, "name": it.name, "paper": it.paper, "summary": it.summary} for it in recipes(room)
    ]
    if room == "kv":
        found = [each | {"kind": it.kind or "cache"} for each, it in zip(found, recipes(room), strict=True)]
    if room == "recurrent":
        from mnemic.recurrent.cost import priced

        found = [it | priced(it["name"]) for it in found]
    if as_json:
        return print_json({"methods": found})
    for it in found:
        price = ""
        if "state_bytes" in it:
            grows = "+" if it["grows"] else " "
            price = f"{it['state_bytes']:>11,} B{grows}{it['operations_per_token']:>11,} op  "
        elif "kind" in it:
            price = f"{it['kind']:<{10 if room == 'kv' else 28}} "
        click.echo(f"{it['room'] + '/' + it['name']:<33} {it['paper'] or '':>4}  {price}{it['summary']}")
    return None


@command("bench", memory=False, json_flag=False)
@click.argument("name", required=False)
@data_option
@part_option
@limit_option
@seed_option
@click.option("--option", "extra", multiple=True, metavar="KEY=VALUE", help="An option of this bench.")
@click.option("--task", metavar="TASK", help="The same as --option task=TASK.")
@click.option("--length", metavar="N", help="The same as --option length=N.")
@click.option("--method", metavar="NAMES", help="The same as --option methods=NAMES.")
@cache_option
@resume_option
@click.option(
    "--json",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="Write the result here.",
)
@click.option("--docs", is_flag=True, help=f"Write result, page and plots to {RESULTS}.")
def bench_command(
    name: str | None,
    data: Path | None,
    part: Literal["all", "tune", "report"],
    limit: int | None,
    seed: int,
    extra: tuple[str, ...],
    task: str | None,
    length: str | None,
    method: str | None,
    cache: Path | None,
    resume: Path | None,
    out: Path | None,
    docs: bool,
) -> None:
    """Measure: run the bench NAME (without one: list them) and print means with 95% intervals."""
    from mnemic.bench import overview, report, runner
    from mnemic.bench.written import save

    if name is None:
        for each in runner.names():
            click.echo(each)
        return
    named = {"task": task, "length": length, "methods": method}
    given = _pairs(extra) | {key: value for key, value in named.items() if value is not None}
    options = runner.Options(part, limit, seed, given, cache, resume)
    result = runner.run(name, data, options)
    if out:
        save(result, out)
    if docs:
        stored = RESULTS / f"{result['task']}.json"
        save(result, stored)
        click.echo(f"wrote {report.page(stored)}", err=True)
        if result["task"] in overview.RESULTS:
            click.echo(f"wrote {overview.write(RESULTS)}", err=True)
    for system, metrics in result["systems"].items():
        click.echo(click.style(system, bold=system == result["default"]))
        for metric, value in metrics.items():
            click.echo(f"  {metric:<28} {report.cell(value)}")


@command("claims", memory=False)
@click.argument("rooms", nargs=-1, type=click.Choice(ROOMS))
@data_option
@limit_option
@seed_option
@cache_option
@click.option("--committed", is_flag=True, help=f"Check the results written to {RESULTS}; run nothing.")
def claims_command(
    rooms: tuple[str, ...],
    data: Path | None,
    limit: int | None,
    seed: int,
    cache: Path | None,
    committed: bool,
    as_json: bool,
) -> None:
    """Execute what the methods' papers claim (those of ROOMS) and write the board docs/claims.md."""
    from mnemic.bench import claims, report, runner
    from mnemic.bench.written import save

    options = runner.Options("report", limit, seed, {}, cache)
    new = claims.run(list(rooms) or None, data, options, RESULTS if committed else None)
    stored = RESULTS / "claims.json"
    old = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    merged = claims.merge(old, new)
    save(merged, stored)
    BOARD.write_text(report.claims_board(merged), encoding="utf-8")
    click.echo(f"wrote {BOARD}", err=True)
    if as_json:
        return print_json({"claims": new})
    for each in new:
        click.echo(
            f"{each['room']}/{each['name']:<20} {each['metric']}: {each['difference']:+.3f} "
            f"[{each['low']:+.3f}, {each['high']:+.3f}] n={each['n']}  {each['verdict']}"
        )
    return None


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise MnemicError(f"--option {each!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs
