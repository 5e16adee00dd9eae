"""Gradients that a memory takes while it reads, in few operations, and what training needs of them in turn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_EPS = 1e-5  # of a layer norm


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, x)
        taken: Tensor = torch.ops.aten.gelu_backward(gradient, x)
        return taken

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:
        gradient, x = ctx.saved_tensors
        square = x.square()
        bend = (square * -0.5).exp_().mul_(2 - square).mul_((2 * math.pi) ** -0.5)  # the second derivative
        return torch.ops.aten.gelu_backward(outer, x), bend.mul_(gradient).mul_(outer)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:
        normal, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, _EPS)
        ctx.save_for_backward(gradient, x, normal, mean, inverse)
        return _through_norm(gradient, x, mean, inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:
        gradient, x, normal, mean, inverse = ctx.saved_tensors
        taken = _through_norm(outer, x, mean, inverse)
        along, outer_along = ((each * normal).mean(-1, keepdim=True) for each in (gradient, outer))
        turned = _through_norm(-along * outer - outer_along * gradient, x, mean, inverse)
        shrunk = (taken * gradient).mean(-1, keepdim=True) * inverse
        bent: Tensor = (turned * inverse).addcmul_(shrunk, normal, value=-1)
        return taken, bent


def _through_norm(gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    taken: Tensor = torch.ops.aten.native_layer_norm_backward(
        gradient, x, x.shape[-1:], mean, inverse, None, None, [True, False, False]
    )[0]
    return taken


class _Quartic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        square = x.square()
        inverse = square.square().sum((-2, -1), keepdim=True).clamp_min_(1e-12).rsqrt_()
        ctx.save_for_backward(x, square, inverse)
        return x * inverse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        x, square, inverse = ctx.saved_tensors
        pull = -2 * inverse**3 * (outer * x).sum((-2, -1), keepdim=True)
        taken: Tensor = (square * x).mul_(pull).addcmul_(inverse, outer)
        return taken


class _Shortened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, gradients: Tensor, longest: float) -> Tensor:
        sizes = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (inputs, gradients)]
        scale = longest / (sizes[0] * sizes[1]).clamp_min_(longest)
        short: Tensor = gradients * scale
        ctx.save_for_backward(inputs, gradients, short, scale, *sizes)
        return short

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None]:
        inputs, gradients, short, scale, *sizes = ctx.saved_tensors
        pull = (outer * short).sum(-1, keepdim=True).masked_fill_(scale == 1, 0)
        of_inputs, of_gradients = (pull / size.square().clamp_min_(1e-30) for size in sizes)
        return -of_inputs * inputs, (scale * outer).addcmul_(of_gradients, gradients, value=-1), None


def gelu(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient at gelu's output, of any shape, taken to its input x: gradient * gelu'(x)."""
    taken: Tensor = _Gelu.apply(gradient, x)  # type: ignore[no-untyped-call]
    return taken


def layer_norm(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient at the output of a norm over the last dimension, taken to its input x, of the same shape."""
    taken: Tensor = _LayerNorm.apply(gradient, x)  # type: ignore[no-untyped-call]
    return taken


def quartic(x: Tensor) -> Tensor:
    """x / |x|_4^2 over the last two dimensions."""
    scaled: Tensor = _Quartic.apply(x)  # type: ignore[no-untyped-call]
    return scaled


def shortened(inputs: Tensor, gradients: Tensor, longest: float) -> Tensor:
    """Gradients at a map's output [..., outputs], so short that |input| |gradient| <= longest."""
    short: Tensor = _Shortened.apply(inputs, gradients, longest)  # type: ignore[no-untyped-call]
    return short
