"""Stuffed Mamba: three ways to keep Mamba's state, beyond its trained length, as it was in training.

A state larger than its training texts can fill never learns to forget; on longer texts it grows to sizes no
reader was trained for (state collapse). Without training, `mend` says how it is kept:

    "forget"   h_t = exp(a dt_t A) h_{t-1} + b dt_t B_t x_t^T       forget faster (a > 1), write less (b < 1)
    "norm"     h <- h min(1, tau / |h|_F) of every head, at the end of every chunk
    "window"   h_t - exp(A sum of dt over the last r tokens) h_{t-r}        what the last r tokens alone give

The window is exact: a second state, r tokens behind, is taken off; the r tokens between them are kept. tau are
the heads' norms after texts of the trained length (`calibrate`); the paper's code multiplies by |h| / tau.
Chen et al. 2024, paper 141.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mnemic.recurrent.engine.associative import real_tokens, zeros
from mnemic.recurrent.engine.parts import Segments, last, wide
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.mamba import Selective
from mnemic.types import Claim

PAPER = 141
CLAIM = Claim(
    says="without training, a state kept in size still recalls after 16 times the trained length",
    task="recurrent_length",
    method="stuffed-mamba-norm",
    baseline="mamba",
    sabotage="stuffed-mamba-norm-emptied",
    metric="near_16x",
    budget="the same trained weights, the same texts",
)
Mend = Literal["forget", "norm", "window"]


class Stuffed(Selective):
    """A selective state space whose state is kept in size."""

    largest: Tensor
    """tau, [heads]."""

    def __init__(
        self, dim: int, heads: int, *, mend: Mend, window: int, decay_times: float, write_times: float,
        largest: float, size: int, expand: int, conv: int, chunk: int,
    ) -> None:  # fmt: skip
        super().__init__(
            "stuffed-mamba", dim, heads, size=size, expand=expand, decay="scalar", conv=conv, chunk=chunk
        )
        if mend not in ("forget", "norm", "window"):
            raise ValueError(f"a mend is 'forget', 'norm' or 'window', not {mend!r}")
        if window < 1:
            raise ValueError(f"a window holds at least 1 token, not {window}")
        if mend == "norm":
            self.define(chunk=chunk)
        if mend == "forget":
            self.define(decay_times=decay_times, write_times=write_times)
        self.mend, self.window = mend, window
        self.decay_times, self.write_times = decay_times, write_times
        self.register_buffer("largest", torch.full((heads,), float(largest)))

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Take tau from texts x [batch, trained length, dim]: mean norm of each head's state after them."""
        self.largest = torch.full_like(self.largest, torch.inf)
        norms = self(x)[1].tensors["memory"].flatten(-2).norm(dim=-1)
        self.largest = norms.mean(0)

    def initial(self, batch: int) -> Tensors:
        tensors = super().initial(batch)
        if self.mend == "norm":
            tensors["phase"] = torch.zeros(batch, dtype=torch.int64, device=self.skip.device)
        if self.mend == "window":
            tensors["delayed"] = tensors["memory"].clone()
            tensors["recent"] = zeros(self, batch, self.window, self.heads + self.size + self.inner)
        return tensors

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        if self.mend == "norm":
            return self.shortened(q, k, v, steps, memory, lengths)
        if self.mend == "window":
            return self.windowed(q, k, v, steps, memory, lengths)
        return super().remember(q, self.write_times * k, v, steps, memory, lengths)

    def log_decay(self, steps: Tensor) -> Tensor:
        return super().log_decay(steps) * (self.decay_times if self.mend == "forget" else 1)

    def shortened(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        pieces, state, out = Segments(memory["phase"], lengths, q.shape[2], self.chunk), memory["memory"], []
        tokens = torch.cat([q, k, v, steps.unsqueeze(-1)], -1)
        for piece, full in pieces.cut(tokens):
            *parts, step = torch.split(piece, [self.size, self.size, v.shape[-1], 1], -1)
            y, state = self.scanned(parts[0], parts[1], parts[2], step.squeeze(-1), state)
            norm = state.flatten(-2).norm(dim=-1)
            scale = (wide(self.largest) / norm.clamp_min(1e-12)).clamp_max(1)
            state = torch.where(full[:, None, None, None], state * scale[..., None, None], state)
            out.append(y)
        return pieces.join(out), memory | {"memory": state, "phase": pieces.phase}

    def windowed(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        batch, heads, length, _ = q.shape
        values = v.transpose(1, 2).flatten(2)
        new = torch.cat([steps.transpose(1, 2), k[:, 0], values], -1)  # [batch, length, heads + size + inner]
        both = torch.cat([memory["recent"], new], 1)
        real = real_tokens(q[:, 0], lengths)
        left = both[:, :length] if real is None else both[:, :length] * real[:, 0]
        old_steps, old_keys, old = torch.split(left, [heads, self.size, self.inner], -1)
        old_values = old.reshape(batch, length, heads, -1).transpose(1, 2)
        old_keys = old_keys.unsqueeze(1).expand_as(q)
        y, state = self.scanned(q, k, v, steps, memory["memory"])
        gone, delayed = self.scanned(q, old_keys, old_values, old_steps.transpose(1, 2), memory["delayed"])
        spent = both[:, 1:, :heads].unfold(1, self.window, 1).sum(-1).transpose(1, 2)
        kept = {"memory": state, "delayed": delayed, "recent": last(memory["recent"], new, lengths)}
        return y - self.log_decay(spent).exp().unsqueeze(-1) * gone, memory | kept


def layer(
    dim: int, heads: int = 4, *, mend: Mend = "window", window: int = 64, decay_times: float = 1.1,
    write_times: float = 0.9, largest: float = 1.0, size: int = 64, expand: int = 1, conv: int = 4,
    chunk: int = 64,
) -> Stuffed:  # fmt: skip
    """A layer.

    Args:
        mend: how the state is kept in size.
        window: r, at most the tokens that the weights were trained on.
        decay_times, write_times: a and b.
        largest: tau of every head until it is calibrated.
        size, expand, conv, chunk: as in `Selective`; the norm is held at the end of every chunk.
    """
    return Stuffed(
        dim, heads, mend=mend, window=window, decay_times=decay_times, write_times=write_times, largest=largest,
        size=size, expand=expand, conv=conv, chunk=chunk,
    )  # fmt: skip
