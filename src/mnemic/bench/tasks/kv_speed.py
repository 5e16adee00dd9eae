"""What one step of decoding costs when clusters of keys are chosen, against attention over everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemic.bench.runner import Options, Outcome

if TYPE_CHECKING:
    from torch import Tensor

NAME = "kv_speed"
FOLDER = None
HEADS, WIDTH = 8, 64
FACTS = 200  # told once in a text
PROTOCOL = """
One decode step of squeezed-attention (key, value and query of one token: kept, clusters chosen, attended)
against torch's scaled_dot_product_attention of the same query over all keys, alone: what a full cache costs
to append to is not counted. 8 key-value heads of 64 channels, float32, one thread, the two ways in turn in
one process. `times_faster` is the ratio of their wall times, `error` the length of the difference of the
outputs over that of the exact one, worst head, `kept` the share of exact attention on what was read, mean
over heads. Keys, values and queries are those of the recalling layer of 8 lookup models that read a text of
200 facts in filler, without their positions (the distance to all is the same, as in methods that cap it):
"asked" are queries for facts, whose attention is on one key; "filler" those of filler words, whose attention
is spread evenly over all that ever followed the same word, which no choice of few keys can give. "isotropic"
is normal noise without any structure, the worst case: a sparse method should not be used where keys are so. A
case is a query. `sdpa_below` is the length up to which attention over everything was faster (`exact` of the
method). --option lengths=65536,262144,1048576 queries=32 room=1024 keys=lookup,isotropic.
"""


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    given = options.extra
    lengths = sorted(
        int(n) for n in given.get("lengths", "4096,8192,16384,65536,131072,262144,1048576").split(",")
    )
    queries, room = int(given.get("queries", 32)), int(given.get("room", 1024))
    systems: dict[str, list[dict[str, Any]]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in given.get("keys", "lookup,isotropic").split(","):
            texts = KEYS[name](lengths[-1], queries, options.seed)
            reading = Reading(texts, room)
            for length in options.progress([str(n) for n in lengths], name):
                for kind, rows in reading.measure(int(length)).items():
                    systems[f"{kind} {length}"] = rows
            del texts, reading
    finally:
        torch.set_num_threads(threads)
    tails = {
        system: float(np.quantile([row["error"] for row in rows], 0.99)) for system, rows in systems.items()
    }
    return Outcome(systems, next(iter(systems)), {"error_p99": tails, "summary": compared(systems)})


def compared(systems: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """By kind of keys: how a step grows, and the length up to which reading everything is faster."""
    found: dict[str, dict[str, float]] = {}
    for system, rows in systems.items():
        name, length = system.split()
        step, ratio = (float(np.median([row[key] for row in rows])) for key in ("step_ms", "times_faster"))
        each = found.setdefault(name, {"sdpa_below": 0.0})
        each[f"step_ms_{length}"] = step
        if ratio < 1:
            each["sdpa_below"] = float(length)
    for each in found.values():
        if {"step_ms_131072", "step_ms_1048576"} <= each.keys():
            each["growth_128k_to_1m"] = each["step_ms_1048576"] / each["step_ms_131072"]
    return found


@dataclass
class Texts:
    """Keys and values [1, g, n, d], and queries [1, g, m, d] that come after them."""

    keys: Tensor
    values: Tensor
    queries: Tensor
    kinds: tuple[str, ...]  # of queries, as many of each, in this order


def isotropic(length: int, queries: int, seed: int) -> Texts:
    import torch

    random = torch.Generator().manual_seed(seed)
    keys, values, asking = (
        torch.randn(1, HEADS, n, WIDTH, generator=random) for n in (length, length, queries)
    )
    return Texts(keys, values, asking, ("isotropic",))


def recorded(length: int, queries: int, seed: int) -> Texts:
    """What the recalling layer of lookup models sees; each gives one head."""
    import torch

    parts = [_record(length, queries, seed + head) for head in range(HEADS)]
    keys, values, asking = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return Texts(keys, values, asking, ("asked", "filler"))


def _record(length: int, queries: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values [1, 1, length, d] of a lookup model's last layer; queries of each kind after them."""
    import torch

    from mnemic import kv
    from mnemic.attention.positions import rotary_of
    from mnemic.kv.policy import Layer
    from mnemic.kv.slots import Slots
    from mnemic.models.lookup import WINDOW, lookup
    from mnemic.worlds import tokens

    model, rng = lookup(seed), np.random.default_rng(seed)
    told = tokens.facts(rng, FACTS)
    asked = [token for row in range(queries) for token in tokens.ask_value(told, row % FACTS)[0]]
    words = np.concatenate((tokens.tell(rng, told, length), asked, tokens.filler(rng, queries)))
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Recorder(Slots):
        def write(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> None:
            super().write(query, keys, values, columns)
            seen.append((query[:, :1].clone(), keys[:, :1].clone(), values[:, :1].clone()))

    class Windows(kv.Policy):
        def store(self, layer: Layer, nbytes: int | None) -> Slots:
            kind = Recorder if layer.index == layer.count - 1 else Slots
            return kind(scale=layer.scale, block=self.block, window=64, rotary=layer.rotary(), cap=WINDOW // 2)

    kv.read(model, kv.attach(model, Windows(block=256)), torch.tensor(words), progress=False)
    kv.detach(model)
    q, k, v = (torch.cat(part, 2) for part in zip(*seen, strict=True))
    q = rotary_of(model).place(q, torch.full((1, 1, 1), WINDOW // 2))
    after = torch.cat((q[:, :, length + 1 : length + 2 * queries : 2], q[:, :, length + 2 * queries :]), 2)
    return k[:, :, :length], v[:, :, :length], after


KEYS: dict[str, Callable[[int, int, int], Texts]] = {"lookup": recorded, "isotropic": isotropic}


class Reading:
    """One text of growing length, in a store of clusters and as plain keys and values."""

    def __init__(self, texts: Texts, room: int) -> None:
        from mnemic.kv.policy import Layer
        from mnemic.kv.squeezed_attention import SqueezedAttention

        policy = SqueezedAttention(room=room, exact=0)
        layer = Layer(
            index=0, count=1, rows=1, heads=HEADS, groups=HEADS, width=WIDTH, value_width=WIDTH,
            dtype=texts.keys.dtype, scale=WIDTH**-0.5, window=None, kind="full_attention", model=None,
        )  # fmt: skip
        self.texts = texts
        self.store: Any = policy.store(layer, None)
        self.read = 0

    def grow(self, length: int) -> None:
        """Keep the pairs up to `length`, clustering blocks as they leave."""
        import torch

        while self.read < length:
            stop = min(length, self.read + self.store.block - self.read % self.store.block)
            keys, values = (x[:, :, self.read : stop] for x in (self.texts.keys, self.texts.values))
            self.store.near.write(keys, keys, values, torch.arange(self.read, stop, dtype=torch.int32)[None])
            if stop % self.store.block == 0:
                self.store.settle(stop)
            self.read = stop

    def measure(self, length: int) -> dict[str, list[dict[str, Any]]]:
        """For each query: both times, and how far the output is off, when `length` tokens are there."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        self.grow(length - 1)
        keys, values = self.texts.keys[:, :, :length], self.texts.values[:, :, :length]
        column = torch.tensor([[length - 1]], dtype=torch.int32)
        rows: list[dict[str, Any]] = []
        with torch.inference_mode():
            self.store.step(
                self.texts.queries[:, :, :1], keys[:, :, -1:], values[:, :, -1:], column
            )  # warms up
            self.store.crop(1, length)
            for i, query in enumerate(torch.split(self.texts.queries, 1, 2)):
                exact, sdpa = timed(lambda: scaled_dot_product_attention(query, keys, values))  # noqa: B023
                found, step = timed(lambda: self.store.step(query, keys[:, :, -1:], values[:, :, -1:], column))  # noqa: B023
                kept = self._kept(query, keys)
                self.store.crop(1, length)
                error = (found - exact).norm(dim=3) / exact.norm(dim=3)
                rows.append(
                    {
                        "id": i, "times_faster": sdpa / step, "step_ms": 1e3 * step, "sdpa_ms": 1e3 * sdpa,
                        "error": float(error.max()), "kept": kept,
                    }
                )  # fmt: skip
        each = len(rows) // len(self.texts.kinds)
        return {kind: rows[i * each : (i + 1) * each] for i, kind in enumerate(self.texts.kinds)}

    def _kept(self, query: Tensor, keys: Tensor) -> float:
        """The share of exact attention on what the step reads, mean over heads."""
        store, scale = self.store, WIDTH**-0.5
        every = (query @ keys.transpose(2, 3)).mul(scale).logsumexp(3)
        near = (query @ store.near.keys.transpose(2, 3)).mul(scale).logsumexp(3)
        token, real = store.choose(query)
        far = store.far["pairs"].rows.flatten(0, 3)[token][:, :, 0, :, :WIDTH]
        far = (query @ far.transpose(2, 3)).mul(scale).masked_fill(~real, -float("inf")).logsumexp(3)
        return float((near.logaddexp(far) - every).exp().mean())


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    out = work()
    return out, time.perf_counter() - begun
