"""The demo shows what it says."""

from __future__ import annotations

from command_line import Run, of


def test_the_demo_remembers_three_files_and_gets_every_question_about_time_right(run: Run) -> None:
    shown = of(run("demo", "--json"))
    assert [one["file"] for one in shown["remembered"]] == ["tale.txt", "chat.json", "diary.json"]
    assert len(shown["profile"]) == 3
    about_time = ("When", "Which came first", "How many days")
    of_time = [one for one in shown["asked"] if one["question"].startswith(about_time)]
    assert len(of_time) == 3
    assert all(one["truth"] in one["answer"] and one["cited"] for one in of_time)
    never_said = [one for one in shown["asked"] if not one["truth"]]
    assert never_said
    assert all(one["answer"] == "not in memory" for one in never_said)
