"""Memories that are one vector a channel, every number of it with a decay chosen by the token.

    h_t = exp(-Delta_t speed) * h_{t-1} + (Delta_t x_t) k_t,   y_t = h_t . q_t        h [channels, states]

A matrix of one value column, which matrix products over chunks would read at chunk times the work: tokens are
read in turn, one call for all rows and channels, and the gradient is written by hand; it keeps the vectors at
the borders of chunks alone and reads each chunk again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Vector(torch.autograd.Function):
    """Numbers stand [length, batch, states, channels]: what is summed most often is then not the last."""

    @staticmethod
    def forward(
        ctx: Any, step: Tensor, speed: Tensor, keys: Tensor, queries: Tensor, values: Tensor, chunk: int
    ) -> Tensor:
        h, borders, out = values.new_zeros(values.shape[1], *speed.shape), [], []
        for steps, key, query, value in _chunks(chunk, step, keys, queries, values):
            borders.append(h)
            _, seen = _states(h, steps, speed, key, value)
            out.append((query.unsqueeze(-2) @ seen).squeeze(-2))
            h = seen[-1].clone()
        ctx.save_for_backward(step, speed, keys, queries, values, *borders)
        ctx.chunk = chunk
        return torch.cat(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, said: Tensor) -> tuple[Tensor | None, ...]:
        step, speed, keys, queries, values, *borders = ctx.saved_tensors
        grads = [torch.empty_like(each) for each in (step, keys, queries, values)]
        of_speed, later = torch.zeros_like(speed), torch.zeros_like(borders[0])
        pieces = _chunks(ctx.chunk, step, keys, queries, values, said, *grads)
        for border, piece in zip(reversed(borders), reversed(pieces), strict=True):
            steps, key, query, value, out, of_steps, of_key, of_query, of_value = piece
            decay, seen = _states(border, steps, speed, key, value)
            of_query.copy_((seen * out.unsqueeze(-2)).sum(-1))
            of_h = query.unsqueeze(-1) * out.unsqueeze(-2)
            of_h[-1] += later
            for t in range(len(of_h) - 1, 0, -1):
                of_h[t - 1].addcmul_(decay[t], of_h[t])
            later = decay[0] * of_h[0]
            of_key.copy_((of_h * value.unsqueeze(-2)).sum(-1))
            of_value.copy_((key.unsqueeze(-2) @ of_h).squeeze(-2))
            of_exponent = of_h.mul_(decay)  # the exponent is -step speed
            of_exponent[0] *= border
            of_exponent[1:] *= seen[:-1]
            of_steps.copy_(-(of_exponent * speed).sum(-2))
            of_speed -= of_exponent.mul_(steps.unsqueeze(-2)).sum((0, 1))
        of_step, of_keys, of_queries, of_values = grads
        return of_step, of_speed, of_keys, of_queries, of_values, None


def _chunks(chunk: int, *sequences: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(torch.split(each, chunk) for each in sequences), strict=True))


def _states(h: Tensor, step: Tensor, speed: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and the vectors after every token."""
    decay = (step.unsqueeze(-2) * -speed).exp_()
    seen = keys.unsqueeze(-1) * values.unsqueeze(-2)
    for before, kept, now in zip([h, *seen], decay, seen, strict=False):
        now.addcmul_(kept, before)
    return decay, seen


def read(step: Tensor, speed: Tensor, keys: Tensor, queries: Tensor, values: Tensor, *, chunk: int) -> Tensor:
    """Read a sequence from empty vectors.

    Args:
        step: Delta [batch, length, channels], at least 0; speed: [channels, states], at least 0.
        keys, queries: [batch, length, states]; values: Delta x [batch, length, channels].
        chunk: tokens between two vectors that are kept for the gradient.

    Returns:
        [batch, length, channels].
    """
    step, keys, queries, values = (each.transpose(0, 1).contiguous() for each in (step, keys, queries, values))
    y: Tensor = _Vector.apply(step, speed.mT.contiguous(), keys, queries, values, chunk)  # type: ignore[no-untyped-call]
    return y.transpose(0, 1)
