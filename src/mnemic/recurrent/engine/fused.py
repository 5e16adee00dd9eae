"""`linear.chunked` on a GPU: the same numbers, by the programs of `linear_kernels` instead of matrix products.

Nothing of the size [chunk, chunk] leaves the chip but the inverse of the delta rule. Kept for the gradient are
the state at the start of every chunk, what was written, and the inverse. Float32 tokens are multiplied in three
tf32 products, which keep float32's digits, or in one where PyTorch may do so too
(`torch.set_float32_matmul_precision`); tokens of half precision in theirs. Sums, decays and states are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.runtime import driver

from mnemic.recurrent.engine import linear_kernels as kernels

MOST = 65535  # texts and heads, a grid's second side
BLOCK = 64  # most value channels a program takes at a time
WARPS = 4
BUSY = 64  # programs below which a GPU has idle multiprocessors: the state's columns are then shared out more
_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@cache
def _stages(device: torch.device) -> int:
    """How many pieces of a loop are on their way at once: as many as a multiprocessor's memory has room for."""
    if device.type == "cpu":  # interpreted: there is room for all
        return 3
    held = driver.active.utils.get_device_properties(device.index)["max_shared_mem"]
    return 3 if held >= 220 * 1024 else 2 if held >= 160 * 1024 else 1


def fits(q: Tensor, v: Tensor) -> bool:
    """Whether the programs read such tokens: keys of at most 256 channels, 128 where memory is small."""
    widest = 256 if _stages(q.device) == 3 else 128
    rows = max(x.shape[:-2].numel() for x in (q, v))
    return q.dtype in _TYPES and q.shape[-1] <= widest and rows <= MOST and q.numel() > 0 and v.numel() > 0


def chunked(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, log_decay: Tensor | None = None, rate: Tensor | None = None,
    *, chunk: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `linear.chunked`; q, k and v may be of half precision, outputs are then too.

    Args:
        chunk: 16, 32 or 64 tokens; None: as many as a program can hold.
    """
    shape = torch.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v, state)))  # type: ignore[no-untyped-call]
    diagonal = log_decay is not None and log_decay.dim() == k.dim()
    exact = q.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    widths = [_power(x.shape[-1]) for x in (q, v)]
    if chunk is None:  # as many tokens of keys as leave room for the rest; of narrow ones 64 gain nothing
        chunk = min(16384 // (widths[0] * q.element_size()), 32 if exact or min(widths) < 64 else 64)

    def flat(x: Tensor, inner: int) -> Tensor:
        size = x.shape[-inner:]
        return (x if x.shape[:-inner] == shape else x.expand(*shape, *size)).reshape(-1, *size).contiguous()

    rows = flat(q, 2)
    decay, precision = 0 if log_decay is None else 1 + diagonal, "tf32x3" if exact else "tf32"
    n, length, keys = rows.shape
    programs = _Programs(
        n, length, keys, v.shape[-1], token=q.dtype, decay=decay, delta=rate is not None, chunk=max(chunk, 16),
        precision=precision, stages=_stages(q.device),
    )  # fmt: skip
    out, end = _Chunked.apply(  # type: ignore[no-untyped-call]
        programs, rows, flat(k, 2), flat(v, 2), flat(state, 2).float(),
        None if log_decay is None else flat(log_decay, 1 + diagonal).float(),
        None if rate is None else flat(rate, 1).float(),
    )  # fmt: skip
    return out.view(*shape, *out.shape[1:]), end.view(*shape, *end.shape[1:])


@dataclass(frozen=True)
class _Programs:
    """The programs for tokens of one type and size."""

    n: int
    length: int
    keys: int
    values: int
    token: torch.dtype
    decay: int  # 0, 1 a head, or 2: one a key channel
    delta: bool
    chunk: int
    precision: str
    stages: int

    @property
    def chunks(self) -> int:
        return -(-self.length // self.chunk)

    @property
    def gates(self) -> int:
        return self.keys if self.decay == 2 else 1

    def run(self, name: str, *tensors: Tensor | None, split: bool = False) -> None:
        """A program a chunk and row or, `split`, a block of value channels and row."""
        grid, sizes = _sizes(self, name, split)
        # Triton launches on the current device, which need not be the tensors'.
        with torch.cuda.device_of(tensors[0]):  # type: ignore[no-untyped-call]
            getattr(kernels, name)[grid](*tensors, **sizes, num_warps=WARPS, num_stages=self.stages)


@lru_cache(maxsize=1024)
def _sizes(programs: _Programs, name: str, split: bool) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid of a program, and what it is told."""
    keys, values, chunk = programs.keys, programs.values, programs.chunk
    wide, some = _power(keys), min(_power(values), BLOCK)
    if split:
        some = min(some, 16384 // (wide * programs.token.itemsize))  # of a state that a program can hold
        while some > 16 and programs.n * -(-values // some) < BUSY:
            some //= 2
    every = {
        "length": programs.length, "padded": programs.chunks * chunk, "chunks": programs.chunks,
        "K": keys, "V": values, "G": programs.gates, "BK": wide, "BV": some,
        "GB": wide if programs.decay == 2 else 1, "C": chunk, "LOG": chunk.bit_length() - 1,
        "DECAY": programs.decay, "DELTA": programs.delta, "TOKEN": _TYPES[programs.token],
        "PRECISION": programs.precision,
    }  # fmt: skip
    asked = getattr(kernels, name).arg_names
    grid = (-(-values // some) if split else programs.chunks, programs.n)
    return grid, {each: size for each, size in every.items() if each in asked}


def _power(size: int) -> int:
    """The next power of two, at least what a matrix unit multiplies."""
    return max(1 << (size - 1).bit_length(), 16)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, programs: _Programs, q: Tensor, k: Tensor, v: Tensor, state: Tensor, log_decay: Tensor | None,
        rate: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        n, padded = programs.n, programs.chunks * programs.chunk
        since, until, inverse, w, writes = None, None, None, None, v
        if log_decay is not None:
            since, until = (q.new_empty(n, padded, programs.gates, dtype=torch.float32) for _ in range(2))
            programs.run("decays", log_decay, since, until)
        if rate is not None:
            inverse = q.new_empty(n, padded, programs.chunk)
            w, writes = torch.empty_like(k), torch.empty_like(v)
            programs.run("corrections", k, v, log_decay, rate, since, inverse, writes, w)
        starts, end = q.new_empty(n, programs.chunks, *state.shape[1:]), torch.empty_like(state)
        programs.run("carry", k, writes, w, since, until, state, starts, end, split=True)
        out = torch.empty_like(v)
        programs.run("read", q, k, log_decay, writes, since, starts, out)
        ctx.save_for_backward(q, k, v, log_decay, rate, since, until, inverse, w, writes, starts)
        ctx.programs = programs
        return out, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: Tensor, of_end: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, log_decay, rate, since, until, inverse, w, writes, starts = ctx.saved_tensors
        programs: _Programs = ctx.programs
        of_out, of_end = of_out.contiguous(), of_end.contiguous()
        of_writes, of_state, of_ends = torch.empty_like(v), torch.empty_like(of_end), torch.empty_like(starts)
        programs.run("read_back", q, k, log_decay, of_out, of_writes)
        programs.run(
            "carry_back", q, k, w, since, until, of_out, of_writes, of_end, of_ends, of_state, split=True
        )
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), of_writes
        of_decay, of_rate = (None if x is None else torch.empty_like(x) for x in (log_decay, rate))
        if rate is not None:
            of_v = torch.empty_like(v)
        programs.run(
            "back", q, k, v, log_decay, rate, inverse, w, writes, since, until, starts, of_out, of_writes,
            of_ends, of_q, of_k, of_v, of_decay, of_rate,
        )  # fmt: skip
        return None, of_q, of_k, of_v, of_state, of_decay, of_rate
