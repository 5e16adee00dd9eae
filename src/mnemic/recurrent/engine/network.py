"""Memories that are a network learnt while reading: momentum, forgetting, and gradients a chunk at a time.

    G_t = sum over the last `window` tokens i of  weight_i  d loss(M_0; k_i, v_i) / dM
    S_t = eta_t S_{t-1} - theta_t G_t            momentum: past surprise carried on
    M_t = R + keep_t (M_{t-1} - R) + S_t         retention: the share kept of what was learnt
    o_t = M_t(q_t)

R are the weights that every text begins with. Forgetting leads back to them, not to zero as in the papers:
maps that shrink take with them the features that all is filed under, and the gradients to learn anew.

M_0 are the weights at the start of the token's chunk, counted from the start of the sequence: the chunk is
part of the definition, and a chunk of 1 is the online rule. At fixed M_0 the gradient of every linear map is a
sum of outer products a_i d_i^T (`structure`), so both recurrences are linear in the tokens of a chunk. With
D = M - R, B_ij = prod_{j<s<=i} keep_s, E_ij = prod_{j<s<=i} eta_s and P = B E diag(theta) Band diag(weight),

    x M_i = x R + b_i x D_in + (B e)_i x S_in - sum_j P_ij (x . a_j) d_j

gives every token its own weights without ever forming them (`mix`). Some rules change the weights by more than
sums: they do so at `border`, the end of a chunk, and are read as they were at the last border.

Many gradients taken at one place can overshoot and, through several maps, grow without bound; so a token's
gradient of one map is shortened to a norm of `longest`.

In a state, `frozen` is M_0, `running` M_t, `momentum` S_t, `phase` the tokens read of the current chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from mnemic.recurrent.engine.mix import Mix, above, mixes
from mnemic.recurrent.engine.parts import last, picked
from mnemic.recurrent.engine.slopes import shortened
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.structure import Structure

Weights = Sequence[Tensor]
"""One tensor [..., inputs, outputs] for every linear map."""

Bias = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""(values, thresholds or None, outputs) -> gradient of the loss at the outputs."""

Border = Callable[[Weights, Weights], tuple[Weights, Weights]]
"""(running, momentum) at the end of a chunk -> (running, weights to be read until the next border)."""


@dataclass(frozen=True)
class Gates:
    """What the tokens ask of the memory; all [batch, heads, length].

    Attributes:
        rate: theta >= 0, the step size.
        log_keep: log of the share kept, <= 0; None: all of it.
        log_momentum: log eta <= 0; None: no momentum.
        weight: a token's weight in the window's sum; None: 1.
        threshold: what the attentional bias may ask of a token.
    """

    rate: Tensor
    log_keep: Tensor | None = None
    log_momentum: Tensor | None = None
    weight: Tensor | None = None
    threshold: Tensor | None = None


@dataclass(frozen=True)
class Network:
    """The choices that make such a memory.

    Attributes:
        structure: the network that is learnt.
        bias: gradient of the loss that is minimised.
        chunk: tokens whose gradients are taken at the same weights.
        window: tokens whose loss a step lowers; 1: the token's own, as a bias with thresholds needs.
        momentum: whether steps are carried on.
        border: how the weights change at the end of a chunk beyond sums; None: not at all.
        stepwise: whether S_t is added to M_t at every token; if not, the border does it.
        longest: a token's gradient of one linear map is shortened to this Frobenius norm.
    """

    structure: Structure
    bias: Bias
    chunk: int = 16
    window: int = 1
    momentum: bool = False
    border: Border | None = None
    stepwise: bool = True
    longest: float = 4.0

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.window < 1:
            raise ValueError(f"chunk {self.chunk} and window {self.window} must be at least 1 token")

    def fresh(self, weights: Sequence[Tensor], batch: int, key_dim: int, value_dim: int) -> Tensors:
        """The state before anything was read, from initial weights [heads, inputs, outputs]."""
        still = [torch.zeros_like(w) for w in weights]
        frozen = weights if self.border is None else self.border(weights, still)[1]
        tensors = {"phase": torch.zeros(batch, dtype=torch.int64, device=weights[0].device)}
        for kind, each in (("running", weights), ("frozen", frozen), ("momentum", still)):
            if kind != "momentum" or self.momentum:
                tensors |= _named(kind, [w.expand(batch, *w.shape).clone() for w in each])
        if self.window > 1:
            shape = (batch, self.window - 1, weights[0].shape[0], key_dim + value_dim + 1)
            tensors["recent"] = weights[0].new_zeros(shape)
        return tensors

    def read(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, tensors: Tensors, lengths: Tensor | None,
        rest: Weights,
    ) -> tuple[Tensor, Tensors]:  # fmt: skip
        """Read tokens and learn from them.

        q, k [batch, heads, length, key_dim]; v [..., value_dim]; lengths [batch]: how many tokens of a row are
        real, the first ones (None: all); rest [heads, inputs, outputs]: R -> outputs like v, and the new state.
        """
        batch, heads, length, _ = q.shape
        running, frozen, momentum = (_rows(listed(tensors, kind)) for kind in ("running", "frozen", "momentum"))
        moving = _together(_above(running, rest, -1), momentum)
        place = Placement(tensors["phase"], lengths, length)
        weight = torch.ones_like(gates.rate) if gates.weight is None else gates.weight
        tokens, kept = torch.cat([k, v, weight.unsqueeze(-1)], -1), {}
        if self.window > 1:
            kept["recent"] = last(tensors["recent"], tokens.transpose(1, 2), lengths)
            tokens = torch.cat([tensors["recent"].transpose(1, 2), tokens], 2)
        back = self.window - 1
        keys, values, weight = torch.split(place(tokens, back), [k.shape[-1], v.shape[-1], 1], -1)
        rate, keep, carry, limit = (
            None if gate is None else place(gate.unsqueeze(-1))
            for gate in (gates.rate, gates.log_keep, gates.log_momentum, gates.threshold)
        )
        opened: Weights
        real, queries, out = place(torch.ones_like(gates.rate.unsqueeze(-1))), place(q), []
        stops = place.stops(self.chunk)
        sizes = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
        seen = partial(_overlapping, sizes=sizes, back=back)
        is_real, step, kept_share, carried_share, most = (
            _cut(x, sizes) for x in (real, rate, keep, carry, limit)
        )
        pieces = zip(
            stops, mixes(self.stepwise, is_real, step, kept_share, carried_share, seen(weight)), seen(keys),
            seen(values), _cut(queries, sizes), most, strict=True,
        )  # fmt: skip
        for stop, mix, key, value, query, threshold in pieces:
            learnt = [
                (inputs, shortened(inputs, gradients, self.longest))
                for inputs, gradients in self.structure.learn(frozen, key, partial(self.bias, value, threshold))
            ]
            if self.border is None:
                after: dict[int, tuple[Tensor, Tensor]] = {}
                out.append(self.structure.read(partial(_read, mix, moving, rest, learnt, after), query))
                moving, opened = ([after[i][part] for i in range(len(rest))] for part in range(2))
            else:
                out.append(self.structure.read(partial(apply, frozen), query))
                moving = [mix.after(each, *pair) for each, pair in zip(moving, learnt, strict=True)]
            if place.border(stop, self.chunk):
                if self.border is not None:
                    running, momentum = self.parted(moving, rest)
                    moved, opened = self.border(running, momentum)
                    if moved is not running:
                        moved = place.where_read(stop, moved, running)
                        moving = _together(_above(moved, rest, -1), momentum)
                frozen = place.where_read(stop, opened, frozen)
        running, momentum = self.parted(moving, rest)
        for kind, weights in (("running", running), ("frozen", frozen), ("momentum", momentum)):
            kept |= _named(kind, [w.view(heads, batch, *w.shape[1:]).transpose(0, 1).clone() for w in weights])
        kept["phase"] = (tensors["phase"] + place.lengths) % self.chunk
        return place.back(torch.cat(out, 1), heads, length), kept

    def parted(self, moving: Weights, rest: Weights) -> tuple[Weights, Weights]:
        """M and S of what moves."""
        parts = [each.unbind(1) for each in moving]
        return _above([each[0] for each in parts], rest), [each[1] for each in parts] if self.momentum else []


class Placement:
    """Texts side by side so that their chunks end at the same columns, although each was read to its own place.

    Column j of text b is its token j - offset_b of this call; columns before and after its tokens hold zeros.
    Every head of a text has a row of its own, those of one head beside each other.
    """

    def __init__(self, phase: Tensor, lengths: Tensor | None, length: int) -> None:
        self.first = int(phase.min())
        self.offset = phase - self.first
        self.aligned = lengths is None and not bool(self.offset.any())
        self.lengths = torch.full_like(phase, length) if lengths is None else lengths
        self.ends = self.offset + self.lengths
        self.columns = max(int(self.ends.max()), 1)

    def __call__(self, x: Tensor, past: int = 0) -> Tensor:
        """x [batch, heads, past + length, d] -> [rows, past + columns, d]."""
        if self.aligned:
            return _row(x)
        token = torch.arange(self.columns + past, device=x.device) - self.offset[:, None]
        real = (token >= 0) & (token < past + self.lengths[:, None])
        return _row(picked(x, token) * real[:, None, :, None])

    def back(self, x: Tensor, heads: int, length: int) -> Tensor:
        """x [rows, columns, d] -> [batch, heads, length, d]."""
        x = x.view(heads, -1, *x.shape[1:]).transpose(0, 1)
        if self.aligned:
            return x
        return picked(x, torch.arange(length, device=x.device) + self.offset[:, None])

    def stops(self, chunk: int) -> list[int]:
        """The column after every chunk."""
        return [*range(chunk - self.first, self.columns, chunk), self.columns]

    def border(self, stop: int, chunk: int) -> bool:
        return (self.first + stop) % chunk == 0

    def where_read(self, stop: int, new: Weights, old: Weights) -> Weights:
        """The new weights in texts that were read up to column `stop`, the old ones in the others."""
        if self.aligned:
            return new
        read = (self.ends >= stop).repeat(len(new[0]) // len(self.ends))[:, None, None]
        return [torch.where(read, a, b) for a, b in zip(new, old, strict=True)]


def _cut(x: Tensor | None, sizes: list[int]) -> Sequence[Any]:
    """Pieces of x [..., n, d] side by side, at once: gradients of slices would each be as long as x."""
    return [None] * len(sizes) if x is None else torch.split(x, sizes, -2)


def _overlapping(x: Tensor, sizes: list[int], back: int) -> Sequence[Tensor]:
    """The same, each with the `back` tokens before it, which stand in x."""
    if not back:
        return torch.split(x, sizes, -2)
    ends = zip(sizes, accumulate(sizes), strict=True)
    return [x[..., end - size : end + back, :] for size, end in ends]


def _row(x: Tensor) -> Tensor:
    """[batch, heads, ...] -> [rows, ...]."""
    return x.transpose(0, 1).flatten(0, 1)


def _rows(weights: Weights) -> Weights:
    return [_row(w) for w in weights]


def _above(learnt: Weights, rest: Weights, sign: int = 1) -> Weights:
    return [above(each, own, sign) for each, own in zip(learnt, rest, strict=True)]


def _together(*kinds: Weights) -> Weights:
    """Side by side, of those that there are: [rows, all, inputs, outputs] for every map."""
    return [torch.stack(each, 1) for each in zip(*(kind for kind in kinds if kind), strict=True)]


def _read(
    mix: Mix, moving: Weights, rest: Weights, learnt: Sequence[tuple[Tensor, Tensor]],
    after: dict[int, tuple[Tensor, Tensor]], i: int, x: Tensor,
) -> Tensor:  # fmt: skip
    """x through the i-th map; what `Mix.read` says of its weights goes into `after`."""
    out, *weights = mix.read(moving[i], rest[i], *learnt[i], x)
    after[i] = (weights[0], weights[1])
    return out


def apply(weights: Weights, i: int, x: Tensor) -> Tensor:
    return x @ weights[i]


def _named(kind: str, weights: Weights) -> Tensors:
    return {f"{kind}.{i}": w for i, w in enumerate(weights)}


def listed(tensors: Tensors, kind: str) -> Weights:
    return [w for name, w in tensors.items() if name.startswith(f"{kind}.")]
