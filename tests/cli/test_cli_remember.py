"""remember survives being killed half-way, and is quick to see that nothing changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import ENVIRONMENT, Run, of

from mnemic import Memory

TWO_BATCHES = """
import sys
from mnemic import Memory
memory = Memory.open("m.mnemic", embedder=None)
batches = memory.remember_batches("novel.txt")
print(len(next(batches)) + len(next(batches)), flush=True)
sys.stdin.read()
"""


def test_killed_half_way_and_run_again_it_continues_without_a_duplicate(run: Run, tmp_path: Path) -> None:
    lines = (f"On day {n} the log of the ship was written down as number {n}." for n in range(12_000))
    (tmp_path / "novel.txt").write_text("\n\n".join(lines))
    with subprocess.Popen(
        [sys.executable, "-c", TWO_BATCHES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        child.kill()
    assert of(run("stats", "--memory", "m.mnemic", "--json"))["live"] == acknowledged
    again = of(run("remember", "novel.txt", "--no-vectors", "--memory", "m.mnemic", "--json"))
    whole = of(run("remember", "novel.txt", "--no-vectors", "--memory", "fresh.mnemic", "--json"))["records"]
    assert (again["already_there"], again["records"]) == (acknowledged, whole - acknowledged)
    assert whole > acknowledged
    assert of(run("doctor", "--memory", "m.mnemic", "--json"))["healthy"]


def test_a_folder_given_again_is_passed_over_until_something_in_it_changes(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{name}.txt").write_text(f"This is note {name}.")
    run("remember", "notes", "--no-vectors")
    again = of(run("remember", "notes", "--no-vectors", "--json"))
    assert again == {"files": 2, "records": 0, "already_there": 0, "unchanged_files": 2}
    (tmp_path / "notes" / "two.txt").write_text("This is note two, longer.")
    again = of(run("remember", "notes", "--no-vectors", "--json"))
    assert again == {"files": 2, "records": 1, "already_there": 0, "unchanged_files": 1}


def test_a_file_of_which_something_was_forgotten_or_undone_is_read_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("This is a note.")
    forget = ["forget", "--source", "note.txt"]
    for take_back in (forget, ["undo"], [*forget, "--purge"]):
        run("remember", "note.txt", "--no-vectors")
        assert of(run("stats", "--json"))["live"] == 1
        assert run(*take_back).exit_code == 0
        assert of(run("stats", "--json"))["live"] == 0
    assert of(run("remember", "note.txt", "--no-vectors", "--json"))["records"] == 1


def test_after_a_purge_no_hash_of_the_file_is_left(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("This is a note about the fern.")
    run("remember", "note.txt", "--no-vectors")
    with Memory.open(tmp_path / "data" / "memory.mnemic", embedder=None) as memory:
        noted = memory.store.get_meta('done ["default", "note.txt"]')
    assert noted is not None
    run("forget", "--source", "note.txt", "--purge")
    assert noted.encode() not in (tmp_path / "data" / "memory.mnemic").read_bytes()
