"""What one step of decoding costs when clusters of keys are chosen, against attention over everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemic.bench.runner import Options, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from mnemic.attention.positions import Rotary

NAME = "kv_speed"
FOLDER = None
HEADS, WIDTH = 8, 64
FACTS = 120  # told in the shortest text, and as many again in what follows
CAP = 255  # no key seems farther: half the window of the reference model
PROTOCOL = """
One decode step of squeezed-attention (key, value and query of one token: kept, clusters chosen, attended)
against torch's scaled_dot_product_attention of the same query over all keys, alone: what a full cache costs
to append to is not counted. 8 key-value heads of 64 channels, float32, one thread, the two ways in turn in
one process. `times_faster` is the ratio of their wall times, `error` the length of the difference of the
outputs over that of the exact one, mean over heads, `worst` that of the worst head, `kept` the share of exact
attention on keys that were read, mean over heads (the rest is attended to by clusters). Keys, values and
queries are those of the 8 key-value heads of the reference model (mnemic.models.load_reference), all layers
side by side, while it reads a text of facts in filler through a window of 512 tokens; the last 255 keys stand
where they are, older ones all where the window ends, as in methods that cap distances. "asked" are questions
for facts told in the shortest of the texts, "filler" filler words after any of them. "isotropic" is normal
noise without any structure, the worst case: a sparse method should not be used where keys are so. A case is a
query. `sdpa_below` is the length up to which attention over everything was faster (`exact` of the method).
`write_us` is what clustering costs a token, for these 8 heads; extra.model_us what models take for one on the
same thread, on a chunk of 256 without any cache: "reference", whose 8 key-value heads these are, and "llama
layer", one layer of the shape of Llama 3.2 1B (2048 channels, 32 heads, 8 for keys, 8192 inside), drawn at
random; extra.write_share is the ratio.
--option lengths=65536,262144,1048576 queries=32 keys=reference,isotropic block=2048 room=1024 per_fine=4
per_coarse=64 wide=12 clock=wall (or thread: processor time, for a busy machine) folder=/dev/shm (where the
clusters lie, so that both ways read memory; else the system's temporary folder, from which pages that were not
read for a while come back from the disk).
"""


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    given = options.extra
    lengths = sorted(
        int(n) for n in given.get("lengths", "4096,8192,16384,65536,131072,262144,1048576").split(",")
    )
    queries, clock = int(given.get("queries", 32)), CLOCKS[given.get("clock", "wall")]
    method: dict[str, Any] = {
        name: int(given[name])
        for name in ("block", "local", "room", "per_fine", "per_coarse", "wide")
        if name in given
    }
    method |= {"folder": given["folder"]} if "folder" in given else {}
    systems: dict[str, list[dict[str, Any]]] = {}
    write: dict[str, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in given.get("keys", "reference,isotropic").split(","):
            texts = KEYS[name](lengths, queries, options.seed)
            reading = Reading(texts, clock, method)
            for length in options.progress([str(n) for n in lengths], name):
                for kind, rows in reading.measure(int(length)).items():
                    systems[f"{kind} {length}"] = rows
            write[name] = 1e6 * reading.wrote / max(1, reading.read)
            del texts, reading
        model = model_us(clock)
    finally:
        torch.set_num_threads(threads)
    tails = {
        system: float(np.quantile([row["error"] for row in rows], 0.99)) for system, rows in systems.items()
    }
    extra = {
        "error_p99": tails, "summary": compared(systems), "write_us": write, "model_us": model,
        "write_share": {
            name: {own: us / theirs for own, theirs in model.items()} for name, us in write.items()
        },
    }  # fmt: skip
    return Outcome(systems, next(iter(systems)), extra)


def model_us(clock: Callable[[], float], chunk: int = 256) -> dict[str, float]:
    """Microseconds a model takes for a token of a chunk, by name; the better of two passes."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    from mnemic.models import load_reference

    shape = LlamaConfig(
        hidden_size=2048, num_attention_heads=32, num_key_value_heads=HEADS, head_dim=WIDTH,
        intermediate_size=8192, num_hidden_layers=1, vocab_size=8,
    )  # fmt: skip
    models = {"reference": load_reference()[0].model, "llama layer": LlamaModel(shape).eval()}
    found: dict[str, float] = {}
    for name, model in models.items():
        taken = []
        for _ in range(2):
            begun = clock()
            with torch.inference_mode():
                model(torch.zeros(1, chunk, dtype=torch.long), use_cache=False)
            taken.append(clock() - begun)
        found[name] = 1e6 * min(taken) / chunk
    return found


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
    """A text's keys and values [1, g, n, d], and questions asked after any beginning of it.

    Keys have no positions where `rotary` is given: they are seen as far away as the window reaches, but for the
    last of the text, which stand where they are.

    Attributes:
        heard: queries of the text itself [1, g, n, d].
        queries: of each question's last token [1, g, m, d].
        asking: keys and values of the tokens of each question [1, g, m, t, d], m as for queries.
        kinds: of questions, as many of each, in this order.
    """

    keys: Tensor
    values: Tensor
    heard: Tensor
    queries: Tensor
    asking: tuple[Tensor, Tensor]
    kinds: tuple[str, ...]
    rotary: Rotary | None = None


def isotropic(lengths: Sequence[int], queries: int, seed: int) -> Texts:
    import torch

    random = torch.Generator().manual_seed(seed)
    keys, values, asking = (
        torch.randn(1, HEADS, n, WIDTH, generator=random) for n in (lengths[-1], lengths[-1], queries)
    )
    own = (torch.randn(1, HEADS, queries, 1, WIDTH, generator=random) for _ in range(2))
    return Texts(keys, values, keys, asking, (next(own), next(own)), ("isotropic",))


def recorded(lengths: Sequence[int], queries: int, seed: int) -> Texts:
    """What the 8 key-value heads of the reference model see, all layers side by side."""
    import torch

    from mnemic import kv
    from mnemic.attention.positions import rotary_of
    from mnemic.kv import score
    from mnemic.kv.policy import Layer
    from mnemic.kv.slots import Slots
    from mnemic.models import load_reference
    from mnemic.worlds import tokens

    model, rng = load_reference()[0], np.random.default_rng(seed)
    told = tokens.facts(rng, 2 * FACTS)
    words = tokens.tell(rng, told[:FACTS], lengths[0])
    if lengths[-1] > lengths[0]:
        more = tokens.tell(rng, told[FACTS:], lengths[-1] - lengths[0] + 1)
        words = np.concatenate((words, more[1:]))
    seen: list[list[tuple[Tensor, Tensor, Tensor]]] = []

    class Recorder(Slots):
        made: list[tuple[Tensor, Tensor, Tensor]]

        def write(self, query: Tensor, keys: Tensor, values: Tensor, columns: Tensor) -> None:
            super().write(query, keys, values, columns)
            share = query.shape[1] // keys.shape[1]
            self.made.append((query[:, ::share].clone(), keys.clone(), values.clone()))

    class Windows(kv.Policy):
        def store(self, layer: Layer, nbytes: int | None) -> Slots:
            near = Recorder(
                scale=layer.scale, block=self.block, capacity=2 * self.block, rotary=layer.rotary(), cap=CAP,
                score=lambda slots: score.protect(score.recency(slots.columns), slots.columns, 1),
            )  # fmt: skip
            near.made = []
            seen.append(near.made)
            return near

    cache = kv.attach(model, Windows(block=256))
    kv.read(model, cache, torch.from_numpy(words), progress=False)
    asked = [tokens.ask_value(told, int(row))[0] for row in rng.permutation(FACTS)[:queries]]
    for question in asked + tokens.filler(rng, 2 * queries).reshape(-1, 2).tolist():
        with torch.inference_mode():
            model.model(torch.tensor([question]), past_key_values=cache)
        cache.crop(-2)
    kv.detach(model)
    made = [[torch.cat(part, 2) for part in zip(*layer, strict=True)] for layer in seen]
    for layer in seen:  # gigabytes, which the classes above would hold until they are collected
        layer.clear()
    query, keys, values = (torch.cat(part, 1) for part in zip(*made, strict=True))
    own = tuple(torch.unflatten(x[:, :, len(words) :], 2, (-1, 2)) for x in (keys, values))
    return Texts(
        keys[:, :, : len(words)], values[:, :, : len(words)], query[:, :, : len(words)],
        query[:, :, len(words) + 1 :: 2],
        (own[0], own[1]), ("asked", "filler"), rotary_of(model),
    )  # fmt: skip


KEYS: dict[str, Callable[[Sequence[int], int, int], Texts]] = {"reference": recorded, "isotropic": isotropic}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "thread": time.thread_time}


class Reading:
    """One text of growing length, in a store of clusters and as plain keys and values."""

    def __init__(self, texts: Texts, clock: Callable[[], float], method: dict[str, Any]) -> None:
        from mnemic.kv.policy import Layer
        from mnemic.kv.squeezed_attention import SqueezedAttention

        layer = Layer(
            index=0, count=1, rows=1, heads=HEADS, groups=HEADS, width=WIDTH, value_width=WIDTH,
            dtype=texts.keys.dtype, scale=WIDTH**-0.5, window=None, kind="full_attention", model=None,
        )  # fmt: skip
        self.texts = texts
        self.clock = clock
        self.store: Any = SqueezedAttention(exact=0, **method).store(layer, None)
        self.read = 0
        self.wrote = 0.0  # seconds spent on clustering

    def grow(self, length: int) -> None:
        """Keep the pairs up to `length`, clustering blocks as they leave."""
        while self.read < length:
            stop = min(length, self.read + self.store.block - self.read % self.store.block)
            self._write(self.read, stop)
            if stop % self.store.block == 0:
                begun = self.clock()
                self.store.settle(stop)
                self.wrote += self.clock() - begun
            self.read = stop

    def _write(self, start: int, stop: int) -> None:
        import torch

        keys, values = (x[:, :, start:stop] for x in (self.texts.keys, self.texts.values))
        self.store.near.write(keys, keys, values, torch.arange(start, stop, dtype=torch.int32)[None])

    def placed(self, x: Tensor, last: int = CAP) -> Tensor:
        """Keys or queries [1, g, n, d] up to `last` tokens after the place where all far keys are seen."""
        import torch

        if self.texts.rotary is None:
            return x
        return self.texts.rotary.place(x, torch.arange(last - x.shape[2] + 1, last + 1)[None, None])

    def measure(self, length: int) -> dict[str, list[dict[str, Any]]]:
        """For each question: both times, and how far the output is off, when `length` tokens are there."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        texts, store, own = self.texts, self.store, self.texts.asking[0].shape[3]
        told, near = length - own, length - CAP - 1  # what was told before; what is seen where it stands
        self.grow(near // store.block * store.block)
        keys, values = texts.keys[:, :, :length], texts.values[:, :, :length]
        before = keys[:, :, near:].clone(), values[:, :, near:].clone()
        keys[:, :, near:told] = self.placed(keys[:, :, near:told], CAP - own)
        self._write(self.read, told)
        columns = torch.arange(told, length, dtype=torch.int32)[None]
        rows: list[dict[str, Any]] = []
        for i in (0, *range(texts.queries.shape[2])):  # the first once more: it warms up
            keys[:, :, told:] = self.placed(texts.asking[0][:, :, i])
            values[:, :, told:] = texts.asking[1][:, :, i]
            query = self.placed(texts.queries[:, :, i : i + 1])
            if own > 1:
                store.near.write(query, keys[:, :, told:-1], values[:, :, told:-1], columns[:, :-1])
            exact, sdpa = self.timed(lambda: scaled_dot_product_attention(query, keys, values))  # noqa: B023
            last = (query, keys[:, :, -1:], values[:, :, -1:], columns[:, -1:])
            found, step = self.timed(lambda: store.step(*last))  # noqa: B023
            kept = self._kept(query, keys)
            store.crop(own, length)
            error = (found - exact).norm(dim=3) / exact.norm(dim=3)
            rows.append(
                {
                    "id": i, "times_faster": sdpa / step, "step_ms": 1e3 * step, "sdpa_ms": 1e3 * sdpa,
                    "error": float(error.mean()), "worst": float(error.max()), "kept": kept,
                }
            )  # fmt: skip
        store.crop(told - self.read, told)
        keys[:, :, near:], values[:, :, near:] = before
        each = len(rows[1:]) // len(texts.kinds)
        return {kind: rows[1 + i * each :][:each] for i, kind in enumerate(texts.kinds)}

    def _kept(self, query: Tensor, keys: Tensor) -> float:
        """The share of exact attention on the keys that the step reads, mean over heads."""
        store, scale = self.store, WIDTH**-0.5
        if not store.blocks:
            return 1.0
        every = (query @ keys.transpose(2, 3)).mul(scale).logsumexp(3)
        near = (query @ store.near.keys.transpose(2, 3)).mul(scale).logsumexp(3)
        chosen = store.choose(query)
        far = store.far["pairs"].rows.flatten(0, 3)[chosen.token][:, :, 0, :, :WIDTH]
        far = (query @ far.transpose(2, 3)).mul(scale).masked_fill(~chosen.real, -float("inf")).logsumexp(3)
        return float((near.logaddexp(far) - every).exp().mean())

    def timed(self, work: Callable[[], Tensor]) -> tuple[Tensor, float]:
        begun = self.clock()
        out = work()
        return out, self.clock() - begun
