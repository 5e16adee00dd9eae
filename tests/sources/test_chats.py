"""Turns come out verbatim, in order, both sides, with session, title and time, from every shape of chat."""

import json
from pathlib import Path
from typing import Any

import pytest

from mnemic import sources
from mnemic.types import MnemicError, Record, When

USER = {"role": "user", "content": " Where is  the key?\n", "created_at": "2023-04-25T04:07:00+02:00"}
ASSISTANT = {"role": "assistant", "content": "Under the mat."}


def read(tmp_path: Path, document: Any, name: str = "chat.json") -> list[Record]:
    content = document if isinstance(document, str) else json.dumps(document)
    (tmp_path / name).write_text(content, encoding="utf-8")
    return list(sources.read(tmp_path / name))


def told(records: list[Record]) -> list[tuple[str | None, str, str | None]]:
    return [(record.author, record.text, record.session) for record in records]


EXPECTED = [("user", USER["content"], None), ("assistant", "Under the mat.", None)]


def test_messages_are_kept_verbatim_with_their_times() -> None:
    records = sources.messages([USER, ASSISTANT], session="s", title="Keys", when=When.parse("2023-04"))
    assert [record.text for record in records] == [USER["content"], ASSISTANT["content"]]
    assert [str(record.when) for record in records] == ["2023-04-25T04:07:00+02:00", "2023-04"]
    assert [(it.order, it.kind, it.session, it.title) for it in records] == [
        (0, "turn", "s", "Keys"),
        (1, "turn", "s", "Keys"),
    ]


def test_a_name_is_the_author_and_other_fields_are_kept() -> None:
    (record,) = sources.messages([{**USER, "name": "Ada", "mood": "calm"}])
    assert record.author == "Ada"
    assert record.meta == {"role": "user", "mood": "calm"}


def test_parts_are_joined_and_silent_messages_left_out() -> None:
    records = sources.messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]},
            {"role": "assistant", "tool_calls": [{}]},
            {"role": "assistant", "content": None},
            {"role": "tool", "content": "c"},
        ]
    )
    assert [(record.order, record.text) for record in records] == [(0, "a\nb"), (1, "c")]


def test_lists_lines_and_conversations_hold_the_same_turns(tmp_path: Path) -> None:
    lines = json.dumps(USER) + "\n\n" + json.dumps(ASSISTANT) + "\n"
    assert told(read(tmp_path, [USER, ASSISTANT])) == EXPECTED
    assert told(read(tmp_path, lines, "chat.jsonl")) == EXPECTED
    assert told(read(tmp_path, {"messages": [USER, ASSISTANT]})) == EXPECTED
    assert (
        told(read(tmp_path, json.dumps({"messages": [USER]}) + "\n" + json.dumps({"messages": [ASSISTANT]})))
        == EXPECTED
    )


def test_bare_messages_are_sorted_into_the_sessions_they_name(tmp_path: Path) -> None:
    document = [{**USER, "session_id": "a"}, {**USER, "session_id": "b"}, {**ASSISTANT, "session_id": "a"}]
    assert [(it.session, it.order) for it in read(tmp_path, document)] == [("a", 0), ("a", 1), ("b", 0)]


def test_a_case_of_sessions(tmp_path: Path) -> None:
    session = {
        "session_id": "s1",
        "metadata": {"date": "2023/04/25 (Tue) 04:07"},
        "messages": [USER, ASSISTANT],
    }
    records = read(tmp_path, {"case_id": "x", "sessions": [session]})
    assert [(it.session, str(it.when)) for it in records] == [
        ("s1", "2023-04-25T04:07:00+02:00"),
        ("s1", "2023-04-25T04:07:00"),
    ]
    plain = read(
        tmp_path,
        [
            {
                "haystack_sessions": [[ASSISTANT]],
                "haystack_session_ids": ["s1"],
                "haystack_dates": ["2023/04/25 (Tue) 04:07"],
            }
        ],
    )
    assert [(it.session, str(it.when)) for it in plain] == [("s1", "2023-04-25T04:07:00")]


def test_a_chatgpt_export_gives_the_branch_that_was_kept(tmp_path: Path) -> None:
    def node(parent: str | None, role: str, words: str, at: float | None = None) -> dict[str, Any]:
        message = {"author": {"role": role}, "content": {"parts": [words]}, "create_time": at}
        return {"parent": parent, "message": message}

    mapping = {
        "root": {"parent": None, "message": None},
        "u": node("root", "user", "Where is it?", 1682388420.5),
        "old": node("u", "assistant", "In the car."),
        "new": node("u", "assistant", "Under the mat."),
    }
    document = [
        {"title": "Keys", "create_time": 1682388420.0, "id": "c1", "mapping": mapping, "current_node": "new"}
    ]
    records = read(tmp_path, document, "conversations.json")
    assert told(records) == [("user", "Where is it?", "c1"), ("assistant", "Under the mat.", "c1")]
    assert {record.title for record in records} == {"Keys"}
    assert [record.when.iso[:10] for record in records if record.when] == ["2023-04-25", "2023-04-25"]


def test_a_claude_export(tmp_path: Path) -> None:
    turns = [
        {"sender": "human", "text": "Where is it?", "created_at": "2023-04-25T04:07:00.123456Z"},
        {"sender": "assistant", "text": "", "content": [{"type": "text", "text": "Under the mat."}]},
    ]
    records = read(tmp_path, [{"uuid": "c1", "name": "Keys", "chat_messages": turns}])
    assert told(records) == [("user", "Where is it?", "c1"), ("assistant", "Under the mat.", "c1")]
    assert (records[0].title, records[0].when) == ("Keys", When.parse("2023-04-25T04:07:00Z"))


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([USER, {"role": "user"}], "chat.json: message 2 has no content"),
        ([USER, {"content": "x"}], "chat.json: message 2 has no role"),
        ([USER, {**USER, "content": 7}], "message 2: content is int"),
        ([{**USER, "created_at": "2023-13-01"}], "message 1: created_at: '2023-13-01' is not a date: month"),
        ([{**USER, "created_at": 1e20}], "message 1: created_at"),
        ([{**USER, "created_at": [2023]}], r"message 1: created_at is \[2023\], not a date"),
        (
            [{"sessions": [{"session_id": "s", "messages": [{"role": "user"}]}]}],
            'session "s", message 1 has no content',
        ),
        ([{"sessions": [{"messages": "x"}]}], "item 1, session 1: messages is str, not a list"),
        ([{"sessions": [{"session_id": "s"}]}], "item 1, session 1 has no messages"),
        ([{"colour": "red"}], "item 1 is not a message .* its fields are colour"),
        ([USER, 3], "item 2 is int"),
        ({"mapping": {"a": {"parent": "b", "message": None}}}, "mapping has no node 'b'"),
        ([], "holds no messages"),
        ("{}\n{", "line 2 is not JSON"),
        ([{"haystack_sessions": [[]], "haystack_session_ids": []}, 1], "equally many|holds no messages|item 2"),
    ],
)
def test_a_chat_that_cannot_be_read_names_file_item_and_field(
    tmp_path: Path, document: Any, complaint: str
) -> None:
    with pytest.raises(MnemicError, match=complaint) as error:
        read(tmp_path, document)
    assert "chat.json" in str(error.value)
