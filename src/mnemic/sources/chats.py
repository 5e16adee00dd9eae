"""Conversations as turns, verbatim, both sides: message lists and the exports people have.

Shapes that are recognised, in a JSON document or one per line (JSONL):
    message        {"role", "content", "created_at"?, "name"?}; a bare list of them is one conversation
    conversation   {"messages": [message, ...], "session_id"?, "title"?, "date"?}
    case           {"sessions": [conversation, ...]}
    LongMemEval    {"haystack_sessions": [[message, ...], ...], "haystack_session_ids", "haystack_dates"}
    ChatGPT        {"mapping": {id: {"message", "parent", "children"}}, "current_node", "title", "create_time"}
    Claude         {"chat_messages": [{"sender", "text", "created_at"}, ...], "uuid", "name"}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemic.types import MnemicError, Record, When

_TIME_FIELDS = ("created_at", "timestamp", "create_time", "time", "date")
_SESSION_FIELDS = ("session_id", "conversation_id", "uuid", "id", "session")
_TITLE_FIELDS = ("title", "name")
_SHAPES = (
    "a message (role, content), a conversation (messages), a case (sessions), or an export of ChatGPT or Claude"
)


@dataclass(frozen=True, slots=True)
class _Conversation:
    messages: Sequence[Any]
    session: str | None = None
    title: str | None = None
    when: When | None = None


def messages(
    conversation: Sequence[Mapping[str, Any]],
    *,
    session: str | None = None,
    title: str | None = None,
    source: str | None = None,
    when: When | None = None,
) -> list[Record]:
    """The messages of one conversation as turns, in order.

    A message has `content` (a string, or a list of parts of which the text is taken) and `role` or `name`;
    the author is its name, else its role. Its time is `created_at` (ISO, or seconds since 1970), else `when`.
    Other fields are kept in `meta`. Messages that say nothing (tool calls) are left out.

    Raises:
        MnemicError: a message lacks a field or holds what cannot be read, named with its rank from 1.
    """
    where = f"{source}: " if source else ""
    place = f'{where}session "{session}", ' if session else where
    records: list[Record] = []
    for rank, message in enumerate(conversation, 1):
        record = _turn(message, f"{place}message {rank}", len(records), source, session, title, when)
        if record is not None:
            records.append(record)
    return records


def chat(content: str, source: str) -> list[Record]:
    """The turns of a JSON or JSONL file in one of the shapes above, conversation after conversation.

    Raises:
        MnemicError: not JSON, of another shape, or a message that cannot be read; nothing is kept of it.
    """
    records = [
        record
        for conversation in _conversations(_parse(content, source), source)
        for record in messages(
            conversation.messages,
            session=conversation.session,
            title=conversation.title,
            source=source,
            when=conversation.when,
        )
    ]
    if not records:
        raise MnemicError(f"{source} holds no messages")
    return records


def _parse(content: str, source: str) -> list[Any]:
    """The items of a JSON list, the one item of a JSON document, or the items of JSON lines."""
    try:
        document = json.loads(content)
    except json.JSONDecodeError as whole:
        lines = [line for line in content.split("\n") if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0]):
            raise MnemicError(f"{source} is not JSON: {whole}") from None
        items = []
        for number, line in enumerate(content.split("\n"), 1):
            if line.strip():
                try:
                    items.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise MnemicError(f"{source}, line {number} is not JSON: {error}") from None
        return items
    return document if isinstance(document, list) else [document]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _conversations(items: list[Any], source: str) -> Iterator[_Conversation]:
    """Conversations in order; messages that stand bare belong to one conversation per session they name."""
    bare: dict[str | None, list[Any]] = {}
    for rank, item in enumerate(items, 1):
        name = f"{source}, item {rank}"
        if not isinstance(item, Mapping):
            if isinstance(item, list):
                yield _Conversation(item, session=str(rank))
                continue
            raise MnemicError(f"{name} is {type(item).__name__}, not {_SHAPES}")
        if "mapping" in item:
            yield _Conversation(_chatgpt_branch(item, name), *_about(item, name))
        elif "chat_messages" in item:
            yield _Conversation(
                [_from_claude(m) for m in _list(item, "chat_messages", name)], *_about(item, name)
            )
        elif "haystack_sessions" in item:
            yield from _haystack(item, name)
        elif "sessions" in item:
            for number, session in enumerate(_list(item, "sessions", name), 1):
                yield _conversation(session, f"{name}, session {number}")
        elif "messages" in item:
            yield _conversation(item, name)
        elif {"role", "content"} & item.keys():
            bare.setdefault(_first(item, ("session_id", "session")), []).append(item)
        else:
            raise MnemicError(f"{name} is not {_SHAPES}; its fields are {', '.join(map(str, item)) or 'none'}")
    for session_id, conversation in bare.items():
        yield _Conversation(conversation, session=session_id)


def _conversation(item: Any, name: str) -> _Conversation:
    if isinstance(item, list):
        return _Conversation(item)
    if not isinstance(item, Mapping):
        raise MnemicError(f"{name} is {type(item).__name__}, not a conversation (messages)")
    return _Conversation(_list(item, "messages", name), *_about(item, name))


def _haystack(item: Mapping[str, Any], name: str) -> Iterator[_Conversation]:
    sessions = _list(item, "haystack_sessions", name)
    ids = item.get("haystack_session_ids") or [str(number) for number in range(1, len(sessions) + 1)]
    dates = item.get("haystack_dates") or [None] * len(sessions)
    if not len(sessions) == len(ids) == len(dates):
        raise MnemicError(
            f"{name} has {len(sessions)} haystack_sessions, {len(ids)} haystack_session_ids "
            f"and {len(dates)} haystack_dates; they must be equally many"
        )
    for session, session_id, date in zip(sessions, ids, dates, strict=True):
        when = None if date is None else _when(date, f'{name}, session "{session_id}": haystack_dates')
        yield _Conversation(session, session=str(session_id), when=when)


def _chatgpt_branch(item: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The messages on the branch that the export's tree ends in, oldest first."""
    mapping = item["mapping"]
    if not isinstance(mapping, Mapping):
        raise MnemicError(f"{name}: mapping is {type(mapping).__name__}, not an object")
    node = item.get("current_node") or next(
        (key for key, it in mapping.items() if not it.get("children")), None
    )
    branch: list[Mapping[str, Any]] = []
    seen = set()
    while node is not None and node not in seen:
        seen.add(node)
        if node not in mapping:
            raise MnemicError(f"{name}: mapping has no node {node!r}, which another node names")
        message = mapping[node].get("message")
        if message:
            branch.append(_from_chatgpt(message))
        node = mapping[node].get("parent")
    return branch[::-1]


def _from_chatgpt(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content") or {}
    author = message.get("author") or {}
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    words = [part for part in content.get("parts") or [] if isinstance(part, str)] or [
        content.get("text") or ""
    ]
    return {
        "role": author.get("role"),
        "name": author.get("name"),
        "content": "" if hidden else "\n".join(words),
        "created_at": message.get("create_time"),
    }


def _from_claude(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    role = {"human": "user"}.get(message.get("sender", ""), message.get("sender"))
    words = message.get("text") or _text_of(message.get("content") or "")
    return {"role": role, "content": words, "created_at": message.get("created_at")}


def _turn(
    message: Any,
    name: str,
    order: int,
    source: str | None,
    session: str | None,
    title: str | None,
    when: When | None,
) -> Record | None:
    if not isinstance(message, Mapping):
        raise MnemicError(f"{name} is {type(message).__name__}, not an object with role and content")
    author = message.get("name") or message.get("role")
    if not isinstance(author, str):
        raise MnemicError(f"{name} has no role: say who speaks ('user', 'assistant', or a name)")
    if "content" not in message and not message.get("tool_calls"):
        raise MnemicError(f"{name} has no content")
    content = _text_of(message.get("content"))
    if content is None:
        raise MnemicError(
            f"{name}: content is {type(message['content']).__name__}, not text or a list of parts"
        )
    if not content.strip():
        return None
    field = next((field for field in _TIME_FIELDS if message.get(field) is not None), None)
    used = {"name", "role", "content", field, "session_id", "session"}
    meta = {key: value for key, value in message.items() if key not in used}
    if message.get("role") not in (None, author):
        meta["role"] = message["role"]
    return Record(
        text=content,
        kind="turn",
        source=source,
        author=author,
        session=session,
        title=title,
        order=order,
        when=when if field is None else _when(message[field], f"{name}: {field}"),
        meta=meta,
    )


def _text_of(content: Any) -> str | None:
    """The words of a message's content; None when it has another shape."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    words = [
        part if isinstance(part, str) else part.get("text")
        for part in content
        if isinstance(part, str | Mapping)
    ]
    return "\n".join(part for part in words if isinstance(part, str))


def _about(item: Mapping[str, Any], name: str) -> tuple[str | None, str | None, When | None]:
    """Session id, title and date of a conversation, from its own fields or its metadata."""
    metadata = item.get("metadata")
    fields = {**(metadata if isinstance(metadata, Mapping) else {}), **item}
    date = next((fields[field] for field in _TIME_FIELDS if fields.get(field) is not None), None)
    when = None if date is None else _when(date, f"{name}: date")
    return _first(fields, _SESSION_FIELDS), _first(fields, _TITLE_FIELDS), when


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(fields[name]) for name in names if fields.get(name) not in (None, "")), None)


def _list(item: Mapping[str, Any], field: str, name: str) -> list[Any]:
    if field not in item:
        raise MnemicError(f"{name} has no {field}")
    value = item[field]
    if not isinstance(value, list):
        raise MnemicError(f"{name}: {field} is {type(value).__name__}, not a list")
    return value


def _when(value: Any, name: str) -> When:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise MnemicError(f"{name} is {value!r}, not a date")
    try:
        return When.parse(value)
    except (ValueError, OverflowError) as error:
        raise MnemicError(f"{name}: {error}") from None
