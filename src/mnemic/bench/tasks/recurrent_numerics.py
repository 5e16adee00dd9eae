"""Whether every recurrent layer trains in bfloat16 without ever leaving the finite numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mnemic.bench.runner import Options, Outcome

NAME = "recurrent_numerics"
FOLDER = None
PROTOCOL = """
Every layer at its default settings (width 64, 2 heads), parameters and inputs in bfloat16, learns to say at
every token what stood 8 tokens before: steps of AdamW on random sequences, batch 8, length 256. `finite` is 1
if loss, gradients and states were finite at every step; `steps` is how many were, `loss` the mean of the last
tenth. A case is a start. --option steps=10000; length=256; layers=a,b for some.
"""


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic.recurrent import names

    steps, length = int(options.extra.get("steps", 10_000)), int(options.extra.get("length", 256))
    layers = options.extra["layers"].split(",") if "layers" in options.extra else names()
    systems = {
        layer: [{"id": f"start-{options.seed}"} | train(layer, steps, length, options.seed)]
        for layer in options.progress(layers, "layers")
    }
    return Outcome(systems, layers[0], {"steps": steps, "length": length})


def train(name: str, steps: int, length: int, seed: int, batch: int = 8) -> dict[str, Any]:
    """Train one layer until its last step, or the first that is not finite."""
    import torch

    from mnemic.recurrent import build

    torch.manual_seed(seed)
    layer = build(name, dim=64, heads=2).to(torch.bfloat16)
    adam = torch.optim.AdamW(layer.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    losses: list[float] = []
    for _ in range(steps):
        x = torch.randn(batch, length, 64, dtype=torch.bfloat16)
        y, state = layer(x)
        loss = (y[:, 8:].float() - x[:, :-8].float()).square().mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        numbers = [loss, norm, *(t for t in state.tensors.values() if t.is_floating_point())]
        if not all(bool(torch.isfinite(t).all()) for t in numbers):
            break
        adam.step()
        losses.append(float(loss.detach()))
    late = losses[-max(steps // 10, 1) :]
    return {
        "finite": float(len(losses) == steps),
        "steps": float(len(losses)),
        "loss": sum(late) / len(late) if late else math.nan,
    }
