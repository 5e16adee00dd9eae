"""Answers over HTTP are reused only where that was asked for, and go with what they rest on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from serving import app_over, inside

KEEPER = "Ada keeps the lighthouse at Corle."
ASKED = "Who keeps the lighthouse at Corle?"


def talk(path: Path, *steps: tuple[str, dict[str, Any]], **given: Any) -> tuple[list[dict[str, Any]], str]:
    """What is answered to some posts, and the numbers after them."""

    async def call() -> tuple[list[dict[str, Any]], str]:
        async with inside(app_over(path / "m.mnemic", **given)) as client:
            answers = [await post(client, *step) for step in steps]
            return answers, (await client.get("/metrics")).text

    return asyncio.run(call())


async def post(client: httpx.AsyncClient, address: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(f"/v1/{address}", json=body)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def count(numbers: str, outcome: str) -> float:
    lines = [line for line in numbers.splitlines() if line.startswith("mnemic_answers_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'outcome="{outcome}"' in line)


def remember(text: str, **more: str) -> tuple[str, dict[str, Any]]:
    return "remember", {"text": text, "kind": "turn", **more}


def ask(question: str = ASKED, **more: Any) -> tuple[str, dict[str, Any]]:
    return "ask", {"question": question, **more}


def test_the_same_question_is_answered_once_and_cites_the_same(tmp_path: Path) -> None:
    (_, first, second, third), numbers = talk(
        tmp_path, remember(KEEPER), ask(), ask(ASKED.lower()), ask(f"Do you know {ASKED.lower()}"), reuse=True
    )
    assert first["text"] == second["text"] == third["text"] == "Ada"
    assert first["citations"] == second["citations"]
    assert [hit["record"]["id"] for hit in second["evidence"]["hits"]] == [1]
    assert count(numbers, "misses") == 1 + (count(numbers, "near") == 0)
    assert count(numbers, "exact") == 1


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    _, numbers = talk(tmp_path, remember(KEEPER), ask(), ask())
    assert "mnemic_answers" not in numbers


def test_forgetting_superseding_and_undoing_answer_anew(tmp_path: Path) -> None:
    said, numbers = talk(
        tmp_path, remember(KEEPER), ask(),
        ("records/1/supersede", {"text": "Ben keeps the lighthouse at Corle."}), ask(),
        ("undo", {}), ask(),
        ("forget", {"ids": [1], "purge": True}), ask(),
        reuse=True,
    )  # fmt: skip
    answers = [one for one in said if "abstained" in one]
    assert [one["text"] for one in answers[:3]] == ["Ada", "Ben", "Ada"]
    assert answers[3]["abstained"]
    assert count(numbers, "exact") == 0
    assert count(numbers, "dropped") == 3
    assert "mnemic_answers_held" in numbers


def test_filters_spaces_and_another_now_are_other_questions(tmp_path: Path) -> None:
    _, numbers = talk(
        tmp_path, remember(KEEPER), remember("Ben keeps the lighthouse at Corle.", space="other"), ask(),
        ask(space="other"), ask(k=3), ask(now="2020-01-01"), ask(now="2020-01-01"),
        reuse=True,
    )  # fmt: skip
    assert count(numbers, "exact") + count(numbers, "near") == 0
    assert count(numbers, "misses") == 3


def test_what_is_not_in_memory_is_looked_for_again(tmp_path: Path) -> None:
    said, numbers = talk(
        tmp_path, remember("Gulls nest on it."), ask(), ask(), remember(KEEPER), ask(), reuse=True
    )
    assert said[1]["abstained"]
    assert said[4]["text"] == "Ada"
    assert count(numbers, "exact") == 0


def test_what_is_purged_is_gone_from_the_cache_when_the_purge_is_answered(tmp_path: Path) -> None:
    async def call() -> tuple[int, int]:
        app = app_over(tmp_path / "m.mnemic", reuse=True)
        cache = app.state.mnemic.desk.cache
        async with inside(app) as client:
            for step in (remember(KEEPER), ask()):
                await post(client, *step)
            before = len(cache)
            await post(client, "forget", {"ids": [1], "purge": True})
            return before, len(cache)

    assert asyncio.run(call()) == (1, 0)
