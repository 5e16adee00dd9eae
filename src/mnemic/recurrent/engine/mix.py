"""How the tokens of one piece of a text add up in the weights of a network, and the gradients of that by hand.

The weights of one map are D = M - R, what was learnt, and with momentum S, side by side: `moving` [rows, kinds,
inputs, outputs]. A token's gradient of the map is the outer product of its `inputs` and its `gradients`
[rows, seen, size].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mnemic.recurrent.engine.linear import between_sums

_TOGETHER = 512  # tokens whose `Mix`es are made at a time: bounds what is held


@dataclass(frozen=True)
class Mix:
    """What the tokens of one piece [rows, L] weigh.

    Attributes:
        steps: -P [rows, L, seen], what M_i has of the gradient of token j.
        shares: [rows, L, kinds, 1] b and B e: what M_i has of D and S at the start.
        turn: [rows, kinds, kinds], what each has of each at the end of the piece.
        gains: [rows, kinds, 1, seen], what each has, at the end of the piece, of the gradient of token j.
    """

    steps: Tensor
    shares: Tensor
    turn: Tensor
    gains: Tensor

    @classmethod
    def of(
        cls,
        stepwise: bool,
        real: Tensor,
        rate: Tensor,
        keep: Tensor | None,
        carry: Tensor | None,
        weight: Tensor,
    ) -> Mix:
        length, seen = rate.shape[-2], weight.shape[-2]
        ones = rate.new_ones(length, length)
        steps = -rate.mT * (torch.eye(length, device=rate.device) if carry is None else _products(carry))
        if seen > length:
            steps = steps @ rate.new_ones(length, seen).triu().tril(seen - length)
        steps = steps * weight.mT
        kept = real.mT * (ones.tril() if keep is None else _products(keep))
        sums = kept @ steps
        of_d = torch.ones_like(rate) if keep is None else keep.cumsum(-2).exp()
        gain = sums[..., -1:, :] if stepwise else torch.zeros_like(sums[..., -1:, :])
        if carry is None:
            return cls(sums, of_d.unsqueeze(-1), of_d[..., -1:, :], gain.unsqueeze(-2))
        carried = carry.cumsum(-2).exp()
        of_s = kept @ carried if stepwise else torch.zeros_like(carried)  # if not, only the border adds S
        none = torch.zeros_like(of_d[..., -1:, :])
        to_d = torch.cat([of_d[..., -1:, :], of_s[..., -1:, :]], -1)
        to_s = torch.cat([none, carried[..., -1:, :]], -1)
        return cls(
            sums,
            torch.cat([of_d, of_s], -1).unsqueeze(-1),
            torch.cat([to_d, to_s], -2),
            torch.cat([gain, steps[..., -1:, :]], -2).unsqueeze(-2),
        )

    def read(
        self, moving: Tensor, rest: Tensor, inputs: Tensor, gradients: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [rows, L, inputs] through one map, every token with its own weights M_t; rest [heads, ...] is R.

        Rows are texts within heads. Also `moving` after the last token, and M then, [rows, inputs, outputs].
        """
        parts: tuple[Tensor, Tensor, Tensor] = _Read.apply(  # type: ignore[no-untyped-call]
            moving, rest, self.steps, self.shares, self.turn, self.gains, inputs, gradients, x
        )
        return parts

    def after(self, moving: Tensor, inputs: Tensor, gradients: Tensor) -> Tensor:
        """`moving` after the last token."""
        moved: Tensor = _After.apply(moving, self.turn, self.gains, inputs, gradients)  # type: ignore[no-untyped-call]
        return moved


def mixes(stepwise: bool, *gates: Sequence[Tensor | None]) -> Iterator[Mix]:
    """The `Mix.of` of every piece, whose arguments are given piece by piece; of equal pieces some at a time."""
    sizes = [piece.shape[-2] for piece in gates[0] if piece is not None]
    for _, equal in groupby(range(len(sizes)), key=lambda i: sizes[i]):
        run = list(equal)
        together = max(_TOGETHER // sizes[run[0]], 1)
        for some in (run[i : i + together] for i in range(0, len(run), together)):
            mix = Mix.of(stepwise, *(_side_by_side(gate[some[0] : some[-1] + 1]) for gate in gates))  # type: ignore[arg-type]
            for each in zip(*(x.unbind(1) for x in (mix.steps, mix.shares, mix.turn, mix.gains)), strict=True):
                yield Mix(*each)


def _products(logs: Tensor) -> Tensor:
    return between_sums(logs.squeeze(-1)).exp()


def _side_by_side(pieces: Sequence[Tensor | None]) -> Tensor | None:
    there = [piece for piece in pieces if piece is not None]
    return torch.stack(there, 1) if there else None


class _After(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, moving: Tensor, turn: Tensor, gains: Tensor, inputs: Tensor, gradients: Tensor
    ) -> Tensor:
        ctx.save_for_backward(moving, turn, gains, inputs, gradients)
        return _after(moving, turn, gains, inputs, gradients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, ...]:
        moving, *others = ctx.saved_tensors
        with torch.autocast(outer.device.type, enabled=False):
            return _turned_back(outer, others[0]), *_after_back(outer, moving, *others)


class _Read(torch.autograd.Function):
    """Reads and `_after` at once: no second gradient as large as the weights is made and added to the first."""

    @staticmethod
    def forward(
        ctx: Any, moving: Tensor, rest: Tensor, steps: Tensor, shares: Tensor, turn: Tensor, gains: Tensor,
        inputs: Tensor, gradients: Tensor, x: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        ctx.set_materialize_grads(False)
        near = torch.bmm(x, inputs.mT)
        ctx.save_for_backward(moving, rest, steps, shares, turn, gains, inputs, gradients, x, near)
        read = torch.bmm(_by_head(x, rest), rest).view(*x.shape[:2], -1)
        read.baddbmm_(_shared(shares, x), moving.flatten(1, 2))
        read.baddbmm_(near * steps, gradients)
        moved = _after(moving, turn, gains, inputs, gradients)
        return read, moved, above(moved[:, 0], rest)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, outer: Tensor | None, of_moved: Tensor | None, of_opened: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            return _read_back(outer, of_moved, of_opened, *ctx.saved_tensors)


def above(learnt: Tensor, rest: Tensor, sign: int = 1) -> Tensor:
    """D + R, or with sign -1 M - R: [rows, inputs, outputs] and [heads, inputs, outputs] -> like the first."""
    return torch.add(learnt.view(len(rest), -1, *rest.shape[1:]), rest.unsqueeze(1), alpha=sign).flatten(0, 1)


def _by_head(x: Tensor, rest: Tensor) -> Tensor:
    """[rows, L, d] -> [heads, texts * L, d]."""
    return x.reshape(len(rest), -1, x.shape[-1])


def _shared(shares: Tensor, x: Tensor) -> Tensor:
    """[rows, L, kinds * d]: x times what its token has of every kind."""
    return (shares * x.unsqueeze(-2)).flatten(2)


def _weighed(gains: Tensor, inputs: Tensor) -> Tensor:
    """[rows, kinds * d, seen]: inputs times what every kind has of their gradients."""
    return (gains * inputs.mT.unsqueeze(1)).flatten(1, 2)


def _after(moving: Tensor, turn: Tensor, gains: Tensor, inputs: Tensor, gradients: Tensor) -> Tensor:
    moved = torch.bmm(turn, moving.flatten(2)).view(len(moving), -1, moving.shape[-1])
    return moved.baddbmm_(_weighed(gains, inputs), gradients).view_as(moving)


def _turned_back(outer: Tensor, turn: Tensor) -> Tensor:
    """The gradient of `moving` that goes through `turn`."""
    return torch.bmm(turn.mT, outer.flatten(2)).view_as(outer)


def _after_back(
    outer: Tensor, moving: Tensor, turn: Tensor, gains: Tensor, inputs: Tensor, gradients: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of turn, gains, inputs and gradients."""
    flat = outer.flatten(1, 2)
    of_turn = torch.bmm(outer.flatten(2), moving.flatten(2).mT)
    through = torch.bmm(flat, gradients.mT).view(*outer.shape[:3], -1)
    of_gains = (through * inputs.mT.unsqueeze(1)).sum(2, keepdim=True)
    of_inputs = (through * gains).sum(1).mT.contiguous()
    of_gradients = torch.bmm(_weighed(gains, inputs).mT, flat)
    return of_turn, of_gains, of_inputs, of_gradients


def _read_back(
    outer: Tensor | None, of_moved: Tensor | None, of_opened: Tensor | None, moving: Tensor, rest: Tensor,
    steps: Tensor, shares: Tensor, turn: Tensor, gains: Tensor, inputs: Tensor, gradients: Tensor, x: Tensor,
    near: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradients of what `_Read` is given, in its order."""
    outer = x.new_zeros(*x.shape[:2], rest.shape[-1]) if outer is None else outer.contiguous()
    of_rest = torch.bmm(_by_head(x, rest).mT, _by_head(outer, rest))
    if of_moved is None:
        of_moved = torch.zeros_like(moving)
    if of_opened is not None:
        of_rest += of_opened.view(len(rest), -1, *of_rest.shape[1:]).sum(1)
        of_moved = of_moved.clone()
        of_moved[:, 0] += of_opened
    of_turn, of_gains, of_inputs, of_gradients = _after_back(of_moved, moving, turn, gains, inputs, gradients)
    of_moving = _turned_back(of_moved, turn)
    of_moving.flatten(1, 2).baddbmm_(_shared(shares, x).mT, outer)
    through = torch.bmm(outer, moving.flatten(1, 2).mT).view(*x.shape[:2], -1, x.shape[-1])
    of_shares = (through * x.unsqueeze(-2)).sum(-1, keepdim=True)
    of_x = torch.bmm(_by_head(outer, rest), rest.mT).view_as(x)
    of_x += (through * shares).sum(-2)
    of_step = torch.bmm(outer, gradients.mT)
    of_near = of_step * steps
    of_x.baddbmm_(of_near, inputs)
    of_inputs.baddbmm_(of_near.mT, x)
    of_gradients.baddbmm_((near * steps).mT, outer)
    return of_moving, of_rest, of_step * near, of_shares, of_turn, of_gains, of_inputs, of_gradients, of_x
