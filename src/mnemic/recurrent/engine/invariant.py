"""Time-invariant state spaces: one linear system a channel, the same at every token.

    x_t = A x_{t-1} + B u_t,   y_t = C x_t        recurrence
    y = K * u,   K_i = C A^i B                    convolution

`read` joins the two views: chunks of tokens are convolved with K, all side by side, and the state goes from
chunk to chunk by A^chunk. Powers A, A^2, A^4, ... come of squaring and everything else of doubling them; a text
that ends inside a chunk is read to its end in strides of these powers.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import real_tokens, zeros
from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.parts import reorder, wide
from mnemic.recurrent.engine.state import Tensors


class Transition(Protocol):
    """A, or a power of it, for every channel."""

    def columns(self, x: Tensor) -> Tensor:
        """A x for x [channels, n, k]."""
        ...

    def rows(self, c: Tensor) -> Tensor:
        """c A for c [channels, k, n]."""
        ...

    def squared(self) -> Transition: ...


@dataclass(frozen=True)
class Dense:
    """matrix [channels, n, n]."""

    matrix: Tensor

    def columns(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def rows(self, c: Tensor) -> Tensor:
        return c @ self.matrix

    def squared(self) -> Dense:
        return Dense(self.matrix @ self.matrix)


@dataclass(frozen=True)
class Diagonal:
    """diagonal [channels, n], complex."""

    diagonal: Tensor

    def columns(self, x: Tensor) -> Tensor:
        return self.diagonal.unsqueeze(-1) * x

    def rows(self, c: Tensor) -> Tensor:
        return c * self.diagonal.unsqueeze(-2)

    def squared(self) -> Diagonal:
        return Diagonal(self.diagonal.square())


@dataclass(frozen=True)
class System:
    """A, B [channels, n, 1] and C [channels, reads, n]; of complex numbers the real part is read."""

    a: Transition
    b: Tensor
    c: Tensor

    def powers(self, chunk: int) -> list[Transition]:
        """A, A^2, A^4, ..., A^chunk."""
        found = [self.a]
        while 1 << (len(found) - 1) < chunk:
            found.append(found[-1].squared())
        return found

    def krylov(self, powers: list[Transition]) -> Tensor:
        """B, A B, A^2 B, ..., A^{chunk-1} B: [channels, n, chunk]."""
        found = self.b
        for power in powers[:-1]:
            found = torch.cat([found, power.columns(found)], -1)
        return found

    def reads(self, powers: list[Transition]) -> Tensor:
        """C A, C A^2, ..., C A^chunk: [channels, reads * chunk, n], the power outermost."""
        found = self.a.rows(self.c)
        for power in powers[:-1]:
            found = torch.cat([found, power.rows(found)], -2)
        return found


def convolved(kernel: Tensor, u: Tensor) -> Tensor:
    """kernel [channels, reads, C], u [..., channels, C] -> [..., channels, reads, C], causal."""
    size = 2 * u.shape[-1]  # twice as long, so that the end does not wrap around to the start
    spectrum = torch.fft.rfft(kernel, size) * torch.fft.rfft(u, size).unsqueeze(-2)
    y: Tensor = torch.fft.irfft(spectrum, size)
    return y[..., : u.shape[-1]]


class Invariant(Layer):
    """A bank of systems and what is made of their outputs: y = W gelu(C x + D u), gated if `gated`.

    Args:
        reads: outputs C of every channel's system, mixed by W ("heads").
        size: real numbers in the state of a channel.
        chunk: tokens convolved at once, a power of two; changes the speed, never the result.
    """

    def __init__(self, name: str, dim: int, *, reads: int, size: int, gated: bool, chunk: int) -> None:
        super().__init__(name, dim)
        if reads < 1 or size < 2 or size % 2:
            raise ValueError(f"heads {reads} and size {size}: need at least 1, and an even number from 2 on")
        if chunk < 1 or chunk & (chunk - 1):
            raise ValueError(f"a chunk is a power of two tokens, not {chunk}; 64 suits most machines")
        self.size, self.chunk, self.gated = size, chunk, gated
        self.skip = nn.Parameter(torch.randn(dim, reads))
        self.output = nn.Linear(dim * reads, 2 * dim if gated else dim)

    @abstractmethod
    def system(self) -> System:
        """The discrete system, in at least float32."""

    def kernel(self, system: System, powers: list[Transition], krylov: Tensor) -> Tensor:
        """K_i = C A^i B for i < chunk: [channels, reads, chunk]."""
        return _seen(system.c @ krylov)

    def initial(self, batch: int) -> Tensors:
        return {"system": zeros(self, batch, self.dim, self.size)}

    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        with torch.autocast(x.device.type, enabled=False):
            u = wide(x).mT  # [batch, channels, length]
            seen, state = self.read(u, tensors["system"], lengths)
            y = F.gelu(seen + wide(self.skip) * u.mT.unsqueeze(-1)).flatten(2).to(x.dtype)
        y = self.output(y)
        y = F.glu(y) if self.gated else y
        real = real_tokens(x, lengths)
        return y if real is None else y * real[:, 0].to(y.dtype), {"system": state}

    def read(self, u: Tensor, state: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """u [batch, channels, length], state [batch, channels, size] -> [batch, length, channels, reads], state

        after the last real token.
        """
        length = u.shape[-1]
        chunk = min(self.chunk, 1 << (length - 1).bit_length())
        system = self.system()
        powers = system.powers(chunk)
        krylov, reads = system.krylov(powers), system.reads(powers)
        lengths = torch.full_like(u[:, 0, 0], length, dtype=torch.int64) if lengths is None else lengths
        pieces = F.pad(u, (0, -length % chunk)).reshape(*u.shape[:-1], -1, chunk)
        inside = convolved(self.kernel(system, powers, krylov), pieces.transpose(1, 2))
        x, starts = _columns(state, krylov), []  # [channels, n, batch]
        for n, piece in enumerate(pieces.to(krylov.dtype).permute(2, 1, 3, 0)):
            starts.append(x)
            moved = powers[-1].columns(x) + krylov.flip(-1) @ piece
            x = torch.where(lengths >= (n + 1) * chunk, moved, x)
        begin = lengths - lengths % chunk
        for k in reversed(range(len(powers) - 1)):  # the last, incomplete chunk, in strides of 2^k tokens
            stride = 1 << k
            place = begin[:, None] + torch.arange(stride, device=u.device)
            piece = reorder(u.mT, place.clamp_max(length - 1)).permute(2, 1, 0).to(krylov.dtype)
            moved = powers[k].columns(x) + krylov[..., :stride].flip(-1) @ piece
            goes = (lengths >> k) % 2 == 1
            x, begin = torch.where(goes, moved, x), begin + stride * goes
        carried = _seen(reads @ torch.cat(starts, -1))  # [channels, chunk * reads, chunks * batch]
        carried = carried.reshape(self.dim, chunk, -1, len(starts), u.shape[0]).permute(4, 3, 0, 2, 1)
        y = (inside + carried).permute(0, 1, 4, 2, 3).flatten(1, 2)[:, :length]
        return y, _row(x)


def _columns(state: Tensor, like: Tensor) -> Tensor:
    """[batch, channels, size] -> [channels, n, batch], in complex numbers where the system has them."""
    if like.is_complex():
        state = torch.view_as_complex(state.reshape(*state.shape[:-1], -1, 2))
    return state.permute(1, 2, 0)


def _row(x: Tensor) -> Tensor:
    """[channels, n, batch] -> [batch, channels, size]."""
    x = x.permute(2, 0, 1)
    return torch.view_as_real(x).flatten(-2) if x.is_complex() else x.contiguous()


def _seen(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x
