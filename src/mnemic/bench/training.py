"""How the benches train: AdamW with a warm-up and a straight way down, batches in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def train(
    model: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float,
    measured: Callable[[], float] | None = None,
) -> list[float]:  # fmt: skip
    """Train `steps` steps, `loss(step)` each; what `measured` says after every fifth of them."""
    import torch

    adam = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    warm = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    along = []
    for step in range(steps):
        value = loss(step)
        adam.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        if measured is not None and (step + 1) % max(steps // 5, 1) == 0:
            along.append(round(measured(), 4))
    return along


def fingerprint(model: nn.Module, loss: Callable[[int], Tensor]) -> list[str]:
    """The first loss and the size of its gradient, to five digits: alike where a run would be the same."""
    import torch

    first = loss(0)
    torch.autograd.backward(first)
    squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return [f"{float(first.detach()):.5g}", f"{float(torch.stack(squares).sum().sqrt()):.5g}"]
