import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mnemic.bench import runner
from mnemic.cli import main


class Coins:
    NAME = "coins"
    FOLDER = None
    PROTOCOL = "A case is a coin."

    def run(self, data: Path | None, options: runner.Options) -> runner.Outcome:
        sides = int(options.extra.get("sides", "2"))
        return runner.Outcome({"mnemic": [{"id": str(n), "heads": n % sides == 0} for n in range(100)]})


@pytest.fixture(autouse=True)
def coins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "task", lambda name: Coins())


def test_a_bench_prints_its_means_and_writes_its_result(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = CliRunner().invoke(main, ["bench", "coins", "--option", "sides=4", "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "0.250 [" in done.stdout
    result = json.loads(out.read_text())
    assert result["metrics"]["heads"]["value"] == 0.25
    assert {"task", "data", "protocol", "metrics", "systems", "per_query"} <= result.keys()
    assert len(result["per_query"]) == 100


def test_the_docs_are_made_from_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["bench", "coins", "--docs"]).exit_code == 0
    assert "| mnemic | 0.500 [" in Path("docs/results/coins.md").read_text()


def test_an_option_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(main, ["bench", "coins", "--option", "sides"])
    assert done.exit_code == 1
    assert "KEY=VALUE" in done.stderr


def test_methods_of_one_room_are_listed() -> None:
    listed = json.loads(CliRunner().invoke(main, ["methods", "recurrent", "--json"]).stdout)["methods"]
    assert {"linear-attention", "gated-delta-rule"} <= {each["name"] for each in listed}
    assert {each["room"] for each in listed} == {"recurrent"}
    priced = {each["name"]: each for each in listed}["linear-attention"]
    assert priced["kind"] == "causal"
    assert priced["state_bytes"] == 4 * (4 * 64 * 65 + 3 * 3 * 256)
    assert priced["operations_per_token"] > 2 * 5 * 256 * 256


def test_task_length_and_method_are_options_by_their_names(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["bench", "coins", "--option", "sides=4", "--task", "toss", "--length", "9", "--method", "a,b"]
    assert CliRunner().invoke(main, [*words, "--json", str(out)]).exit_code == 0
    options = "--option sides=4 --option task=toss --option length=9 --option methods=a,b"
    assert json.loads(out.read_text())["command"] == f"mnemic bench coins {options}"


def test_training_says_whether_it_is_finished(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train-reference", "--out", str(tmp_path), "--minutes", "0"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("stopped; the same command goes on")
    assert (tmp_path / "checkpoint.pt").exists()
