"""The network engine, by every rule, against a loop over every token's weights with gradients by autograd."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mnemic.recurrent.engine import slopes
from mnemic.recurrent.engine.bias import cubic, dot, huber, squared
from mnemic.recurrent.engine.border import orthogonal_step, orthogonal_step_on_sphere, quartic_norm, simplex
from mnemic.recurrent.engine.mix import Mix
from mnemic.recurrent.engine.network import Bias, Gates, Network
from mnemic.recurrent.engine.structure import Perceptron, Structure, SwiGLU

K = V = 4
HEADS = 2
RESIDUAL = Perceptron(depth=2, expansion=2, residual=True)
STRUCTURES: list[Structure] = [
    Perceptron(depth=1),
    Perceptron(depth=2, expansion=2),
    Perceptron(depth=3, expansion=1),
    RESIDUAL,
    SwiGLU(expansion=2),
]


RULES = [
    *(Network(structure, squared, momentum=momentum) for structure in STRUCTURES for momentum in (False, True)),
    Network(RESIDUAL, cubic, border=quartic_norm),  # Moneta
    Network(RESIDUAL, squared, border=simplex),  # Memora
    Network(RESIDUAL, huber),  # Yaad
    Network(STRUCTURES[0], squared, momentum=True, border=orthogonal_step, stepwise=False),  # ATLAS
    Network(STRUCTURES[-1], dot, momentum=True, border=orthogonal_step_on_sphere, stepwise=False),  # LaCT
]


def loss(bias: Bias, error: Tensor, v: Tensor, threshold: Tensor) -> Tensor:
    """What `bias` is the gradient of, for one token; the error is the output minus v."""
    if bias is squared:
        return error.square().sum() / 2
    if bias is cubic:
        return error.abs().pow(3).sum() / 3
    if bias is huber:
        return error.square().sum() / 2 if error.norm() <= threshold else threshold * error.norm()
    return -((error + v) * v).sum()


def inputs(
    length: int, seed: int, *, momentum: bool, window: int, batch: int = 1, heads: int = HEADS
) -> tuple[Tensor, Tensor, Tensor, Gates]:
    """Random tokens; gates of exactly 0 and e^-50 are among the others."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, heads, length, *shape, generator=generator, dtype=torch.float64)

    def gate() -> Tensor:
        log, which = -draw().abs(), torch.randint(5, (batch, heads, length), generator=generator)
        return log.masked_fill(which == 0, 0).masked_fill(which == 1, -50)

    gates = Gates(
        rate=0.1 * draw().abs(),
        log_keep=gate(),
        log_momentum=gate() if momentum else None,
        weight=draw().abs() if window > 1 else None,
        threshold=draw().abs(),
    )
    return draw(K), draw(K), draw(V), gates


def part(gates: Gates, *index: Any) -> Gates:
    return Gates(*(g if g is None else g[index] for g in vars(gates).values()))


def at_border(network: Network, now: list[Tensor], moment: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The weights after a chunk, and those read in the next."""
    if network.border is None:
        return now, now
    after, opened = network.border([w[None] for w in now], [m[None] for m in moment])
    return [w[0] for w in after], [w[0] for w in opened]


def plain_loop(
    network: Network, weights: list[Tensor], q: Tensor, k: Tensor, v: Tensor, gates: Gates
) -> tuple[list[Tensor], list[Tensor]]:
    """One sequence of one head, token by token; weights [inputs, outputs]; gates [length]."""
    assert gates.log_keep is not None
    assert gates.threshold is not None
    moment, now, out = [torch.zeros_like(w) for w in weights], weights, []
    _, frozen = at_border(network, weights, moment)
    for t in range(q.shape[0]):
        total = [torch.zeros_like(w) for w in weights]
        for i in range(max(0, t - network.window + 1), t + 1):
            leaves = [w.detach().requires_grad_() for w in frozen]
            output = network.structure.read(lambda j, x, leaves=leaves: x @ leaves[j], k[i])
            gradients = torch.autograd.grad(loss(network.bias, output - v[i], v[i], gates.threshold[i]), leaves)
            for j, gradient in enumerate(gradients):
                short = (network.longest / gradient.norm()).clamp_max(1)
                total[j] = total[j] + (1 if gates.weight is None else gates.weight[i]) * short * gradient
        carry = 0 if gates.log_momentum is None else gates.log_momentum[t].exp()
        moment = [carry * m - gates.rate[t] * g for m, g in zip(moment, total, strict=True)]
        keep = gates.log_keep[t].exp()
        now = [w + keep * (n - w) + network.stepwise * m for w, n, m in zip(weights, now, moment, strict=True)]
        read = now if network.border is None else frozen
        out.append(network.structure.read(lambda j, x, read=read: x @ read[j], q[t]))
        if (t + 1) % network.chunk == 0:
            now, frozen = at_border(network, now, moment)
    return out, now


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8)
@given(
    chunk=st.sampled_from([1, 3, 8]),
    window=st.sampled_from([1, 2, 5]),
    heads=st.integers(1, 2),
    lengths=st.just([(7, 7)] * 2)
    | st.lists(st.tuples(st.integers(1, 7), st.integers(0, 7)), min_size=2, max_size=3),
    seed=st.integers(0, 10**6),
)
def test_the_chunked_network_is_the_plain_loop(
    rule: Network, chunk: int, window: int, heads: int, lengths: list[tuple[int, int]], seed: int
) -> None:
    """In two calls, of whose 7 tokens every text reads as many as its `lengths` say."""
    window = 1 if rule.bias is huber else window
    network = replace(rule, chunk=chunk, window=window, longest=1.5)
    q, k, v, gates = inputs(14, seed, momentum=rule.momentum, window=window, batch=len(lengths), heads=heads)
    torch.manual_seed(seed)
    weights = [torch.randn(heads, *shape, dtype=torch.float64) for shape in rule.structure.shapes(K, V)]
    state, read = network.fresh(weights, len(lengths), K, V), []
    for start, counts in zip((0, 7), zip(*lengths, strict=True), strict=True):
        here = (slice(None), slice(None), slice(start, start + 7))
        real = None if min(counts) == 7 else torch.tensor(counts)
        y, state = network.read(q[here], k[here], v[here], part(gates, *here), state, real, weights)
        read.append(y)
    got = torch.cat(read, 2)
    for row, (first, second) in enumerate(lengths):
        for head in range(heads):
            own = (row, head, [*range(first), *range(7, 7 + second)])
            out, end = plain_loop(
                network, [w[head] for w in weights], q[own], k[own], v[own], part(gates, *own)
            )
            assert torch.allclose(got[own], torch.stack(out), atol=1e-9, rtol=1e-9)
            for i, weight in enumerate(end):
                assert torch.allclose(state[f"running.{i}"][row, head], weight, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("momentum", [False, True])
def test_a_memory_that_has_forgotten_all_learns_as_well_as_a_new_one(momentum: bool) -> None:
    """With maps that had shrunk to nothing it would recall nothing, and learn nothing."""
    network = Network(Perceptron(), squared, chunk=4, momentum=momentum)
    q, k, v, gates = inputs(80, 3, momentum=momentum, window=1)
    fading = torch.full_like(gates.rate, -1)
    forgetting = Gates(0 * gates.rate, log_keep=fading, log_momentum=fading if momentum else None)
    weights = [torch.randn(HEADS, *shape, dtype=torch.float64) for shape in network.structure.shapes(K, V)]
    new = network.fresh(weights, 1, K, V)
    expected, learnt = network.read(q, k, v, gates, new, None, weights)
    _, forgot = network.read(q, k, v, forgetting, learnt, None, weights)
    got, _ = network.read(q, k, v, gates, forgot, None, weights)
    assert not torch.allclose(learnt["running.0"], new["running.0"], atol=1e-3)
    assert torch.allclose(got, expected, atol=1e-9)


def test_a_long_gradient_is_shortened_and_a_short_one_is_not() -> None:
    q, k, v, gates = inputs(1, 0, momentum=False, window=1)
    gates = Gates(rate=torch.ones_like(gates.rate))
    start = [torch.zeros(HEADS, K, V, dtype=torch.float64)]

    def step(longest: float) -> Tensor:
        network = Network(Perceptron(depth=1), squared, longest=longest)
        return network.read(q, k, v, gates, network.fresh(start, 1, K, V), None, start)[1]["running.0"].norm(
            dim=(-2, -1)
        )

    assert torch.allclose(step(0.25), torch.full((1, HEADS), 0.25, dtype=torch.float64))
    assert torch.allclose(step(1e6), (k.norm(dim=-1) * v.norm(dim=-1)).squeeze(-1))


def test_a_residual_memory_needs_keys_as_long_as_values() -> None:
    with pytest.raises(ValueError, match="key_dim 4 must equal value_dim 6"):
        Perceptron(residual=True).shapes(4, 6)


def test_gradients_of_gradients_are_those_of_finite_differences() -> None:
    gradient, x = (torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    for taken in (slopes.gelu, slopes.layer_norm):
        assert torch.autograd.gradcheck(taken, (gradient, x))
    assert torch.autograd.gradcheck(slopes.quartic, (x,))
    for longest in (0.5, 4.0, 100.0):
        assert torch.autograd.gradcheck(partial(slopes.shortened, longest=longest), (inputs, gradient))


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("stepwise", [False, True])
def test_gradients_of_what_tokens_add_are_those_of_finite_differences(momentum: bool, stepwise: bool) -> None:
    rows, heads, length, seen, rows_in, columns = 4, 2, 3, 5, 2, 3

    def draw(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, dtype=torch.float64)

    gates = [draw(length, 1).sigmoid(), -draw(length, 1).abs(), -draw(length, 1).abs() if momentum else None]
    mix = Mix.of(stepwise, torch.ones(rows, length, 1, dtype=torch.float64), *gates, draw(seen, 1))
    parts = [x.clone() for x in (mix.steps, mix.shares, mix.turn, mix.gains)]
    given = [draw(1 + momentum, rows_in, columns), draw(rows_in, columns)[:heads], *parts]
    given += [draw(seen, rows_in), draw(seen, columns), draw(length, rows_in)]
    for each in given:
        each.requires_grad_()

    def read(moving: Tensor, rest: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        return Mix(*others[:4]).read(moving, rest, *others[4:])

    def after(moving: Tensor, *others: Tensor) -> Tensor:
        return Mix(*others[:4]).after(moving, *others[4:])

    assert torch.autograd.gradcheck(read, given)
    for which in range(3):  # what a loss does not see has no gradient at all
        assert torch.autograd.gradcheck(lambda *given, which=which: read(*given)[which], given)
    assert torch.autograd.gradcheck(after, [given[0], *given[2:8]])


def test_gradients_taken_through_a_feature_are_those_of_autograd() -> None:
    gradient, x = torch.randn(2, 4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    x = x.expand(2, -1, -1).clone().requires_grad_()
    for feature, taken in ((F.gelu, slopes.gelu), (lambda x: F.layer_norm(x, (5,)), slopes.layer_norm)):
        (want,) = torch.autograd.grad(feature(x), x, gradient)
        assert torch.allclose(taken(gradient, x), want)


@pytest.mark.parametrize("chunk", [8, 16, 32])
def test_what_training_holds_is_weights_a_chunk_and_not_a_token(chunk: int) -> None:
    """Bytes that autograd saves, of maps much larger than tokens: two kinds of weights at every border."""
    size, length = 64, 128
    network = Network(Perceptron(depth=1), squared, chunk=chunk, momentum=True)
    q, k, v = torch.randn(3, 1, 1, length, size)
    gates = Gates(rate=torch.rand(1, 1, length).requires_grad_(), log_keep=-torch.rand(1, 1, length))
    gates = replace(gates, log_momentum=-torch.rand(1, 1, length))
    weights = [torch.randn(1, size, size, requires_grad=True)]
    held: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        kept.append(x)  # no address is given out twice
        return x

    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        network.read(q, k, v, gates, network.fresh(weights, 1, size, size), None, weights)
    maps = sum(held.values()) / (4 * size * size)
    assert maps < 2 * length / chunk + 24 < length  # the tokens themselves are a dozen
