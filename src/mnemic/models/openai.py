"""Any OpenAI-compatible server as a `LanguageModel` (needs the extra `api`)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import Any

from mnemic.types import Message, MnemicError

TRIES = 4
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})  # statuses worth another try


class OpenAIModel:
    """`model` behind `base_url` (".../v1"); what is not given comes from OPENAI_BASE_URL, _MODEL and _API_KEY.

    Args:
        timeout: seconds to wait for a reply.
        pause: seconds before the second try; doubled, with some chance in it, before each further one.

    Raises:
        MnemicError: httpx is not installed, or no address or model is given.
    """

    def __init__(
        self,
        base_url: str | None = None,
        model: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 120.0,
        pause: float = 0.5,
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise MnemicError("an OpenAI-compatible server needs httpx: pip install 'mnemic[api]'") from None
        url = base_url or os.environ.get("OPENAI_BASE_URL")
        name = model or os.environ.get("OPENAI_MODEL")
        if not url or not name:
            raise MnemicError("say where the model is: set OPENAI_BASE_URL (http://.../v1) and OPENAI_MODEL")
        key = api_key or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.name = name
        self._url = url.rstrip("/") + "/chat/completions"
        self._pause = pause
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=10.0))

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """The reply, at temperature 0, of at most `max_tokens` tokens.

        Raises:
            MnemicError: the server cannot be reached, refuses, or answers with something else than a reply.
        """
        chat = [{"role": message.role, "content": message.content} for message in messages]
        body = {"model": self.name, "messages": chat, "max_tokens": max_tokens, "temperature": 0}
        reply = self._post(body)
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise MnemicError(f"{self._url} answered without a message: {str(reply)[:200]}")
        return text

    def _post(self, body: dict[str, Any]) -> Any:
        import httpx

        for trial in range(TRIES):
            wait = self._pause * 2**trial * random.uniform(1, 1.5)
            try:
                response = self._client.post(self._url, json=body)
            except httpx.TransportError as error:
                trouble = f"cannot reach {self._url}: {error or type(error).__name__}"
            else:
                if response.status_code == 200:
                    try:
                        return response.json()
                    except ValueError:
                        raise MnemicError(
                            f"{self._url} answered, but not JSON: {response.text[:200]}"
                        ) from None
                trouble = f"{self._url} refused with status {response.status_code}: {response.text[:200]}"
                if response.status_code not in AGAIN:
                    break
                asked = response.headers.get("retry-after", "")
                wait = min(float(asked), 60.0) if asked.isdigit() else wait
            if trial + 1 < TRIES:
                time.sleep(wait)
        raise MnemicError(f"{trouble}; check OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY")
