"""Trains the reference model from random weights, resumably: `mnemic train-reference`.

Everything learns, on answers only. So that what retrieves can be told from what does not, heads of the lower
layers are silent now and then, and after a share `FORMED` of the steps all layers but the lowest keep `KEPT`
heads each (`heads.py`). The lessons of step s come from the seed and s alone, so do the silent heads, and the
rate from s alone: a run that was stopped goes on as if it had not been. AdamW; the rate rises over `WARM` steps
and falls to nothing over the last `FALL` of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.models.reference.heads import Heads
from mnemic.models.reference.lessons import KINDS, batch
from mnemic.models.reference.start import start
from mnemic.models.reference.words import tokenizer
from mnemic.types import MnemicError

RATE, WARM, FALL = 2e-3, 100, 0.4
STEPS = 4400
DROPPED = 0.1  # of the heads of the lower layers, a row and step
FORMED, KEPT = 0.5, 2
EVERY, MEMORY = 20, 0.95  # steps a line of the log; what a running mean keeps a step
WORKERS, AHEAD = 3, 12  # processes that make lessons for a GPU, batches made ahead
CHECKPOINT, LOG = "checkpoint.pt", "training.jsonl"


@dataclass(frozen=True)
class Stage:
    """A share of all steps, on batches of `rows` pages of `length` tokens."""

    share: float
    rows: int
    length: int


STAGES = (Stage(0.45, 64, 128), Stage(0.25, 32, 256), Stage(0.3, 16, 512))


def stage(step: int, steps: int) -> Stage:
    """The stage that `step` of `steps` belongs to."""
    passed = np.cumsum([each.share for each in STAGES])
    return STAGES[min(int(np.searchsorted(passed, step / steps, "right")), len(STAGES) - 1)]


def rate(step: int, steps: int) -> float:
    """The learning rate of a step."""
    return RATE * min(1.0, (step + 1) / WARM, (steps - step) / steps / FALL)


def train(
    out: Path, *, steps: int = STEPS, minutes: float | None = None, seed: int = 0, progress: bool = True
) -> bool:
    """Train up to `steps` steps, from the checkpoint in `out` if one is there; whether the model is finished.

    A finished model lies in `out` as transformers saves it (bfloat16), with its tokenizer and training log.

    Args:
        minutes: stop after so long; calling it again goes on.

    Raises:
        MnemicError: the checkpoint in `out` is of another seed or number of steps.
    """
    import torch
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    model = start(seed).to(device).train()
    heads = Heads(model)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.0)
    first, spent, means = _resume(out, model, heads, optimizer, {"seed": seed, "steps": steps})
    began = kept = time.monotonic()
    with (
        (out / LOG).open("a", encoding="utf-8") as log,
        tqdm(total=steps, initial=first, unit="step", file=sys.stderr, disable=not progress) as bar,
    ):
        for step, pages in lessons(seed, first, steps, WORKERS if device == "cuda" else 0):
            seconds = spent + time.monotonic() - began
            late = minutes is not None and time.monotonic() - began > 60 * minutes
            if late or time.monotonic() - kept > 60:
                _keep(out, model, heads, optimizer, step, seconds, means, {"seed": seed, "steps": steps})
                kept = time.monotonic()
            if late:
                return False
            now = stage(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            if step == int(FORMED * steps):
                with torch.no_grad():
                    heads.keep_best(KEPT, lambda pages=pages: float(answered(model, *pages[:2])[0]))  # type: ignore[misc]
            rng = np.random.default_rng([seed, step, 1])
            loss, right = learn(model, optimizer, heads, rng, *pages)
            for kind, share in right.items():
                means[kind] = share if kind not in means else MEMORY * means[kind] + (1 - MEMORY) * share
            bar.update()
            bar.set_postfix_str(" ".join(f"{kind} {mean:.3f}" for kind, mean in means.items()))
            if step % EVERY == 0 or step + 1 == steps:
                line: dict[str, float] = {
                    "step": step + 1,
                    "rows": now.rows,
                    "length": now.length,
                    "seconds": round(seconds),
                }
                line |= {"loss": round(loss, 3)} | {kind: round(mean, 3) for kind, mean in means.items()}
                log.write(json.dumps(line) + "\n")
                log.flush()
    heads.leave()
    model.eval().to("cpu", torch.bfloat16).save_pretrained(out)
    tokenizer().save_pretrained(out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return True


def lessons(seed: int, first: int, steps: int, workers: int) -> Iterator[tuple[int, Any]]:
    """Every step and its batch; made ahead by so many other processes, 0: by this one."""
    if not workers:
        yield from ((step, _lessons(seed, step, steps)) for step in range(first, steps))
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            coming = deque(
                pool.submit(_lessons, seed, step, steps) for step in range(first, min(first + AHEAD, steps))
            )
            for step in range(first, steps):
                if step + AHEAD < steps:
                    coming.append(pool.submit(_lessons, seed, step + AHEAD, steps))
                yield step, coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _lessons(seed: int, step: int, steps: int) -> Any:
    now = stage(step, steps)
    return batch(np.random.default_rng([seed, step]), now.rows, now.length)


def learn(
    model: Any, optimizer: Any, heads: Heads, rng: np.random.Generator, ids: Any, weight: Any, kinds: Any
) -> tuple[float, dict[str, float]]:
    """One step on a batch (see `lessons.batch`): the loss, and the share of right answers per kind."""
    import torch

    device = model.device
    heads.draw(rng, DROPPED, len(ids))
    loss, good, asked = answered(model, ids, weight)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    kind = torch.from_numpy(kinds).to(device)[:, None].expand_as(asked)[asked]
    share = {name: float(good[kind == i].mean()) for i, name in enumerate(KINDS) if (kind == i).any()}
    return loss.item(), share


def answered(model: Any, ids: Any, weight: Any) -> tuple[Any, Any, Any]:
    """The loss of a batch, which answers are right [n], and where they are due [rows, length - 1]."""
    import torch
    from torch.nn.functional import cross_entropy

    ids = torch.from_numpy(ids).to(model.device)
    weight = torch.from_numpy(weight).float().to(model.device)[:, 1:]
    asked = weight > 0
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1][asked]
    logits, right = model.lm_head(hidden), ids[:, 1:][asked]
    loss = (cross_entropy(logits, right, reduction="none") * weight[asked]).sum() / weight.sum()
    return loss, (logits.argmax(1) == right).float(), asked


def _keep(
    out: Path,
    model: Any,
    heads: Heads,
    optimizer: Any,
    step: int,
    seconds: float,
    means: dict[str, float],
    run: dict[str, int],
) -> None:
    import torch

    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "run": run, "kept": heads.kept}
    beside = out / (CHECKPOINT + ".new")
    torch.save(state | {"step": step, "seconds": seconds, "means": means}, beside)
    beside.replace(out / CHECKPOINT)


def _resume(
    out: Path, model: Any, heads: Heads, optimizer: Any, run: dict[str, int]
) -> tuple[int, float, dict[str, float]]:
    """Take over the checkpoint, if there is one: the step to go on with, seconds spent, running means."""
    import torch

    path = out / CHECKPOINT
    if not path.exists():
        (out / LOG).unlink(missing_ok=True)
        return 0, 0.0, {}
    state = torch.load(path, map_location=model.device, weights_only=True)
    if state["run"] != run:
        raise MnemicError(
            f"{path} is of a run with {state['run']}, not {run}; name the same, or train into another folder"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    heads.kept.copy_(state["kept"])
    kept = [line for line in (out / LOG).read_text().splitlines() if json.loads(line)["step"] <= state["step"]]
    (out / LOG).write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return state["step"], state["seconds"], state["means"]
