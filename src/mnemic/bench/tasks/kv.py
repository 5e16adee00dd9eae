"""Needles in a text far beyond a model's window, asked of a cache with a budget."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.types import MnemicError
from mnemic.worlds import tokens

NAME = "kv"
WINDOW = 512  # of both models
FOLDER = None
PROTOCOL = """One generated text tells 200 facts of identical form, at random places among filler words. It is
read once, without any question being known; the cache is saved and opened again, and 100 of the facts are asked
of it one by one. The model is the reference model (mnemic.models.load_reference; its window is 512 tokens), or
with model=lookup the written-down one, exact within 512 tokens and lost far beyond, whose every miss is the
cache's. A case is a fact; accuracy: the greedy next token is its value. Every method gets the same bytes (of
the tier at hand, where it has two), by default those of one window of the full cache, so that all a token
sees is no more than the model was trained on; a method whose least size is above them has no row
(extra.too_small); "full" has no limit.
resident_growth: anonymous memory of the process gained while reading all but the first eighth of the text.
"retrieval-attention exact" looks at every key instead of searching lists.
Options: task=needle, model=reference, length=4096, methods=streaming,h2o, budget=4MiB."""

FACTS, ASKED = 200, 100
SMALL = {  # hyper-parameters for windows of 512 tokens, where a paper's own are for thousands
    "infllm": {"block": 8, "sinks": 16, "chosen": 16},
    "quest": {"block": 4, "sinks": 16, "chosen": 32},
    "em-llm": {"block": 32, "sinks": 16, "chosen": 4, "shortest": 4, "longest": 32},
    "retrieval-attention": {"block": 32, "sinks": 16, "chosen": 4},
    "retrieval-attention exact": {"block": 32, "sinks": 16, "chosen": 4, "segment": 2**40},
    "squeezed-attention": {"block": 64, "sinks": 16, "room": 128, "wide": 64},
}
METHODS = "full,streaming,h2o,tova,snapkv,kivi,infllm,quest,em-llm,squeezed-attention,retrieval-attention"


def run(data: Path | None, options: Options) -> Outcome:
    import torch

    from mnemic import kv

    length = int(options.extra.get("length", 4096))
    methods = options.extra.get("methods", METHODS).split(",")
    if (task := options.extra.get("task", "needle")) != "needle":
        raise MnemicError(f"the bench kv has no task {task!r}: it asks for needles (task=needle)")
    if length % WINDOW:
        raise MnemicError(
            f"length {length} is no multiple of {WINDOW}; blocks must be over when the asking begins"
        )
    model = _model(options.extra.get("model", "reference"), options.seed)
    rng = np.random.default_rng([options.seed, length])
    told = tokens.facts(rng, FACTS)
    text = torch.from_numpy(tokens.tell(rng, told, length))
    rows = options.chosen(list(rng.permutation(FACTS)[:ASKED]), lambda row: f"{options.seed}.{row}")
    layer = model.model.layers[0].self_attn
    pair = 2 * 4 * model.config.num_key_value_heads * layer.head_dim * model.config.num_hidden_layers
    budget = options.extra.get("budget", str(WINDOW * pair))
    systems: dict[str, list[Row]] = {}
    sizes: dict[str, Any] = {}
    too_small: dict[str, str] = {}
    for method in methods:
        given = None if method == "full" else budget
        cache = kv.attach(model, kv.policy(method.split()[0], **SMALL.get(method, {})), budget=given)
        began = time.monotonic()
        try:
            kv.read(model, cache, text[: length // 8], progress=False)
            resident = _anonymous()
            kv.read(model, cache, text[length // 8 :], progress=not options.quiet)
        except MnemicError as error:
            too_small[method] = str(error)
            continue
        read = time.monotonic() - began
        grown = _anonymous() - resident
        with TemporaryDirectory() as folder:
            cache = kv.load(kv.save(cache, Path(folder) / "cache.safetensors"), model)
        systems[method] = []
        began = time.monotonic()
        for row in options.progress(rows, method):
            question, answer = tokens.ask_value(told, int(row))
            with torch.inference_mode():
                logits = model(torch.tensor([question]), past_key_values=cache).logits[0, -1]
            cache.crop(-len(question))
            right = float(int(logits.argmax()) == answer[0])
            systems[method].append({"id": f"{options.seed}.{row}", "accuracy": right})
        sizes[method] = {
            "nbytes": cache.nbytes, "nbytes_offloaded": cache.nbytes_offloaded,
            "tokens_per_second": round(length / read), "resident_growth": grown,
            "ms_a_question": round(1000 * (time.monotonic() - began) / max(1, len(rows)), 1),
        }  # fmt: skip
    extra = {
        "length": length, "budget": budget, "full_nbytes": length * pair, "sizes": sizes,
        "too_small": too_small,
    }  # fmt: skip
    return Outcome(systems=systems, default=next(iter(systems), methods[0]), extra=extra)


def _model(name: str, seed: int) -> Any:
    from mnemic.models import load_reference
    from mnemic.models.lookup import lookup

    if name == "lookup":
        return lookup(seed)
    if name == "reference":
        return load_reference()[0]
    raise MnemicError(f"the bench kv has no model {name!r}; there are: reference, lookup")


def _anonymous() -> int:
    """Bytes of anonymous resident memory of this process; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
