"""Whether every recurrent layer trains in bfloat16 without ever leaving the finite numbers."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mnemic.bench.runner import Options, Outcome
from mnemic.bench.training import fingerprint

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "recurrent_numerics"
FOLDER = None
PROTOCOL = """
Every layer at its default settings (width 64, 2 heads), parameters and inputs in bfloat16, learns to say at
every token what stood 8 tokens before: steps of AdamW on random sequences, batch 8, length 256. `finite` is 1
if loss, gradients and states were finite at every step taken; `steps` is how many were, `loss` the mean of
the last tenth. A case is a start. Encoders are asked the same, jrt after it has read ahead, vig of an image
as square as the length allows; order-matters, which answers with no token for a token, points to the 8
members with the highest first number, in order. --option steps=10000; length=256; seconds=S: a layer stops
after so many seconds of processor time, and `steps` says how far it came; layers=a,b for some; device=cuda.
On a processor, products of bfloat16 have sums in float32 and are rounded once, as matrix units make them
(mnemic.bench.products). A layer that was trained to its end is not trained again when a run goes on; one that
was cut off goes on from its last 500 steps.
"""


HEADLESS = ("order-matters", "vim")


def run(data: Path | None, options: Options) -> Outcome:
    from mnemic.recurrent import names

    steps, length = int(options.extra.get("steps", 10_000)), int(options.extra.get("length", 256))
    seconds = float(options.extra.get("seconds", math.inf))
    layers = options.extra["layers"].split(",") if "layers" in options.extra else [*names(), *names("encoder")]
    device = options.extra.get("device", "cpu")
    systems = {
        layer: [{"id": f"start-{options.seed}"} | measure(layer, steps, length, seconds, device, options)]
        for layer in options.progress(layers, "layers")
    }
    return Outcome(systems, layers[0], {"steps": steps, "length": length, "device": device})


def measure(
    name: str, steps: int, length: int, seconds: float, device: str, options: Options
) -> dict[str, Any]:
    """Train one layer, unless that was done before."""
    import torch

    torch.manual_seed(options.seed)
    layer = fresh(name, 64).to(device, torch.bfloat16)
    what: dict[str, Any] = {
        "bench": NAME,
        "layer": name,
        "steps": steps,
        "length": length,
        "seed": options.seed,
    }
    what |= {"seconds": seconds} if seconds < math.inf else {}
    what |= {"device": device} if device != "cpu" else {"products": "rounded"}
    what["first"] = fingerprint(layer, lambda step: echo(layer, length)[0])
    kept = options.trained.unfinished(what)
    return options.kept(what, lambda: train(layer, steps, length, seconds, kept=kept))


def fresh(name: str, dim: int) -> nn.Module:
    """A layer of 2 heads, where it has heads."""
    from mnemic.recurrent import build

    return build(name, dim, **({} if name in HEADLESS else {"heads": 2}))


def train(
    layer: nn.Module, steps: int, length: int, seconds: float = math.inf, *, kept: Path | None = None,
    every: int = 500,
) -> dict[str, Any]:  # fmt: skip
    """Train until the last step, the first that is not finite, or out of time.

    Where `kept` is given, all that the next step depends on is written there at `every` so many steps, and a
    training that was cut off goes on from it as if it had not been.
    """
    import torch

    from mnemic.bench.products import Rounded

    adam = torch.optim.AdamW(layer.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    losses: list[float] = []
    finite, begun = True, time.process_time()
    if kept is not None and kept.exists():
        held = torch.load(kept, weights_only=True)
        layer.load_state_dict(held["layer"])
        adam.load_state_dict(held["adam"])
        torch.set_rng_state(held["random"])
        losses = held["losses"]
    with Rounded() if next(layer.parameters()).device.type == "cpu" else nullcontext():
        while len(losses) < steps and time.process_time() - begun < seconds:
            loss, states = echo(layer, length)
            adam.zero_grad()
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            finite = all(bool(torch.isfinite(t).all()) for t in (loss, norm, *states))
            if not finite:
                break
            adam.step()
            losses.append(float(loss.detach()))
            if kept is not None and len(losses) % every == 0:
                held = {
                    "layer": layer.state_dict(), "adam": adam.state_dict(), "random": torch.get_rng_state(),
                    "losses": losses,
                }  # fmt: skip
                draft = kept.with_suffix(".part")
                torch.save(held, draft)
                draft.replace(kept)
    if kept is not None:
        kept.unlink(missing_ok=True)
    late = losses[-max(len(losses) // 10, 1) :]
    return {
        "finite": float(finite),
        "steps": float(len(losses)),
        "loss": sum(late) / len(late) if late else math.nan,
    }


def echo(layer: nn.Module, length: int, batch: int = 8) -> tuple[Tensor, list[Tensor]]:
    """The error at saying what stood 8 tokens before, over fresh random sequences, and the last state."""
    import torch

    from mnemic.recurrent.jrt import PrefixLinear
    from mnemic.recurrent.order_matters import SetReader
    from mnemic.recurrent.vig import GatedImage
    from mnemic.recurrent.vim import BidirectionalMamba

    x = torch.randn(batch, length, cast(int, layer.dim), dtype=torch.bfloat16)
    x = x.to(next(layer.parameters()).device)
    if isinstance(layer, SetReader):
        return -layer.write(x, x[..., 0].topk(min(8, length)).indices).float().mean(), []
    states: list[Tensor] = []
    if isinstance(layer, BidirectionalMamba):
        y = layer(x)
    elif isinstance(layer, GatedImage):
        rows = max(rows for rows in range(1, math.isqrt(length) + 1) if length % rows == 0)
        y = layer(x.reshape(batch, rows, -1, x.shape[-1])).flatten(1, 2)
    else:
        y, state = layer(x, layer.ahead(x)) if isinstance(layer, PrefixLinear) else layer(x)
        states = [tensor for tensor in state.tensors.values() if tensor.is_floating_point()]
    return (y[:, 8:].float() - x[:, :-8].float()).square().mean(), states
