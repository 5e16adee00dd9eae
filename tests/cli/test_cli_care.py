"""stats, export, import, backup, doctor, reembed, budget from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run, of


def test_what_is_exported_and_imported_is_the_same(run: Run, tmp_path: Path) -> None:
    run("remember", "-", "--no-vectors", "--source", "a", "--when", "about 1851", input="The sea was calm.")
    run("remember", "-", "--no-vectors", "--space", "work", input="The gate code is 4711.")
    run("supersede", 1, "The sea was rough.", "--no-vectors")
    assert run("export", "all.jsonl").exit_code == 0
    assert of(run("import", "all.jsonl", "--memory", "copy.mnemic", "--json"))["records"] == 3
    for id, space in ((1, "default"), (2, "work"), (3, "default")):
        there = run("show", id, "--space", space, "--json").stdout
        assert run("show", id, "--space", space, "--json", "--memory", "copy.mnemic").stdout == there
    assert run("export", "-").stdout == (tmp_path / "all.jsonl").read_text()


def test_a_damaged_export_is_refused_whole(run: Run, tmp_path: Path) -> None:
    run("remember", "-", "--no-vectors", input="The sea was calm.")
    run("export", "all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    (tmp_path / "all.jsonl").write_text("\n".join([*lines[:1], *lines[2:]]))
    result = run("import", "all.jsonl", "--memory", "copy.mnemic")
    assert (result.exit_code, result.stdout) == (1, "")
    assert run("show", 1, "--memory", "copy.mnemic").exit_code == 1


def test_a_failed_export_leaves_the_file_that_was_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("precious")
    assert run("export", "all.jsonl", "--memory", "missing.mnemic").exit_code == 1
    assert (tmp_path / "all.jsonl").read_text() == "precious"
    assert run("export", "no/folder/all.jsonl").exit_code == 1


def test_a_backup_is_a_memory_of_its_own(run: Run) -> None:
    run("remember", "-", "--no-vectors", input="The sea was calm.")
    assert run("backup", "copy.mnemic").exit_code == 0
    run("forget", 1)
    assert of(run("show", 1, "--json", "--memory", "copy.mnemic"))["state"] == "live"
    assert run("backup", "copy.mnemic").exit_code == 1


def test_the_doctor_finds_nothing_wrong_with_a_sound_file_and_names_damage(run: Run, tmp_path: Path) -> None:
    run("remember", "-", "--no-vectors", input="The sea was calm.")
    assert of(run("doctor", "--json")) == {"healthy": True, "found": [], "mended": [], "advice": []}
    file = tmp_path / "data" / "memory.mnemic"
    spoilt = bytearray(file.read_bytes())
    spoilt[4096:8192] = bytes(4096)
    file.write_bytes(spoilt)
    result = run("doctor")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert file.read_bytes() == spoilt


def test_stats_count_what_is_there(run: Run) -> None:
    run("remember", "-", "--no-vectors", "--when", "1851", input="The sea was calm.")
    run("remember", "-", "--no-vectors", "--space", "work", input="The gate code is 4711.")
    whole = of(run("stats", "--json"))
    assert (whole["live"], whole["spaces"], whole["first"]) == (
        2,
        {"default": 1, "work": 1},
        "1851-01-01T00:00:00Z",
    )
    assert of(run("stats", "--space", "work", "--json"))["live"] == 1


def test_a_budget_forgets_the_oldest_and_says_so(run: Run) -> None:
    for n in range(3):
        run("remember", "-", "--no-vectors", input=f"Number {n} is on the door.")
    gone = of(run("budget", "--records", 2, "--rule", "recency", "--json"))["forgotten"]
    assert [it["id"] for it in gone] == [1]
    result = run("remember", "-", "--no-vectors", input="Number 3 is on the door.")
    assert "1 record forgotten (2)" in result.stderr
    run("undo")
    assert of(run("show", 2, "--json"))["state"] == "live"
    assert of(run("budget", "--lift", "--json")) == {"forgotten": []}
    assert run("budget").exit_code == 2


def test_json_is_one_document_whatever_is_logged(run: Run) -> None:
    run("remember", "-", "--no-vectors", input="Number 0 is on the door.")
    run("budget", "--records", 0)
    result = run("remember", "-", "--no-vectors", "--json", input="Number 1 is on the door.")
    assert json.loads(result.stdout)["records"] == 1
