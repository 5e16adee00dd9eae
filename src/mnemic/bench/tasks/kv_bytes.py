"""Whether a cache takes the memory it says it takes: a process a method, what is resident beside `nbytes`."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mnemic.bench.runner import Options, Outcome, Row
from mnemic.heap import give_back
from mnemic.types import MnemicError

NAME = "kv_bytes"
FOLDER = None
PROTOCOL = """A random Llama model in bfloat16 (16 layers of 16 key-value heads of 64 channels: 64 KiB a token)
reads 1,024 random tokens into a cache, in a process of its own for each method; its full cache has 64 MiB.
Every method gets a quarter of that, of two tiers the fast one; "full", "kivi, all in 2 bits" and "mikv, all
kept" (a sixteenth of it important) hold every token. resident_share: what the process' anonymous resident
memory grew by, over cache.nbytes; off: how far that is from 1; of_full: the growth over the bytes of the full
cache; kept: tokens still there, of those read. "all methods" has a case a method. Before reading, the process
reads a little with another cache and lets it go, so that what PyTorch sets up once is not counted; freed memory
is handed back to the system before each look at it. Methods that
need more than their quarter: extra.too_small. Options: tokens=1024, methods=NAMES."""

LAYERS, HEADS, WIDTH, TOKENS = 16, 16, 64, 1024
TOKEN_NBYTES = 2 * 2 * LAYERS * HEADS * WIDTH
SETTINGS = {  # for a text of 1,024 tokens; steps, length and passkeys are of a first look at the model
    "block": 32, "sinks": 16, "local": 64, "residual": 64, "chosen": 2, "room": 64, "middle": 32, "steps": 2,
    "length": 32, "passkeys": 4,
}  # fmt: skip
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "kivi, all in 2 bits": ("kivi", {}),
    "mikv, all kept": ("mikv", {"ratio": 1 / 16}),
}


def run(data: Path | None, options: Options) -> Outcome:
    """Measure every method.

    Raises:
        MnemicError: the system does not say what is resident, or a process failed.
    """
    if not anonymous():
        raise MnemicError(
            "this system does not say what memory is resident (/proc/self/smaps_rollup): use Linux"
        )
    count = int(options.extra.get("tokens", TOKENS))
    given = options.extra.get("methods")
    wanted = given.split(",") if given else [*WHOLE, *(name for name in attachable() if name != "full")]
    systems: dict[str, list[Row]] = {"all methods": []}
    sizes, too_small = {}, {}
    for name in options.progress(wanted, "methods"):
        method, settings = WHOLE.get(name, (name, {}))
        known = set(vars(_policy(method)))
        settings = settings | {key: value for key, value in SETTINGS.items() if key in known}
        budget = None if name in WHOLE and method != "mikv" else count * TOKEN_NBYTES // 4
        task = [method, settings, budget, count]
        found = options.kept({"kv_bytes": PROTOCOL, "task": task}, partial(_alone, *task))
        if "refused" in found:
            too_small[name] = found["refused"]
            continue
        share = found["grown"] / found["nbytes"]
        row = {"resident_share": share, "off": abs(share - 1), "of_full": found["grown"] / count / TOKEN_NBYTES}
        row["kept"] = found["kept"]
        systems["all methods"].append({"id": name, **row})
        systems[name] = [{"id": f"alone: {name}", **row}]
        sizes[name] = found
    extra = {"tokens": count, "full_nbytes": count * TOKEN_NBYTES, "sizes": sizes, "too_small": too_small}
    return Outcome(systems, "all methods", extra)


def attachable() -> Iterator[str]:
    """The methods that a cache can be attached with."""
    from mnemic import recipes

    for name in recipes.names("kv"):
        try:
            _policy(name)
        except MnemicError:
            continue
        yield name


def anonymous() -> int:
    """Bytes of anonymous resident memory of this process; 0 where the system does not say."""
    rollup = Path("/proc/self/smaps_rollup")
    lines = rollup.read_text().splitlines() if rollup.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:")), 0)


def measure(method: str, settings: dict[str, Any], budget: int | None, count: int) -> dict[str, Any]:
    """What reading with this method leaves in this process: bytes grown, `nbytes`, share of tokens kept."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from mnemic import kv

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 768, "max_position_embeddings": 65536}
    config = LlamaConfig(
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=WIDTH, **shape
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    policy = _policy(method, **settings).prepared(model)
    ids = torch.randint(0, 768, (1, count))
    kv.read(model, kv.attach(model, policy, budget=budget), ids[:, : count // 4], progress=False)
    before = _settled()
    cache = kv.attach(model, policy, budget=budget)
    kv.read(model, cache, ids, progress=False)
    kept = max(layer["kept"] for layer in cache.report()) / count
    return {"grown": _settled() - before, "nbytes": cache.nbytes, "kept": kept}


def _policy(method: str, **settings: Any) -> Any:
    from mnemic import kv

    return kv.policy(method, **settings)


def _settled() -> int:
    """Anonymous memory when everything freed has gone back to the system."""
    gc.collect()
    give_back()
    return anonymous()


def _alone(*task: Any) -> dict[str, Any]:
    """`measure` in a process of its own."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, *task))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] | str = ours.recv()
    except EOFError:
        found = "the process broke off"
    process.join()
    if isinstance(found, str):
        raise MnemicError(f"measuring {task[0]} failed: {found}")
    return found


def _answer(pipe: Any, *task: Any) -> None:
    try:
        pipe.send(measure(*task))
    except MnemicError as error:
        pipe.send({"refused": str(error)})
    except Exception as error:  # whatever it is, it is told where it is waited for
        pipe.send(f"{type(error).__name__}: {error}")
