"""An OpenAI-compatible proxy with a memory: point any client at it, and the assistant remembers.

    request -> recall(last question) -> block before that question -> upstream -> reply -> remember both turns

The block (`memory.echo.block`) holds the profile always and evidence within a token budget, dated and numbered,
fenced as data. It stands in the user's last message, so that what comes before stays the same from turn to turn
and an upstream's prefix cache holds. What is remembered is what the user wrote and what the assistant said,
never the block, and it is durable before the client hears that the reply is complete.

A memory that fails fails open: the chat goes on without it. Who may not enter a space is refused.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from mnemic.memory.echo import block
from mnemic.read.arrange import estimate_tokens
from mnemic.serve import schemas as it
from mnemic.serve.desk import Desk
from mnemic.serve.door import JSON, SSE, Door, Said
from mnemic.serve.guard import access, failure
from mnemic.serve.keys import Access, Refused
from mnemic.serve.local import text_of
from mnemic.serve.upstream import HOP, Remote, Reply, Unreachable, Upstream
from mnemic.serve.watch import Metrics
from mnemic.types import Recall

USER, CONVERSATION, MEMORY = "X-Mnemic-User", "X-Mnemic-Conversation", "X-Mnemic-Memory"
USED = "X-Mnemic-Recalled"

LARGEST = 16 << 20  # bytes of a reply, or of one event of a stream
RETOLD = 1000  # turns of which a second telling is recognised

Mode = Literal["on", "read", "off"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How the proxy remembers.

    Attributes:
        k, tokens: evidence of at most so many records and about so many tokens; profile: tokens of it.
        patience: seconds a recall may take before the chat goes on without; keeping: seconds a reply waits for
            both turns to be durable.
    """

    k: int = 8
    tokens: int = 1500
    profile: int = 500
    patience: float = 2.0
    keeping: float = 5.0


@dataclass(slots=True)
class Chat:
    """One exchange: who speaks in which conversation, what was used, what was said."""

    who: Access
    space: str
    conversation: str | None
    mode: Mode
    messages: list[dict[str, Any]]
    used: tuple[int, ...] = ()
    fate: Literal["on", "read", "off", "failed"] = "on"
    said: str = ""
    kept: bool = False


class Proxy:
    """The routes that OpenAI's clients know, over a desk and an upstream."""

    def __init__(
        self, desk: Desk, upstream: Upstream | None, metrics: Metrics, manner: Manner = Manner()
    ) -> None:
        self._desk, self._upstream, self._metrics, self._manner = desk, upstream, metrics, manner
        self._tasks: set[asyncio.Task[None]] = set()
        self._secret = secrets.token_bytes(16)
        self._told: OrderedDict[bytes, float] = OrderedDict()

    async def close(self) -> None:
        """Finish what is still to be remembered."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._upstream is not None:
            await self._upstream.close()

    def doors(self) -> tuple[Door, ...]:
        headers = {
            USER: ("Whose memory: a space; else the body's `user`, else the key's space.", "[!-~]{1,200}"),
            CONVERSATION: ("Which conversation; else the one that began with the same words.", "[!-~]{1,200}"),
            MEMORY: ("`off` for a chat without memory, `read` for one that is not remembered.", "on|read|off"),
        }
        fails = {
            "502": "The language model's server is down or does not speak the protocol.",
            "504": "The language model's server is too slow.",
            "508": "The upstream is this server.",
        }
        return (
            Door("POST", "/v1/chat/completions", "chat", "A chat with a memory, in OpenAI's protocol.",
                 it.Chat, it.Completion, self.chat, brings=(JSON, SSE), headers=headers, fails=fails),
            Door("GET", "/v1/models", "models", "The models behind this proxy.",
                 it.Nothing, it.Models, self.models, fails=fails),
            Door("POST", "/v1/embeddings", "embeddings", "Vectors of texts, by the upstream or the memory.",
                 it.Embed, it.Embeddings, self.embeddings, fails=fails),
        )  # fmt: skip

    # ----------------------------------------------------------------- chat

    async def chat(self, desk: Desk, request: Request, body: it.Chat) -> Said:
        if self._upstream is None:
            return failure(
                503, "there is no language model: set OPENAI_BASE_URL, or serve with --model", "server_error"
            )
        if HOP in request.headers:
            return failure(508, "the upstream is this server itself", "server_error")
        sent = body.model_dump(exclude_unset=True)
        chat = self._chat(request, sent)
        if chat.mode != "off":
            sent["messages"] = await self._with_memory(chat)
        try:
            reply = await self._upstream.send("POST", "chat/completions", sent, self._authorization(request))
        except Unreachable as error:
            return _unreachable(error)
        if reply.status == 200 and body.stream and reply.media == SSE:
            self._metrics.proxied.labels(chat.fate).inc()
            return StreamingResponse(self._streamed(chat, reply), media_type=SSE, headers=_headers(chat))
        value = await _json(reply)
        if isinstance(value, Unreachable):
            return _unreachable(value)
        if reply.status == 200:
            if body.stream:
                return _unreachable(Unreachable("a stream was asked for, and something else was sent"))
            chat.said = _said(value)
            await self._remember(chat)
        self._metrics.proxied.labels(chat.fate).inc()
        return JSONResponse(value, _status(reply.status), headers=_headers(chat))

    def _chat(self, request: Request, sent: dict[str, Any]) -> Chat:
        who = access(request.state)
        mode = cast(Mode, request.headers.get(MEMORY, "on"))
        if mode == "on" and not who.writes:
            mode = "read"
        space = who.enter(request.headers.get(USER) or sent.get("user"), writing=mode == "on")
        conversation = request.headers.get(CONVERSATION)
        return Chat(who, space, conversation, mode, sent["messages"], fate=mode)

    async def _with_memory(self, chat: Chat) -> list[dict[str, Any]]:
        """The messages with the block in the last question; as they are where there is nothing to recall."""
        asked = next(
            (at for at in reversed(range(len(chat.messages))) if chat.messages[at]["role"] == "user"), None
        )
        question = "" if asked is None else text_of(chat.messages[asked].get("content")).strip()
        if asked is None or not question:
            return chat.messages
        how = self._manner
        try:
            found = await asyncio.wait_for(
                self._desk.recall(chat.who, question[:8192], how.k, tokens=how.tokens, space=chat.space),
                how.patience,
            )
        except Refused:
            raise
        except Exception:
            chat.fate = "failed"
            return chat.messages
        kept, left = [], how.profile
        for one in found.profile:
            left -= estimate_tokens(one.text)
            if left < 0:
                break
            kept.append(one)
        found = Recall(found.hits, tuple(kept), found.query, found.during)
        if not found.hits and not found.profile:
            return chat.messages
        chat.used = tuple([record.id for record in found.profile] + [hit.record.id for hit in found])
        messages = list(chat.messages)
        content = messages[asked]["content"]
        fenced = block(found)
        if isinstance(content, str):
            messages[asked] = messages[asked] | {"content": f"{fenced}\n\n{content}"}
        else:
            messages[asked] = messages[asked] | {"content": [{"type": "text", "text": fenced}, *content]}
        return messages

    async def _streamed(self, chat: Chat, reply: Reply) -> AsyncIterator[bytes]:
        """The upstream's events as they come; the last one only once both turns are durable.

        Whatever reached the client is remembered, also where the stream is cut or the client goes away.
        """
        finished = False
        try:
            async for event in _events(reply.chunks):
                data = _data(event)
                if data == b"[DONE]":
                    finished = True
                    await self._remember(chat)
                elif data is not None:
                    try:
                        value = json.loads(data)
                        delta, ended = _delta(value)
                    except (ValueError, RecursionError):
                        raise Unreachable(
                            "the language model's server sent an event that is not JSON"
                        ) from None
                    chat.said += delta
                    finished |= ended
                yield event
            if not finished:
                raise Unreachable("the language model's server cut the stream")
        except Unreachable as error:
            told = {"error": {"message": str(error), "type": "server_error", "code": 502}}
            yield f"data: {json.dumps(told)}\n\n".encode()
        finally:
            if chat.said and not chat.kept:
                task = asyncio.get_running_loop().create_task(self._remember(chat))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await reply.close()

    # ----------------------------------------------------------------- remembering

    async def _remember(self, chat: Chat) -> None:
        """Both turns, verbatim; a failure is counted and the chat goes on."""
        if chat.mode != "on" or chat.kept:
            return
        chat.kept = True
        turns = self._turns(chat)
        if not turns:
            return
        session = chat.conversation or _began(chat)
        keeping = self._desk.remember(chat.who, turns, session=session, source="chat", space=chat.space)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(keeping)), self._manner.keeping)
        except Exception:
            self._metrics.dropped.inc(len(turns))

    def _turns(self, chat: Chat) -> list[dict[str, Any]]:
        """What was said since the assistant last spoke, and what it says now.

        A question that is asked again (a retry, another reply) is told with the time of the first: the same
        telling is stored once.
        """
        since = [at for at, one in enumerate(chat.messages) if one["role"] == "assistant"]
        new = chat.messages[since[-1] + 1 if since else 0 :]
        asked = [text for one in new if one["role"] == "user" and (text := text_of(one.get("content"))).strip()]
        whole = json.dumps([chat.space, chat.conversation, chat.messages], ensure_ascii=False)
        mark = hmac.digest(self._secret, whole.encode("utf-8", "replace"), "sha256")
        at = self._told.pop(mark, time.time())
        self._told[mark] = at
        while len(self._told) > RETOLD:
            self._told.popitem(last=False)
        turns = [{"role": "user", "content": text, "created_at": at} for text in asked]
        if chat.said.strip():
            turns.append({"role": "assistant", "content": chat.said, "created_at": time.time()})
        return turns

    # ----------------------------------------------------------------- models, embeddings

    async def models(self, desk: Desk, request: Request, query: it.Nothing) -> Said:
        if self._upstream is None:
            return {"object": "list", "data": []}
        return await self._passed(request, "GET", "models", None)

    async def embeddings(self, desk: Desk, request: Request, body: it.Embed) -> Said:
        if isinstance(self._upstream, Remote):
            return await self._passed(request, "POST", "embeddings", body.model_dump(exclude_unset=True))
        embedder = desk.gathered
        if embedder is None:
            return failure(503, "this memory is served without an embedder", "server_error")
        texts = [body.input] if isinstance(body.input, str) else list(body.input)
        vectors = await desk.run("wide", lambda: embedder.encode(texts))
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if body.encoding_format == "base64"
                else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(estimate_tokens(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": embedder.name, "data": data, "usage": usage}

    async def _passed(self, request: Request, method: str, path: str, body: dict[str, Any] | None) -> Response:
        assert self._upstream is not None
        if HOP in request.headers:
            return failure(508, "the upstream is this server itself", "server_error")
        try:
            reply = await self._upstream.send(method, path, body, self._authorization(request))
        except Unreachable as error:
            return _unreachable(error)
        value = await _json(reply)
        return (
            _unreachable(value)
            if isinstance(value, Unreachable)
            else JSONResponse(value, _status(reply.status))
        )

    def _authorization(self, request: Request) -> str | None:
        """What the client sent for the upstream; where this server asks for a key, that was for this one."""
        return None if request.app.state.mnemic.keys else request.headers.get("authorization")


# --------------------------------------------------------------------------- what upstreams say


def _headers(chat: Chat) -> dict[str, str]:
    return {MEMORY: chat.fate, USED: ",".join(map(str, chat.used))}


def _status(status: int) -> int:
    """The upstream's status, unless it is one that a client would take for this server's."""
    return status if 200 <= status < 600 and status not in (401, 407) else 502


def _unreachable(error: Unreachable) -> JSONResponse:
    return failure(504 if error.late else 502, str(error), "server_error")


async def _json(reply: Reply) -> dict[str, Any] | Unreachable:
    """A reply that is not streamed, or what is wrong with it."""
    content = bytearray()
    try:
        async for chunk in reply.chunks:
            content += chunk
            if len(content) > LARGEST:
                return Unreachable(f"the language model's server sent more than {LARGEST} bytes")
        value = json.loads(content)
    except Unreachable as error:
        return error
    except (ValueError, RecursionError):
        value = None
    finally:
        await reply.close()
    if not isinstance(value, dict):
        return Unreachable("the language model's server answered with something that is not a JSON object")
    return value


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole events, each with the empty line that ends it; what is cut off in the middle is left out."""
    held = b""
    async for chunk in chunks:
        held = (held + chunk).replace(b"\r\n", b"\n")
        *events, held = held.split(b"\n\n")
        if len(held) > LARGEST:
            raise Unreachable(f"the language model's server sent an event of more than {LARGEST} bytes")
        for event in events:
            if event.strip():
                yield event + b"\n\n"


def _data(event: bytes) -> bytes | None:
    """What an event carries; None if it is a comment."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _said(value: dict[str, Any]) -> str:
    """The text of the first choice of a completion."""
    try:
        content = value["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return text_of(content)


def _delta(value: Any) -> tuple[str, bool]:
    """The text that an event adds to the first choice, and whether that ends."""
    if not isinstance(value, dict):
        raise ValueError("an event that is no object")
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            delta = choice.get("delta")
            text = delta.get("content") if isinstance(delta, dict) else None
            return text if isinstance(text, str) else "", choice.get("finish_reason") is not None
    return "", False


def _began(chat: Chat) -> str:
    """A name for a conversation whose client gives none: clients tell it whole, so its first exchange names
    it."""
    first: Sequence[str] = [
        next((text_of(one.get("content")) for one in chat.messages if one["role"] == role), "")
        for role in ("user", "assistant")
    ]
    opening = json.dumps([first[0], first[1] or chat.said], ensure_ascii=False)
    return "chat-" + hashlib.sha256(opening.encode("utf-8", "replace")).hexdigest()[:16]
