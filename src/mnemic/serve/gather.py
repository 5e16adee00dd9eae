"""Questions that arrive together are embedded together: one pass of the model for all that wait.

While one batch is computed the next one gathers, so a lone question waits for nobody and many share the cost.
A vector is held only while its question is being answered; nothing of a question outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mnemic.types import Embedder, Floats, Part

BATCH = 64  # questions embedded in one pass


class Gathered:
    """`inner`, an `Embedder`, for which questions can be prepared together from one event loop."""

    def __init__(self, inner: Embedder, seen: Callable[[int], None] = lambda size: None) -> None:
        """`seen` is told the size of each batch."""
        self.name, self.dim, self.fingerprint = inner.name, inner.dim, inner.fingerprint
        self._inner = inner
        self._seen = seen
        self._held: dict[str, Floats] = {}
        self._holders: Counter[str] = Counter()
        self._waiting: dict[str, asyncio.Future[Floats]] = {}
        self._turn: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="mnemic-embed")

    def encode(self, texts: Sequence[str]) -> Floats:
        """As `inner.encode`; what is held is not computed again."""
        held = [self._held.get(text) for text in texts]
        if texts and all(vector is not None for vector in held):
            return np.stack([vector for vector in held if vector is not None])
        return self._inner.encode(texts)

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """As `inner.parts`."""
        return self._inner.parts(texts)

    @contextlib.asynccontextmanager
    async def holding(self, text: str) -> AsyncIterator[None]:
        """While this is open, `encode([text])` costs nothing."""
        vector = self._held.get(text)
        if vector is None:
            vector = await asyncio.shield(self._asked(text))
        self._held[text] = vector
        self._holders[text] += 1
        try:
            yield
        finally:
            self._holders[text] -= 1
            if not self._holders[text]:
                del self._holders[text], self._held[text]

    def close(self) -> None:
        """End the thread that computes."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _asked(self, text: str) -> asyncio.Future[Floats]:
        loop = asyncio.get_running_loop()
        if text not in self._waiting:
            self._waiting[text] = loop.create_future()
        future = self._waiting[text]
        if self._turn is None or self._turn.done():
            self._turn = loop.create_task(self._compute())
        return future

    async def _compute(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = dict(list(self._waiting.items())[:BATCH])
            for text in batch:
                del self._waiting[text]
            self._seen(len(batch))
            try:
                vectors = await loop.run_in_executor(self._worker, self._inner.encode, list(batch))
            except BaseException as error:
                for future in batch.values():
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # seen, also where nobody waits any more
                if not isinstance(error, Exception):
                    raise
                continue
            for future, vector in zip(batch.values(), vectors, strict=True):
                if not future.done():
                    future.set_result(vector)
