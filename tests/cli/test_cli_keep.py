"""remember, show, history, supersede, forget, undo from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Run, of


def test_a_file_is_remembered_once_however_often_it_is_given(run: Run, tmp_path: Path) -> None:
    tale = tmp_path / "tale.md"
    tale.write_text("# One\n\nThe heron came back in March.\n\n# Two\n\nNobody saw it leave.\n")
    first = of(run("remember", tale, "--no-vectors", "--json", "--when", "1999-03"))
    assert first["records"] == 2
    run("remember", tale, "--no-vectors", "--when", "1999-03")
    assert [of(run("show", id, "--json"))["place"] for id in (1, 2)] == [["One"], ["Two"]]
    assert run("show", 3).exit_code == 1


def test_standard_input_is_a_source(run: Run) -> None:
    result = run("remember", "-", "--source", "dictated", "--no-vectors", input="The bell rang twice.")
    assert result.exit_code == 0
    assert of(run("show", 1, "--json"))["source"] == "dictated"


def test_forget_and_undo_and_purge(run: Run, tmp_path: Path) -> None:
    run("remember", "-", "--no-vectors", "--source", "a", input="The key is under the fern.")
    assert of(run("forget", 1, "--json")) == {
        "ids": [1], "purged": False, "detail": "1 record forgotten, until `undo`",
    }  # fmt: skip
    assert of(run("show", 1, "--json"))["state"] == "forgotten"
    assert of(run("undo", "--json"))["undone"].startswith("undone: forget")
    assert of(run("show", 1, "--json"))["state"] == "live"
    assert of(run("forget", "--source", "a", "--purge", "--json"))["purged"]
    assert b"fern" not in (tmp_path / "data" / "memory.mnemic").read_bytes()


def test_the_history_tells_what_happened(run: Run) -> None:
    run("remember", "-", "--no-vectors", input="The shop opens at nine.")
    assert of(run("supersede", 1, "The shop opens at ten.", "--no-vectors", "--json"))["supersedes"] == 1
    assert [change["op"] for change in of(run("history", 1, "--json"))["changes"]] == ["put", "supersede"]


@pytest.mark.parametrize(
    ("given", "sentence", "code"),
    [
        (["show", "7"], "there is no memory at", 1),
        (["remember", "missing.txt"], "there is no file or folder 'missing.txt'", 1),
        (["remember", "tale.txt", "--when", "soon"], "'soon' is not a date", 1),
        (["forget", "1", "--source", "a"], "exactly one of", 2),
        (["forget"], "exactly one of", 2),
        (["show", "one"], "is not a valid integer", 2),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(
    run: Run, tmp_path: Path, given: list[str], sentence: str, code: int
) -> None:
    (tmp_path / "tale.txt").write_text("Once.")
    result = run(*given)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x7fELF\x00\x01\x02", "is a binary file"),
        ("Größe".encode("latin-1"), "is not valid UTF-8"),
        (b"x" * (33 << 20), "has a line of more than 32 MiB"),
    ],
)
def test_what_is_no_text_is_refused_and_nothing_is_written(
    run: Run, tmp_path: Path, content: bytes, sentence: str
) -> None:
    run("remember", "-", "--no-vectors", input="First.")
    (tmp_path / "odd.txt").write_bytes(content)
    result = run("remember", "odd.txt", "--no-vectors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert run("show", 2).exit_code == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('[{"role": "user"}]', "message 1 has no content"),
        ('[{"content": "hello"}]', "has no role"),
        ('[{"role": "user", "content": "hello", "created_at": "2024-02-31"}]', "is not a date"),
        ('[{"role": "user", "content": ', "is not JSON"),
    ],
)
def test_a_broken_chat_names_what_is_wrong_and_nothing_is_written(
    run: Run, tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "chat.json").write_text(content)
    result = run("remember", "chat.json", "--no-vectors")
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert run("show", 1).exit_code == 1
