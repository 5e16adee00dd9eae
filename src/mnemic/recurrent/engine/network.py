"""Memories that are a network learnt while reading: momentum, forgetting, and gradients a chunk at a time.

    G_t = sum over the last `window` tokens i of  weight_i  d loss(M_0; k_i, v_i) / dM
    S_t = eta_t S_{t-1} - theta_t G_t            momentum: past surprise carried on
    M_t = keep_t M_{t-1} + S_t                   retention: the share of the memory kept
    o_t = M_t(q_t)

M_0 are the weights at the start of the token's chunk, counted from the start of the sequence: the chunk is
part of the definition, and a chunk of 1 is the online rule. At fixed M_0 the gradient of every linear map is a
sum of outer products a_i d_i^T (`structure`), so both recurrences are linear in the tokens of a chunk. With
B_ij = prod_{j<s<=i} keep_s, E_ij = prod_{j<s<=i} eta_s and P = B E diag(theta) Band diag(weight),

    x M_i = b_i x M_in + (B e)_i x S_in - sum_j P_ij (x . a_j) d_j

gives every token its own weights without ever forming them. Some rules change the weights by more than sums:
they do so at `border`, the end of a chunk, and are read as they were at the last border.

Many gradients taken at one place can overshoot and, through several maps, grow without bound; so a token's
gradient of one map is shortened to a norm of `longest`.

In a state, `frozen` is M_0, `running` M_t, `momentum` S_t, `phase` the tokens read of the current chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from mnemic.recurrent.engine.linear import between_sums
from mnemic.recurrent.engine.parts import last, picked
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.structure import Structure

_TOGETHER = 32  # pieces whose `Mix` is made at a time: bounds what is held

Weights = Sequence[Tensor]
"""One tensor [batch, heads, inputs, outputs] for every linear map."""

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
        window: tokens whose loss a step lowers; 1: the token's own.
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
        running = [w.expand(batch, *w.shape) for w in weights]
        still = [torch.zeros_like(w) for w in running]
        frozen = running if self.border is None else self.border(running, still)[1]
        tensors = {"phase": torch.zeros(batch, dtype=torch.int64, device=weights[0].device)}
        tensors |= _named("running", [w.clone() for w in running]) | _named(
            "frozen", [w.clone() for w in frozen]
        )
        if self.momentum:
            tensors |= _named("momentum", still)
        if self.window > 1:
            shape = (batch, self.window - 1, weights[0].shape[0], key_dim + value_dim + 1)
            tensors["recent"] = weights[0].new_zeros(shape)
        return tensors

    def read(
        self, q: Tensor, k: Tensor, v: Tensor, gates: Gates, tensors: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        """Read tokens and learn from them.

        q, k [batch, heads, length, key_dim]; v [..., value_dim]; lengths [batch]: how many tokens of a row are
        real, the first ones (None: all) -> outputs like v, and the new state.
        """
        running, frozen, momentum = (listed(tensors, kind) for kind in ("running", "frozen", "momentum"))
        place = Placement(tensors["phase"], lengths, q.shape[2])
        weight = torch.ones_like(gates.rate) if gates.weight is None else gates.weight
        tokens, kept = torch.cat([k, v, weight.unsqueeze(-1)], -1), {}
        if self.window > 1:
            kept["recent"] = last(tensors["recent"], tokens.transpose(1, 2), lengths)
            tokens = torch.cat([tensors["recent"].transpose(1, 2), tokens], 2)
        back = self.window - 1
        keys, values, weight = place(tokens, back).tensor_split((k.shape[-1], k.shape[-1] + v.shape[-1]), -1)
        rate, queries, out = place(gates.rate.unsqueeze(-1)), place(q), []
        real = place(torch.ones_like(gates.rate.unsqueeze(-1)))
        keep, carry, limit = (
            None if gate is None else place(gate.unsqueeze(-1))
            for gate in (gates.log_keep, gates.log_momentum, gates.threshold)
        )
        stops = place.stops(self.chunk)
        sizes = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
        seen = partial(_overlapping, sizes=sizes, back=back)
        is_real, step, kept_share, carried_share, most = (
            _cut(x, sizes) for x in (real, rate, keep, carry, limit)
        )
        pieces = zip(
            stops, mixes(is_real, step, kept_share, carried_share, seen(weight)), seen(keys), seen(values),
            _cut(queries, sizes), most, strict=True,
        )  # fmt: skip
        for stop, mix, key, value, query, threshold in pieces:
            learnt = [
                (inputs, _shortened(inputs, gradients, self.longest))
                for inputs, gradients in self.structure.learn(frozen, key, partial(self.bias, value, threshold))
            ]
            if self.border is None:
                linear = partial(mix.at_tokens, running, momentum, learnt)
            else:
                linear = partial(apply, frozen)
            out.append(self.structure.read(linear, query))
            running, momentum = mix.at_end(running, momentum, learnt, self.stepwise)
            if place.border(stop, self.chunk):
                moved, opened = (running, running) if self.border is None else self.border(running, momentum)
                running, frozen = place.where_read(stop, moved, running), place.where_read(stop, opened, frozen)
        kept |= _named("running", running) | _named("frozen", frozen) | _named("momentum", momentum)
        kept["phase"] = (tensors["phase"] + place.lengths) % self.chunk
        return place.back(torch.cat(out, 2), q.shape[2]), kept


@dataclass(frozen=True)
class Mix:
    """How the tokens of one piece [batch, heads, L] add up.

    Attributes:
        sums: P [..., L, seen], what is left in M_i of the step of token j; last_steps: the same in S at the end
            of the piece [..., seen].
        keep: b [..., L, 1]; carry: e, and carried: B e, [..., L, 1]; None without momentum.
    """

    sums: Tensor
    last_steps: Tensor
    keep: Tensor
    carry: Tensor | None
    carried: Tensor | None

    @classmethod
    def of(cls, real: Tensor, rate: Tensor, keep: Tensor | None, carry: Tensor | None, weight: Tensor) -> Mix:
        length, seen = rate.shape[-2], weight.shape[-2]
        ones = rate.new_ones(length, length)
        steps = rate.mT * (torch.eye(length, device=rate.device) if carry is None else _products(carry))
        if seen > length:
            steps = steps @ rate.new_ones(length, seen).triu().tril(seen - length)
        steps = steps * weight.mT
        kept = real.mT * (ones.tril() if keep is None else _products(keep))
        carried = None if carry is None else carry.cumsum(-2).exp()
        return cls(
            sums=kept @ steps,
            last_steps=steps[..., -1, :],
            keep=torch.ones_like(rate) if keep is None else keep.cumsum(-2).exp(),
            carry=carried,
            carried=None if carried is None else kept @ carried,
        )

    def at_tokens(
        self, running: Weights, momentum: Weights, learnt: Sequence[tuple[Tensor, Tensor]], i: int, x: Tensor
    ) -> Tensor:
        """x [..., L, inputs] through the i-th map, every token with its own weights M_t."""
        inputs, gradients = learnt[i]
        y = self.keep * (x @ running[i]) - (x @ inputs.mT * self.sums) @ gradients
        return y if self.carried is None else y + self.carried * (x @ momentum[i])

    def at_end(
        self, running: Weights, momentum: Weights, learnt: Sequence[tuple[Tensor, Tensor]], stepwise: bool
    ) -> tuple[Weights, Weights]:
        """M and S after the last token of the piece."""
        moved, carried = [], []
        for i, (inputs, gradients) in enumerate(learnt):
            new = self.keep[..., -1:, :] * running[i]
            if stepwise:
                new = new - (self.sums[..., -1, :, None] * inputs).mT @ gradients
                if self.carried is not None:
                    new = new + self.carried[..., -1:, :] * momentum[i]
            moved.append(new)
            if self.carry is not None:
                steps = (self.last_steps.unsqueeze(-1) * inputs).mT @ gradients
                carried.append(self.carry[..., -1:, :] * momentum[i] - steps)
        return moved, carried


def mixes(*gates: Sequence[Tensor | None]) -> Iterator[Mix]:
    """The `Mix.of` of every piece, whose arguments are given piece by piece; of equal pieces some at a time."""
    sizes = [None if piece is None else piece.shape[-2] for piece in gates[0]]
    for _, equal in groupby(range(len(sizes)), key=lambda i: sizes[i]):
        run = list(equal)
        for some in (run[i : i + _TOGETHER] for i in range(0, len(run), _TOGETHER)):
            mix = Mix.of(*(_side_by_side(gate[some[0] : some[-1] + 1]) for gate in gates))  # type: ignore[arg-type]
            fields = (mix.sums, mix.last_steps, mix.keep, mix.carry, mix.carried)
            for each in zip(*([None] * len(some) if x is None else x.unbind(2) for x in fields), strict=True):
                yield Mix(*each)


class Placement:
    """Rows side by side so that their chunks end at the same columns, although each was read to its own place.

    Column j of row b is its token j - offset_b of this call; columns before and after its tokens hold zeros.
    """

    def __init__(self, phase: Tensor, lengths: Tensor | None, length: int) -> None:
        self.first = int(phase.min())
        self.offset = phase - self.first
        self.aligned = lengths is None and not bool(self.offset.any())
        self.lengths = torch.full_like(phase, length) if lengths is None else lengths
        self.ends = self.offset + self.lengths
        self.columns = max(int(self.ends.max()), 1)

    def __call__(self, x: Tensor, past: int = 0) -> Tensor:
        """x [batch, heads, past + length, d] -> [batch, heads, past + columns, d]."""
        if self.aligned:
            return x
        token = torch.arange(self.columns + past, device=x.device) - self.offset[:, None]
        real = (token >= 0) & (token < past + self.lengths[:, None])
        return picked(x, token) * real[:, None, :, None]

    def back(self, x: Tensor, length: int) -> Tensor:
        """x [batch, heads, columns, d] -> [batch, heads, length, d]."""
        if self.aligned:
            return x
        return picked(x, torch.arange(length, device=x.device) + self.offset[:, None])

    def stops(self, chunk: int) -> list[int]:
        """The column after every chunk."""
        return [*range(chunk - self.first, self.columns, chunk), self.columns]

    def border(self, stop: int, chunk: int) -> bool:
        return (self.first + stop) % chunk == 0

    def where_read(self, stop: int, new: Weights, old: Weights) -> Weights:
        """The new weights in rows that were read up to column `stop`, the old ones in the others."""
        if self.aligned:
            return new
        read = (self.ends >= stop)[:, None, None, None]
        return [torch.where(read, a, b) for a, b in zip(new, old, strict=True)]


def _products(logs: Tensor) -> Tensor:
    return between_sums(logs.squeeze(-1)).exp()


def _side_by_side(pieces: Sequence[Tensor | None]) -> Tensor | None:
    there = [piece for piece in pieces if piece is not None]
    return torch.stack(there, 2) if there else None


def _cut(x: Tensor | None, sizes: list[int]) -> Sequence[Any]:
    """Pieces of x [..., n, d] side by side, at once: gradients of slices would each be as long as x."""
    return [None] * len(sizes) if x is None else torch.split(x, sizes, -2)


def _overlapping(x: Tensor, sizes: list[int], back: int) -> Sequence[Tensor]:
    """The same, each with the `back` tokens before it, which stand in x."""
    if not back:
        return torch.split(x, sizes, -2)
    ends = zip(sizes, accumulate(sizes), strict=True)
    return [x[..., end - size : end + back, :] for size, end in ends]


def _shortened(inputs: Tensor, gradients: Tensor, longest: float) -> Tensor:
    """Gradients at a map's output, so short that |input| |gradient| <= longest."""
    norm = inputs.norm(dim=-1, keepdim=True) * gradients.norm(dim=-1, keepdim=True)
    scale: Tensor = longest / norm.clamp_min(longest)
    return gradients * scale


def apply(weights: Weights, i: int, x: Tensor) -> Tensor:
    return x @ weights[i]


def _named(kind: str, weights: Weights) -> Tensors:
    return {f"{kind}.{i}": w for i, w in enumerate(weights)}


def listed(tensors: Tensors, kind: str) -> Weights:
    return [w for name, w in tensors.items() if name.startswith(f"{kind}.")]
