"""Memories that are one matrix S [key_dim, value_dim]: the token loop, and the same numbers in parallel.

    S <- decay_t S                                   retention: none, one number a head, or one a key channel
    S <- S + k_t v_t^T                               attentional bias: dot product (Hebbian)
    S <- S + k_t (rate_t (v_t - S^T k_t))^T          attentional bias: squared error (delta rule)
    o_t = S^T q_t

`loop` is these lines. `chunked` computes the same over chunks of C tokens, in matrix products or, on a GPU, by
the programs of `fused`. With
D_ij = prod_{j<s<=i} decay_s and d_i = prod_{s<=i} decay_s inside the chunk, the writes R (rows r_j) are V for
the dot product and, for the delta rule, the solution of

    (I + A) R = rate (V - d K S_in),   A = strictly lower part of rate (K K^T) D          (WY form)

    O = d Q S_in + lower(Q K^T D) R,   S_out = d_C S_in + (D_C: K)^T R.

Decays travel as logarithms and only sums of them over the stretch between two tokens are exponentiated, so
that nothing overflows and a decay of exp(-50) beside one of exp(0) costs no digits.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

_NOTHING = -1e4  # a logarithm whose exponential is 0 in every precision


def loop(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, log_decay: Tensor | None = None, rate: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Read a sequence token by token; shapes as in `chunked`."""
    out = []
    for t in range(q.shape[-2]):
        key = k[..., t, :]
        if log_decay is not None:
            decay = log_decay[..., t, :] if log_decay.dim() == k.dim() else log_decay[..., t, None]
            state = decay.exp().unsqueeze(-1) * state
        write = v[..., t, :]
        if rate is not None:
            write = rate[..., t, None] * (write - torch.einsum("...kv,...k->...v", state, key))
        state = state + key.unsqueeze(-1) * write.unsqueeze(-2)
        out.append(torch.einsum("...kv,...k->...v", state, q[..., t, :]))
    return torch.stack(out, -2) if out else v, state


def chunked(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, log_decay: Tensor | None = None, rate: Tensor | None = None,
    *, chunk: int = 32, token: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Read a sequence in chunks.

    q, k [..., length, key_dim]; v [..., length, value_dim]; state [..., key_dim, value_dim];
    log_decay <= 0, [..., length] or [..., length, key_dim] (dot product only); rate [..., length], given for
    the delta rule -> outputs [..., length, value_dim] and the new state.

    Args:
        chunk: tokens computed side by side; a GPU takes as many as suit it.
        token: the type of the layer's parameters; if bfloat16, a GPU multiplies tokens in it.

    Raises:
        ValueError: a decay per channel together with a rate.
    """
    if rate is not None and log_decay is not None and log_decay.dim() == k.dim():
        raise ValueError(
            "a decay per key channel has no parallel form with the delta rule; decay per head instead"
        )
    if q.shape[-2] == 0:
        return v, state
    if q.is_cuda and (fused := _fused()) is not None and fused.fits(q, v):
        half = token == torch.bfloat16
        out, state = fused.chunked(*(x.bfloat16() if half else x for x in (q, k, v)), state, log_decay, rate)
        return out.to(v.dtype), state
    return products(q, k, v, state, log_decay, rate, chunk=chunk)


def products(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, log_decay: Tensor | None = None, rate: Tensor | None = None,
    *, chunk: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same in matrix products, on any device."""
    length = q.shape[-2]
    diagonal = log_decay is not None and log_decay.dim() == k.dim()
    chunk = min(chunk, 1 << max(length - 1, 0).bit_length())
    q, k, v = (_cut(x, chunk) for x in (q, k, v))
    start: Tensor | None = None
    since_start: Tensor | float = 1.0
    until_end: Tensor | float = 1.0
    total: Tensor | None = None
    if log_decay is not None and diagonal:
        g = _cut(log_decay, chunk)
        inside, since_start, until_end = _lower_diagonal(q, k, v, g), g.cumsum(-2).exp(), _after(g).exp()
    else:
        between = None
        if log_decay is not None:
            g = _cut(log_decay.unsqueeze(-1), chunk).squeeze(-1)
            between = between_sums(g).exp()  # D
            since_start, until_end = g.cumsum(-1).exp().unsqueeze(-1), between[..., -1, :].unsqueeze(-1)
        attention = _lower(q @ k.mT, between)
        if rate is None:
            inside = attention @ v
        else:
            v, start = _solve(k, v, between, since_start, _cut(rate.unsqueeze(-1), chunk))
    if isinstance(since_start, Tensor):
        total = since_start[..., -1, :].unsqueeze(-1)
    late_keys = (until_end * k).mT
    if start is None:
        starts, state = _carried(total, late_keys @ v, state)
    else:
        starts, writes, state = _corrected(total, late_keys, v, start, state)
        inside = attention @ writes
    out = inside + (since_start * q) @ starts
    return out.flatten(-3, -2)[..., :length, :], state


@cache
def _fused() -> ModuleType | None:
    """The programs for GPUs, where Triton is installed (it comes with PyTorch for CUDA) and makes them."""
    if torch.version.hip or find_spec("triton") is None:
        return None
    from mnemic.recurrent.engine import fused

    return fused


def _carried(total: Tensor | None, gains: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The state at the start of every chunk, [..., chunks, key_dim, value_dim], and the last one."""
    if total is None:
        sums = torch.cat([state.unsqueeze(-3), gains], -3).cumsum(-3)
        return sums[..., :-1, :, :], sums[..., -1, :, :].clone()
    starts = []
    for kept, gain in zip(total.unbind(-3), gains.unbind(-3), strict=True):
        starts.append(state)
        state = torch.addcmul(gain, kept, state)
    return torch.stack(starts, -3), state


def _corrected(
    total: Tensor | None, late_keys: Tensor, v: Tensor, start: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same where what a chunk writes depends on the state at its start; and these writes."""
    starts, writes = [], []
    kept = [None] * v.shape[-3] if total is None else total.unbind(-3)
    for share, keys, u, w in zip(kept, *(x.unbind(-3) for x in (late_keys, v, start)), strict=True):
        starts.append(state)
        writes.append(u - w @ state)
        gain = keys @ writes[-1]
        state = state + gain if share is None else torch.addcmul(gain, share, state)
    return torch.stack(starts, -3), torch.stack(writes, -3), state


def _solve(
    k: Tensor, v: Tensor, between: Tensor | None, since_start: Tensor | float, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """U, W with R = U - W S_in: one unit triangular solve for both right-hand sides."""
    both = torch.linalg.solve_triangular(
        rate * _lower(k @ k.mT, between),  # only what is strictly below the diagonal is looked at
        torch.cat([rate * v, rate * since_start * k], -1),
        upper=False, unitriangular=True,
    )  # fmt: skip
    u, w = both.split([v.shape[-1], k.shape[-1]], -1)
    return u, w


def _lower(products: Tensor, between: Tensor | None) -> Tensor:
    """Products of tokens with those up to them, decayed."""
    return products.tril() if between is None else products * between


def _lower_diagonal(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """Sum over j <= i of (sum_c q_ic k_jc exp(sum of g_c over (j, i])) v_j, inside chunks of a power of two.

    Two tokens meet at the one border, halving and halving, that separates them: the query decays from the
    border on, the key up to it, both factors at most 1.
    """
    out = (q * k).sum(-1, keepdim=True) * v
    half = 1
    while half < q.shape[-2]:
        (_, q2), (k1, _), (v1, _), (g1, g2) = (_halves(x, half) for x in (q, k, v, g))
        query, key = q2 * g2.cumsum(-2).exp(), k1 * _after(g1).exp()
        late = query @ key.mT @ v1
        out = out + torch.stack([torch.zeros_like(late), late], -3).reshape(out.shape)
        half *= 2
    return out


def _halves(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """[..., chunk, d] -> two of [..., chunk / (2 half), half, d]: first and second halves of its blocks."""
    first, second = x.reshape(*x.shape[:-2], -1, 2, half, x.shape[-1]).unbind(-3)
    return first, second


def _cut(x: Tensor, chunk: int) -> Tensor:
    """[..., length, d] -> [..., chunks, chunk, d], the tail filled with tokens that change nothing (zeros)."""
    missing = -x.shape[-2] % chunk
    padded = F.pad(x, (0, 0, 0, missing)) if missing else x
    return padded.reshape(*x.shape[:-2], -1, chunk, x.shape[-1])


def _after(g: Tensor) -> Tensor:
    """[..., C, d] -> the sum of what comes strictly later in C."""
    return F.pad(g[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)


def between_sums(g: Tensor) -> Tensor:
    """[..., C] -> [..., C, C]: sum of g over (j, i], -inf for j > i.

    Sums from the start, in float64, are subtracted in two parts, so that no digit of g's precision is lost.
    """
    sums = g.clamp_min(_NOTHING).double().cumsum(-1)
    high = sums.to(g.dtype)
    low = (sums - high).detach().to(g.dtype)
    between = high.unsqueeze(-1) - high.unsqueeze(-2)
    size = g.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=g.device).triu(1)
    return between.add_(low.unsqueeze(-1)).sub_(low.unsqueeze(-2)).masked_fill_(later, -torch.inf)
