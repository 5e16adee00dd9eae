"""A causal model from a folder behind the OpenAI protocol, its cache held to a budget by a method of
`mnemic.kv`."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mnemic.serve.upstream import Reply
from mnemic.types import MnemicError

LONGEST = 1024  # tokens of a reply where none are asked for


class Local:
    """The model in `folder`, one reply at a time.

    Args:
        method: of `mnemic.kv` ("streaming", "em-llm"): what its cache keeps; None keeps everything.
        budget: what the cache may own, "256MiB"; None for no limit.

    Raises:
        MnemicError: transformers is missing, no causal model loads, or it cannot be attached.
    """

    def __init__(self, folder: str | Path, *, method: str | None = None, budget: str | None = None) -> None:
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise MnemicError(
                f"the model {str(folder)!r} needs transformers: pip install 'mnemic[hf]'"
            ) from None
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            self._model = AutoModelForCausalLM.from_pretrained(folder).eval()
        except (OSError, ValueError, KeyError) as error:
            raise MnemicError(
                f"no causal language model could be loaded from {str(folder)!r}: {error}"
            ) from error
        self.name = Path(folder).name
        self._method, self._budget = method, budget
        if method is not None:
            from mnemic.kv.attach import attach

            attach(self._model, method, budget=budget)  # refused now, if it must be
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="mnemic-model")

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None, authorization: str | None
    ) -> Reply:
        if path == "models":
            return _json(
                {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "local"}]}
            )
        if path != "chat/completions" or body is None:
            return _json({"error": {"message": f"a local model has no {path}", "code": 404}}, 404)
        stopped = threading.Event()
        texts = self._texts(body, stopped)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.name}

        async def stop() -> None:
            stopped.set()

        if body.get("stream"):
            return Reply(200, "text/event-stream", _events(head, texts), stop)
        try:
            text = "".join([piece async for piece in texts])
        except MnemicError as error:
            return _json({"error": {"message": str(error), "code": 400}}, 400)
        finally:
            stopped.set()
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return _json(head | {"object": "chat.completion", "choices": [choice]})

    async def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _texts(self, body: dict[str, Any], stopped: threading.Event) -> AsyncIterator[str]:
        """What `_generate` says on its thread, as it comes."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | Exception | None] = asyncio.Queue()

        def work() -> None:
            end: Exception | None = None
            try:
                for piece in self._generate(body, stopped):
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except Exception as error:
                end = error
            loop.call_soon_threadsafe(pieces.put_nowait, end)

        self._worker.submit(work)
        while (piece := await pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def _generate(self, body: dict[str, Any], stopped: threading.Event) -> Iterator[str]:
        """The reply, piece by piece; ends early when `stopped`."""
        import torch
        from transformers import DynamicCache

        messages = [{"role": it.get("role"), "content": text_of(it.get("content"))} for it in body["messages"]]
        templated = bool(self._tokenizer.chat_template)
        if templated:
            prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "".join(f"{it['role']}: {it['content']}\n" for it in messages) + "assistant:"
        # a chat template writes the special tokens itself
        ids = self._tokenizer(prompt, add_special_tokens=not templated, return_tensors="pt").input_ids
        room = min(int(body.get("max_completion_tokens") or body.get("max_tokens") or LONGEST), LONGEST)
        window = getattr(self._model.config, "max_position_embeddings", None)
        if self._method is None and window is not None and ids.shape[1] + room > window:
            raise MnemicError(
                f"{ids.shape[1]} tokens and a reply of {room} exceed the {window} the model reads"
            )
        warmth = float(body.get("temperature") or 0)
        if self._method is None:
            cache: Any = DynamicCache(config=self._model.config)
        else:
            from mnemic.kv.attach import attach

            cache = attach(self._model, self._method, budget=self._budget)
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        given: list[int] = []
        said = ""
        with torch.inference_mode():
            while len(given) < room and not stopped.is_set():
                out = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                logits = out.logits[0, -1]  # [vocabulary]
                if warmth > 0:
                    chosen = torch.multinomial((logits.float() / warmth).softmax(-1), 1)
                else:
                    chosen = logits.argmax()[None]
                if int(chosen) in ends:
                    break
                given.append(int(chosen))
                ids = chosen[None]
                text = self._tokenizer.decode(given, skip_special_tokens=True)
                if len(text) > len(said) and not text.endswith("\ufffd"):  # a character may take several tokens
                    yield text[len(said) :]
                    said = text


def text_of(content: Any) -> str:
    """The words of a message's `content`: a string, or the text among its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _json(value: dict[str, Any], status: int = 200) -> Reply:
    async def once() -> AsyncIterator[bytes]:
        yield json.dumps(value, ensure_ascii=False).encode()

    async def nothing() -> None:
        pass

    return Reply(status, "application/json", once(), nothing)


async def _events(head: dict[str, Any], texts: AsyncIterator[str]) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = head | {"object": "chat.completion.chunk", "choices": [choice]}
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for text in texts:
            yield chunk({"content": text})
    except MnemicError as error:
        yield f"data: {json.dumps({'error': {'message': str(error), 'code': 400}})}\n\n".encode()
        return
    yield chunk({}, "stop")
    yield b"data: [DONE]\n\n"
