import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnemic.bench import claims, report, runner
from mnemic.bench.written import save
from mnemic.types import Claim, MnemicError


class Coins:
    """A task without data: system "good" is right in 9 cases of 10, "bad" in half, on the same cases."""

    NAME = "coins"
    FOLDER = None
    PROTOCOL = "A case is a coin."

    def run(self, data: Path | None, options: runner.Options) -> runner.Outcome:
        cases = options.chosen([f"c{n}" for n in range(200)], lambda case: case)
        good = [{"id": case, "right": n % 10 > 0, "time": None} for n, case in enumerate(cases)]
        bad = [{"id": case, "right": n % 2} for n, case in enumerate(cases)]
        curve = {"curve": {"x": "x", "y": "y", "lines": {"a": [[0, 1, 0, 2], [1, 2, 1, 3]]}}}
        return runner.Outcome({"good": good, "bad": bad, "twin": list(bad)}, "good", {"curves": curve})


@pytest.fixture(autouse=True)
def coins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "task", lambda name: Coins())


def test_a_result_says_what_was_measured_over_how_many_and_how_to_make_it_again() -> None:
    result = runner.run("coins", options=runner.Options(limit=100, seed=3, quiet=True))
    assert result["metrics"] == result["systems"]["good"]
    right = result["metrics"]["right"]
    assert right["value"] == pytest.approx(0.9)
    assert right["n"] == 100
    assert right["low"] < 0.9 < right["high"]
    assert "time" not in result["metrics"]
    assert result["paired"]["right"]["bad"]["difference"] == pytest.approx(0.4)
    assert result["paired"]["right"]["bad"]["p_holm"] < 0.001
    assert result["command"] == "mnemic bench coins --limit 100 --seed 3"


def test_the_halves_are_disjoint_and_together_all() -> None:
    def cases(part: Any) -> set[str]:
        rows: Sequence[runner.Row] = Coins().run(None, runner.Options(part=part)).systems["good"]
        return {row["id"] for row in rows}

    assert cases("tune") | cases("report") == cases("all")
    assert not cases("tune") & cases("report")
    assert 70 < len(cases("tune")) < 130


def test_a_page_shows_every_system_and_its_plots(tmp_path: Path) -> None:
    path = tmp_path / "coins.json"
    save(runner.run("coins", options=runner.Options(quiet=True)), path)
    text = report.page(path).read_text()
    for row in ("| good | 0.900 [", "| bad | 0.500 [", "| right | twin | +0.400"):
        assert row in text
    assert "| right |" in text.partition("settings were chosen on")[2]
    assert {each.name for each in tmp_path.glob("*.svg")} == {"coins.svg", "coins-curve.svg"}
    assert json.loads(path.read_text())["metrics"]["right"]["n"] == 200


def test_what_was_measured_once_has_no_interval_and_is_compared_with_nothing(tmp_path: Path) -> None:
    path = tmp_path / "coins.json"
    result = runner.run("coins", options=runner.Options(limit=1, quiet=True))
    save(result, path)
    text = report.page(path).read_text()
    assert f"| good | {result['metrics']['right']['value']:.3f} n=1 |" in text
    assert "settings were chosen on" not in text
    assert "Paired" not in text


def test_repeats_of_one_measurement_are_neither_halved_nor_paired() -> None:
    rows = {name: [{"id": f"r{n}", "ms": float(n)} for n in range(4)] for name in ("here", "there")}
    outcome = runner.Outcome(rows, "here", repeats=True)
    assert runner.halves(outcome, runner.Options()) == runner.paired(outcome, 0) == {}


def test_small_numbers_are_kept_and_shown(tmp_path: Path) -> None:
    save({"error": 3.14159e-7, "share": 0.123456789}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {"error": 3.14e-7, "share": 0.123457}
    assert report.number(3.14e-7) == "3.1e-07"
    assert report.number(0.0) == "0.000"


def claim(**changes: Any) -> Claim:
    stated = {"says": "s", "task": "coins", "method": "good", "baseline": "bad", "sabotage": "twin"}
    return Claim(**(stated | {"metric": "right", "budget": "one coin"} | changes))


def test_a_claim_holds_only_when_its_whole_interval_is_over_the_margin() -> None:
    outcome = Coins().run(None, runner.Options())
    assert claims.check(claim(), outcome)["verdict"] == "holds"
    assert claims.check(claim(margin=0.4), outcome)["verdict"] == "does not hold here"
    assert claims.check(claim(better="less"), outcome)["verdict"] == "does not hold here"
    slower = claim(method="bad", baseline="good", sabotage="good", better="less")
    assert claims.check(slower, outcome)["verdict"] == "holds"
    assert "sabotaged twin" in claims.check(claim(sabotage="good"), outcome)["verdict"]
    assert "| holds |" in report.claims_board(
        [{"room": "kv", "name": "n", "paper": 1} | claims.check(claim(), outcome)]
    )


def test_committed_results_are_checked_on_the_half_not_tuned_on(tmp_path: Path) -> None:
    save(runner.run("coins", options=runner.Options(quiet=True)) | {"data": "coins"}, tmp_path / "coins.json")
    rows = claims.committed(json.loads((tmp_path / "coins.json").read_text())).systems
    alone = Coins().run(None, runner.Options(part="report")).systems
    assert {system: {row["id"] for row in each} for system, each in rows.items()} == {
        system: {row["id"] for row in each} for system, each in alone.items()
    }


def test_a_task_without_its_data_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = Coins()
    task.FOLDER = "coins"  # type: ignore[assignment]
    monkeypatch.delenv("MNEMIC_BENCH_DATA", raising=False)
    with pytest.raises(MnemicError, match="MNEMIC_BENCH_DATA"):
        runner.data_folder(task, None)
    (tmp_path / "coins").mkdir()
    (tmp_path / "coins" / "a.json").touch()
    assert runner.data_folder(task, tmp_path) == tmp_path / "coins"
    assert runner.data_folder(task, tmp_path / "coins") == tmp_path / "coins"


def test_a_claim_of_one_task_of_a_bench_is_run_with_its_options_and_read_from_its_own_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[dict[str, str]] = []
    real = Coins.run

    def run(self: Coins, data: Path | None, options: runner.Options) -> runner.Outcome:
        asked.append(dict(options.extra))
        return real(self, data, options)

    carried = claim(options={"task": "heads"})
    recipe = SimpleNamespace(room="kv", name="n", paper=1, claim=lambda: carried)
    monkeypatch.setattr(claims, "recipes", lambda: [recipe])
    monkeypatch.setattr(Coins, "run", run)
    (each,) = claims.run(None, None, runner.Options(extra={"preset": "minutes"}, quiet=True))
    assert asked == [{"preset": "minutes", "task": "heads"}]
    assert each["task"] == "coins-heads"
    save(runner.run("coins", options=runner.Options(quiet=True)), tmp_path / "coins.json")
    assert claims.run(None, None, runner.Options(), tmp_path) == []
    result = runner.run("coins", options=runner.Options(extra={"task": "heads"}, quiet=True))
    save(result, tmp_path / f"{result['task']}.json")
    assert claims.run(None, None, runner.Options(), tmp_path)[0]["difference"] == pytest.approx(0.4)
    carried = claim(options={"task": "heads"}, method="not measured yet")
    assert claims.run(None, None, runner.Options(), tmp_path) == []


def test_what_was_made_once_is_kept_and_what_was_asked_otherwise_is_made(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"n": len(made)}

    options = runner.Options(cache=tmp_path)
    assert options.kept({"a": 1}, make) == options.kept({"a": 1}, make) == {"n": 1}
    assert options.kept({"a": 2}, make) == {"n": 2}


def test_what_was_made_on_one_machine_is_not_made_again_on_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[int] = []
    real = Coins.run

    def run(self: Coins, data: Path | None, options: runner.Options) -> runner.Outcome:
        for sides in (2, int(options.extra.get("sides", 2))):
            options.kept({"sides": sides}, lambda sides=sides: {"made": made.append(sides)})
        return real(self, data, options)

    monkeypatch.setattr(Coins, "run", run)
    archive = tmp_path / "results" / "trained.zip"

    def on(machine: str, **extra: str) -> None:
        runner.run(
            "coins", options=runner.Options(extra=extra, cache=tmp_path / machine, resume=archive, quiet=True)
        )

    on("one")
    assert made == [2]
    written = archive.read_bytes()
    on("another")
    assert made == [2]
    assert archive.read_bytes() == written
    on("another", sides="6")
    on("third", sides="6")
    assert made == [2, 6]
    archive.write_bytes(b"torn")
    with pytest.raises(MnemicError, match="no archive of trained results"):
        on("fourth")
    assert archive.read_bytes() == b"torn"
