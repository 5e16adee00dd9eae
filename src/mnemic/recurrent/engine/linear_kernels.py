"""The chunks of `linear` as GPU programs, forward and backward; `fused` calls them.

Names are those of `linear`: D `between`, d `since` (the start), D_C: `until` (the end), U and W, writes R.
A text and head is one of the n rows of [n, length, width]; a tile is [C, width] of it, zeros where nothing is.
DECAY is 0 for none, 1 for one a head, 2 for one a key channel. K, V and G are channels of keys, values and
decays, BK, BV and GB the powers of two that hold them (BV some of the values). `padded` is the length in whole
chunks, LOG the logarithm of C. TOKEN is the type tokens are multiplied in; sums are float32.
"""

import triton
import triton.language as tl

FADED = tl.constexpr(-1e4)  # a logarithm whose exponential is 0


@triton.jit
def load(start, rows, columns, height, width: tl.constexpr):
    there = (rows[:, None] < height) & (columns[None, :] < width)
    return tl.load(start + rows[:, None] * width + columns[None, :], mask=there, other=0.0)


@triton.jit
def store(start, rows, columns, height, width: tl.constexpr, x):
    there = (rows[:, None] < height) & (columns[None, :] < width)
    tl.store(start + rows[:, None] * width + columns[None, :], x.to(start.dtype.element_ty), mask=there)


@triton.jit
def dot(a, b, TOKEN: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(TOKEN), b.to(TOKEN), input_precision=PRECISION)


@triton.jit
def logarithms(log_decay, n, rows, length, G: tl.constexpr, GB: tl.constexpr):
    return tl.maximum(load(log_decay + n * length * G, rows, tl.arange(0, GB), length, G).to(tl.float32), FADED)


@triton.jit
def decayed(x, shares, n, rows, padded, G: tl.constexpr, GB: tl.constexpr):
    """A tile with every token's share, since the start or until the end, of `decays`."""
    return x * load(shares + n * padded * G, rows, tl.arange(0, GB), padded, G)


@triton.jit
def kept(since, n, chunk, padded, G: tl.constexpr, GB: tl.constexpr, C: tl.constexpr):
    """[GB]: what a whole chunk leaves of a state."""
    gates = tl.arange(0, GB)
    return tl.load(since + (n * padded + chunk * C + C - 1) * G + gates, mask=gates < G, other=0.0)


@triton.jit
def between(log_decay, rows, length, C: tl.constexpr):
    """D [C, C]; sums from the start are subtracted, so they are made in float64."""
    logs = tl.load(log_decay + rows, mask=rows < length, other=0.0).to(tl.float64)
    sums = tl.cumsum(tl.maximum(logs, FADED), 0)
    order = tl.arange(0, C)
    later = order[:, None] < order[None, :]
    return tl.exp(tl.where(later, 2 * FADED, sums[:, None] - sums[None, :]).to(tl.float32))


@triton.jit
def faded(logs, level, C: tl.constexpr, PRECISION: tl.constexpr):
    """[C, BK]: what decays between a token and the border in the middle of its block of 2^(level + 1)."""
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    side = tl.where((row >> level) % 2 == 1, column <= row, column > row)
    near = tl.where(side & ((row >> level) == (column >> level)), 1.0, 0.0)
    return tl.exp(tl.dot(near, logs, input_precision=PRECISION))


@triton.jit
def meeting(level, C: tl.constexpr):
    """[C, C]: whether the border that separates a token from an earlier one is of this level."""
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    return ((row >> level) > (column >> level)) & ((row >> (level + 1)) == (column >> (level + 1)))


@triton.jit
def scores(
    q, k, log_decay, n, rows, columns, length,
    K: tl.constexpr,
    C: tl.constexpr, LOG: tl.constexpr, BK: tl.constexpr, DECAY: tl.constexpr, TOKEN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """lower(Q K^T D) [C, C]."""
    order = tl.arange(0, C)
    if DECAY == 2:
        logs = logarithms(log_decay, n, rows, length, K, BK)
        itself = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1)[:, None]
        found = tl.where(order[:, None] == order[None, :], itself, 0.0)
        for level in range(LOG):
            share = faded(logs, level, C, PRECISION)
            meet = meeting(level, C)
            found += tl.where(meet, dot(q * share, tl.trans(k * share), TOKEN, PRECISION), 0.0)
        return found
    found = dot(q, tl.trans(k), TOKEN, PRECISION)
    if DECAY == 1:
        return found * between(log_decay + n * length, rows, length, C)
    return tl.where(order[:, None] >= order[None, :], found, 0.0)


@triton.jit
def decays(
    log_decay, since, until, length, padded,
    G: tl.constexpr, C: tl.constexpr, GB: tl.constexpr,
):  # fmt: skip
    """Since the start of the chunk and until its end, log_decay [n, length, G] -> [n, padded, G]."""
    n, rows = tl.program_id(1).to(tl.int64), tl.program_id(0) * C + tl.arange(0, C)
    gates = tl.arange(0, GB)
    logs = logarithms(log_decay, n, rows, length, G, GB)
    store(since + n * padded * G, rows, gates, padded, G, tl.exp(tl.cumsum(logs, 0)))
    store(until + n * padded * G, rows, gates, padded, G, tl.exp(tl.cumsum(logs, 0, reverse=True) - logs))


@triton.jit
def corrections(
    k, v, log_decay, rate, since, inverse, u, w, length, padded,
    K: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, LOG: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DECAY: tl.constexpr,
    TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(I + A)^-1, U and W. Blocks are inverted halving by halving: of twice the size, X - X A_off X."""
    n, rows = tl.program_id(1).to(tl.int64), tl.program_id(0) * C + tl.arange(0, C)
    columns, order = tl.arange(0, BK), tl.arange(0, C)
    keys = load(k + n * length * K, rows, columns, length, K)
    rates = tl.load(rate + n * length + rows, mask=rows < length, other=0.0)[:, None]
    a = rates * dot(keys, tl.trans(keys), TOKEN, PRECISION)
    if DECAY == 1:
        a *= between(log_decay + n * length, rows, length, C)
    x = tl.where(order[:, None] == order[None, :], 1.0, 0.0) - tl.where(meeting(0, C), a, 0.0)
    for level in range(1, LOG):
        off = tl.where(meeting(level, C), a, 0.0)
        x -= dot(dot(x, off, tl.float32, PRECISION), x, tl.float32, PRECISION)
    store(inverse + n * padded * C, rows, order, padded, C, x)
    asked = rates * keys
    if DECAY == 1:
        asked = decayed(asked, since, n, rows, padded, 1, 1)
    store(w + n * length * K, rows, columns, length, K, dot(x, asked, TOKEN, PRECISION))
    for first in range(0, V, BV):
        some = first + tl.arange(0, BV)
        values = load(v + n * length * V, rows, some, length, V)
        store(u + n * length * V, rows, some, length, V, dot(x, rates * values, TOKEN, PRECISION))


@triton.jit
def carry(
    k, writes, w, since, until, state, starts, end, length, padded, chunks,
    K: tl.constexpr, V: tl.constexpr, G: tl.constexpr,
    C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, GB: tl.constexpr, DECAY: tl.constexpr,
    DELTA: tl.constexpr, TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The state at the start of every chunk and after all; `writes` holds V or U, and then R."""
    n, some = tl.program_id(1).to(tl.int64), tl.program_id(0) * BV + tl.arange(0, BV)
    columns = tl.arange(0, BK)
    s = load(state + n * K * V, columns, some, K, V).to(tl.float32)
    for chunk in range(chunks):
        rows = chunk * C + tl.arange(0, C)
        store(starts + (n * chunks + chunk) * K * V, columns, some, K, V, s)
        write = load(writes + n * length * V, rows, some, length, V)
        if DELTA:
            write = write - dot(load(w + n * length * K, rows, columns, length, K), s, TOKEN, PRECISION)
            store(writes + n * length * V, rows, some, length, V, write)
        keys = load(k + n * length * K, rows, columns, length, K)
        if DECAY > 0:
            keys = decayed(keys, until, n, rows, padded, G, GB)
            s *= kept(since, n, chunk, padded, G, GB, C)[:, None]
        s += dot(tl.trans(keys), write, TOKEN, PRECISION)
    store(end + n * K * V, columns, some, K, V, s)


@triton.jit
def read(
    q, k, log_decay, writes, since, starts, out, length, padded, chunks,
    K: tl.constexpr, V: tl.constexpr, G: tl.constexpr,
    C: tl.constexpr, LOG: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, GB: tl.constexpr,
    DECAY: tl.constexpr, TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """O = d Q S_in + lower(Q K^T D) R."""
    chunk, n = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows, columns = chunk * C + tl.arange(0, C), tl.arange(0, BK)
    queries = load(q + n * length * K, rows, columns, length, K)
    keys = load(k + n * length * K, rows, columns, length, K)
    seen = scores(queries, keys, log_decay, n, rows, columns, length, K, C, LOG, BK, DECAY, TOKEN, PRECISION)
    if DECAY > 0:
        queries = decayed(queries, since, n, rows, padded, G, GB)
    for first in range(0, V, BV):
        some = first + tl.arange(0, BV)
        o = dot(seen, load(writes + n * length * V, rows, some, length, V), TOKEN, PRECISION)
        s = load(starts + (n * chunks + chunk) * K * V, columns, some, K, V)
        store(out + n * length * V, rows, some, length, V, o + dot(queries, s, TOKEN, PRECISION))


@triton.jit
def read_back(
    q, k, log_decay, of_out, of_writes, length,
    K: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, LOG: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DECAY: tl.constexpr,
    TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What R has of the gradient of O inside its chunk: lower(Q K^T D)^T dO."""
    n, rows = tl.program_id(1).to(tl.int64), tl.program_id(0) * C + tl.arange(0, C)
    columns = tl.arange(0, BK)
    queries = load(q + n * length * K, rows, columns, length, K)
    keys = load(k + n * length * K, rows, columns, length, K)
    seen = tl.trans(scores(
        queries, keys, log_decay, n, rows, columns, length, K, C, LOG, BK, DECAY, TOKEN, PRECISION
    ))  # fmt: skip
    for first in range(0, V, BV):
        some = first + tl.arange(0, BV)
        outer = load(of_out + n * length * V, rows, some, length, V)
        store(of_writes + n * length * V, rows, some, length, V, dot(seen, outer, TOKEN, PRECISION))


@triton.jit
def carry_back(
    q, k, w, since, until, of_out, of_writes, of_end, of_ends, of_state, length, padded, chunks,
    K: tl.constexpr, V: tl.constexpr, G: tl.constexpr,
    C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, GB: tl.constexpr, DECAY: tl.constexpr,
    DELTA: tl.constexpr, TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the state at the end of every chunk and before all, and the rest of those of R."""
    n, some = tl.program_id(1).to(tl.int64), tl.program_id(0) * BV + tl.arange(0, BV)
    columns = tl.arange(0, BK)
    ds = load(of_end + n * K * V, columns, some, K, V).to(tl.float32)
    for back in range(chunks):
        chunk = chunks - 1 - back
        rows = chunk * C + tl.arange(0, C)
        store(of_ends + (n * chunks + chunk) * K * V, columns, some, K, V, ds)
        keys = load(k + n * length * K, rows, columns, length, K)
        queries = load(q + n * length * K, rows, columns, length, K)
        if DECAY > 0:
            keys = decayed(keys, until, n, rows, padded, G, GB)
            queries = decayed(queries, since, n, rows, padded, G, GB)
        outer = load(of_out + n * length * V, rows, some, length, V)
        dr = load(of_writes + n * length * V, rows, some, length, V) + dot(keys, ds, TOKEN, PRECISION)
        store(of_writes + n * length * V, rows, some, length, V, dr)
        if DECAY > 0:
            ds *= kept(since, n, chunk, padded, G, GB, C)[:, None]
        ds += dot(tl.trans(queries), outer, TOKEN, PRECISION)
        if DELTA:
            seen = load(w + n * length * K, rows, columns, length, K)
            ds -= dot(tl.trans(seen), dr, TOKEN, PRECISION)
    store(of_state + n * K * V, columns, some, K, V, ds)


@triton.jit
def back(
    q, k, v, log_decay, rate, inverse, w, writes, since, until, starts, of_out, of_writes, of_ends,
    dq, dk, dv, dg, drate, length, padded, chunks,
    K: tl.constexpr, V: tl.constexpr, G: tl.constexpr,
    C: tl.constexpr, LOG: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, GB: tl.constexpr,
    DECAY: tl.constexpr, DELTA: tl.constexpr, TOKEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of what a chunk was given, from those of O, R and the states at its ends.

    Where q_i or k_i meets a decay it is multiplied by the exponential of a sum of logarithms up to token i, so
    the gradient of that sum is q.dq - k.dk, and that of one logarithm the sum of these from it on.
    """
    chunk, n = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows, columns, order = chunk * C + tl.arange(0, C), tl.arange(0, BK), tl.arange(0, C)
    of_scores = tl.zeros([C, C], tl.float32)
    of_queries, of_keys = tl.zeros([C, BK], tl.float32), tl.zeros([C, BK], tl.float32)
    carried = tl.zeros([BK], tl.float32)
    if DELTA:
        x = load(inverse + n * padded * C, rows, order, padded, C)
        rates = tl.load(rate + n * length + rows, mask=rows < length, other=0.0)[:, None]
        of_w, of_a = tl.zeros([C, BK], tl.float32), tl.zeros([C, C], tl.float32)
        of_rate = tl.zeros([C], tl.float32)
    for first in range(0, V, BV):
        some = first + tl.arange(0, BV)
        outer = load(of_out + n * length * V, rows, some, length, V)
        write = load(writes + n * length * V, rows, some, length, V)
        s = load(starts + (n * chunks + chunk) * K * V, columns, some, K, V)
        ds = load(of_ends + (n * chunks + chunk) * K * V, columns, some, K, V)
        of_scores += dot(outer, tl.trans(write), TOKEN, PRECISION)
        of_queries += dot(outer, tl.trans(s), TOKEN, PRECISION)
        of_keys += dot(write, tl.trans(ds), TOKEN, PRECISION)
        if DECAY > 0:
            carried += tl.sum(s.to(tl.float32) * ds.to(tl.float32), 1)
        if DELTA:
            dr = load(of_writes + n * length * V, rows, some, length, V)
            values = load(v + n * length * V, rows, some, length, V)
            of_w -= dot(dr, tl.trans(s), TOKEN, PRECISION)
            y = dot(tl.trans(x), dr, TOKEN, PRECISION)
            of_a -= dot(y, tl.trans(dot(x, rates * values, TOKEN, PRECISION)), TOKEN, PRECISION)
            of_rate += tl.sum(y * values, 1)
            store(dv + n * length * V, rows, some, length, V, rates * y)
    queries = load(q + n * length * K, rows, columns, length, K)
    keys = load(k + n * length * K, rows, columns, length, K)
    if DECAY > 0:
        of_queries = decayed(of_queries, since, n, rows, padded, G, GB)
        of_keys = decayed(of_keys, until, n, rows, padded, G, GB)
        of_total = kept(since, n, chunk, padded, G, GB, C) * carried + tl.sum(keys * of_keys, 0)  # [BK]
    if DECAY == 1:
        decay = between(log_decay + n * length, rows, length, C)
        of_scores *= decay
    elif DECAY == 0:
        of_scores = tl.where(order[:, None] >= order[None, :], of_scores, 0.0)
    if DECAY == 2:
        logs = logarithms(log_decay, n, rows, length, K, BK)
        for level in range(LOG):
            near = faded(logs, level, C, PRECISION)
            meet = meeting(level, C)
            met = tl.where(meet, of_scores, 0.0)
            of_queries += near * dot(met, keys * near, TOKEN, PRECISION)
            of_keys += near * dot(tl.trans(met), queries * near, TOKEN, PRECISION)
        itself = tl.sum(tl.where(order[:, None] == order[None, :], of_scores, 0.0), 1)[:, None]
        of_logs = queries * of_queries - keys * of_keys
        of_queries += itself * keys
        of_keys += itself * queries
        of_logs = tl.cumsum(of_logs, 0, reverse=True) + of_total[None, :]
        store(dg + n * length * K, rows, columns, length, K, of_logs)
    else:
        of_queries += dot(of_scores, keys, TOKEN, PRECISION)
        of_keys += dot(tl.trans(of_scores), queries, TOKEN, PRECISION)
        if DECAY == 1:
            of_log = tl.sum(queries * of_queries - keys * of_keys, 1)
        if DELTA:
            y = dot(tl.trans(x), of_w, TOKEN, PRECISION)
            of_a -= dot(y, tl.trans(load(w + n * length * K, rows, columns, length, K)), TOKEN, PRECISION)
            of_a = tl.where(order[:, None] > order[None, :], of_a, 0.0)
            if DECAY == 1:
                of_a *= decay
                y = decayed(y, since, n, rows, padded, G, GB)
            asked = y + dot(of_a, keys, TOKEN, PRECISION)
            of_rate += tl.sum(keys * asked, 1)
            asked *= rates
            met = dot(tl.trans(rates * of_a), keys, TOKEN, PRECISION)
            if DECAY == 1:
                of_log += tl.sum(keys * (asked - met), 1)
            of_keys += asked + met
            tl.store(drate + n * length + rows, of_rate, mask=rows < length)
        if DECAY == 1:
            of_log = tl.cumsum(of_log, 0, reverse=True) + tl.sum(of_total, 0)
            tl.store(dg + n * length + rows, of_log, mask=rows < length)
    store(dq + n * length * K, rows, columns, length, K, of_queries)
    store(dk + n * length * K, rows, columns, length, K, of_keys)
