"""Trains the reference model, resumably: `mnemic train-reference`.

What was written down stays (`WRITTEN`); the two layers above it and the last norm learn.
The lessons of step s come from the seed and s alone, the rate from s alone: a run that was stopped goes on as
if it had not been. AdamW; the rate rises over `WARM` steps and falls to nothing over the last third.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.models.reference.lessons import KINDS, batch
from mnemic.models.reference.start import start
from mnemic.models.reference.words import tokenizer
from mnemic.types import MnemicError

RATE, WARM = 1e-3, 50
WRITTEN = ("embed_tokens", "layers.0.", "layers.1.", "lm_head")  # the circuit of `start`
STEPS = 1100
EVERY, MEMORY = 20, 0.95  # steps a line of the log; what a running mean keeps a step
CHECKPOINT, LOG = "checkpoint.pt", "training.jsonl"


@dataclass(frozen=True)
class Stage:
    """A share of all steps, on batches of `rows` pages of `length` tokens."""

    share: float
    rows: int
    length: int


STAGES = (Stage(0.45, 16, 128), Stage(0.2, 8, 256), Stage(0.35, 4, 512))


def stage(step: int, steps: int) -> Stage:
    """The stage that `step` of `steps` belongs to."""
    passed = np.cumsum([each.share for each in STAGES])
    return STAGES[min(int(np.searchsorted(passed, step / steps, "right")), len(STAGES) - 1)]


def rate(step: int, steps: int) -> float:
    """The learning rate of a step."""
    return RATE * min(1.0, (step + 1) / WARM, 3 * (steps - step) / steps)


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
    model = start(seed).to(device).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in WRITTEN))
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, RATE, betas=(0.9, 0.98), weight_decay=0.0)
    first, spent, means = _resume(out, model, optimizer, {"seed": seed, "steps": steps})
    began = kept = time.monotonic()
    with (
        (out / LOG).open("a", encoding="utf-8") as log,
        tqdm(total=steps, initial=first, unit="step", file=sys.stderr, disable=not progress) as bar,
    ):
        for step in range(first, steps):
            seconds = spent + time.monotonic() - began
            late = minutes is not None and time.monotonic() - began > 60 * minutes
            if late or time.monotonic() - kept > 60:
                _keep(out, model, optimizer, step, seconds, means, {"seed": seed, "steps": steps})
                kept = time.monotonic()
            if late:
                return False
            now = stage(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            pages = batch(np.random.default_rng([seed, step]), now.rows, now.length)
            loss, right = learn(model, optimizer, *pages)
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
    model.eval().to("cpu", torch.bfloat16).save_pretrained(out)
    tokenizer().save_pretrained(out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return True


def learn(model: Any, optimizer: Any, ids: Any, weight: Any, kinds: Any) -> tuple[float, dict[str, float]]:
    """One step on a batch (see `lessons.batch`): the loss, and the share of right answers per kind."""
    import torch
    from torch.nn.functional import cross_entropy

    device = model.device
    ids, kinds = torch.from_numpy(ids).to(device), torch.from_numpy(kinds).to(device)
    weight = torch.from_numpy(weight).float().to(device)[:, 1:]
    asked = weight > 0
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1][asked]
    logits, right = model.lm_head(hidden), ids[:, 1:][asked]
    loss = (cross_entropy(logits, right, reduction="none") * weight[asked]).sum() / weight.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    good = (logits.argmax(1) == right).float()
    kind = kinds[:, None].expand_as(asked)[asked]
    share = {name: float(good[kind == i].mean()) for i, name in enumerate(KINDS) if (kind == i).any()}
    return loss.item(), share


def _keep(
    out: Path,
    model: Any,
    optimizer: Any,
    step: int,
    seconds: float,
    means: dict[str, float],
    run: dict[str, int],
) -> None:
    import torch

    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "run": run}
    beside = out / (CHECKPOINT + ".new")
    torch.save(state | {"step": step, "seconds": seconds, "means": means}, beside)
    beside.replace(out / CHECKPOINT)


def _resume(out: Path, model: Any, optimizer: Any, run: dict[str, int]) -> tuple[int, float, dict[str, float]]:
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
    kept = [line for line in (out / LOG).read_text().splitlines() if json.loads(line)["step"] <= state["step"]]
    (out / LOG).write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return state["step"], state["seconds"], state["means"]
