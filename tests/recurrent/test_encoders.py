"""Encoders against plain loops: two directions, neighbourhoods, and sets whose order must not matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnemic.recurrent import build, jrt, order_matters, vig, vim


def shaken(module: nn.Module) -> nn.Module:
    module = module.double()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def scan(direction: vim.Direction, x: torch.Tensor) -> torch.Tensor:
    """x [length, inner], one token and one channel after the other."""
    length, inner = x.shape
    width = direction.conv.weight.shape[0]
    h = torch.zeros(inner, direction.states, dtype=x.dtype)
    out = []
    for t in range(length):
        taps = [direction.conv.weight[width - 1 - back] * x[t - back] for back in range(min(t + 1, width))]
        seen = F.silu(torch.stack(taps).sum(0))
        low, b, c = direction.select(seen).split([direction.rank, direction.states, direction.states])
        delta = F.softplus(direction.step(low))
        y = torch.empty(inner, dtype=x.dtype)
        for channel in range(inner):
            a = -direction.log_speed[channel].exp()
            h[channel] = (delta[channel] * a).exp() * h[channel] + delta[channel] * b * seen[channel]
            y[channel] = c @ h[channel] + direction.through[channel] * seen[channel]
        out.append(y)
    return torch.stack(out)


@torch.no_grad()
def test_vim_is_a_selective_loop_from_either_end() -> None:
    torch.manual_seed(0)
    layer = shaken(vim.layer(6, states=3, chunk=4))
    assert isinstance(layer, vim.BidirectionalMamba)
    u = torch.randn(1, 11, 6, dtype=torch.float64)
    x, z = layer.project(u[0]).chunk(2, -1)
    both = (scan(layer.ahead, x) + scan(layer.back, x.flip(0)).flip(0)) / 2
    assert torch.allclose(layer(u)[0], layer.output(both * F.silu(z)))


@torch.no_grad()
def test_padding_anywhere_changes_nothing_in_vim() -> None:
    torch.manual_seed(0)
    layer = shaken(vim.layer(6, states=3))
    x, mask = torch.randn(3, 14, 6, dtype=torch.float64), torch.rand(3, 14) < 0.6
    mask[2] = False
    y = layer(x.masked_fill(~mask.unsqueeze(-1), 1e3), mask)
    assert (y[~mask] == 0).all()
    for row in range(2):
        assert torch.allclose(y[row, mask[row]], layer(x[row : row + 1, mask[row]])[0])


@torch.no_grad()
def test_every_token_of_vim_sees_both_ends() -> None:
    torch.manual_seed(0)
    layer = shaken(vim.layer(6))
    x = torch.randn(1, 40, 6, dtype=torch.float64)
    for end in (0, 39):
        changed = x.clone()
        changed[:, end] += 1
        assert ((layer(changed) - layer(x)).abs().sum(-1) > 0).all()


@torch.no_grad()
def test_vig_is_two_gated_loops_and_a_neighbourhood() -> None:
    torch.manual_seed(0)
    layer = shaken(vig.layer(8, heads=2, key_dim=3, chunk=4))
    assert isinstance(layer, vig.GatedImage)
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    kernel, s = layer.near.weight[:, 0], torch.zeros(12, 8, dtype=torch.float64)
    for row in range(3):
        for column in range(4):
            around = layer.near.bias.clone()
            for i in range(-1, 2):
                for j in range(-1, 2):
                    if 0 <= row + i < 3 and 0 <= column + j < 4:
                        around += kernel[:, i + 1, j + 1] * x[0, row + i, column + j]
            s[4 * row + column] = F.silu(around)
    q, k, v = layer.project(s).split([6, 6, 8], -1)
    out = torch.zeros(12, 8, dtype=torch.float64)
    for gate, places in ((layer.ahead, range(12)), (layer.back, reversed(range(12)))):
        decay = (F.logsigmoid(gate.map(s)) / 16).exp()
        state = torch.zeros(2, 3, 4, dtype=torch.float64)
        for t in places:
            for h in range(2):
                key = slice(3 * h, 3 * h + 3)
                write = torch.outer(k[t, key], v[t, 4 * h : 4 * h + 4])
                state[h] = decay[t, key][:, None] * state[h] + write
                out[t, 4 * h : 4 * h + 4] += state[h].T @ q[t, key] / math.sqrt(3) / 2
    far = layer.norm(out.reshape(12, 2, 4)).flatten(1)
    near = layer.norm_near(s.reshape(12, 2, 4)).flatten(1)
    g = torch.sigmoid(layer.mix(s))
    assert torch.allclose(layer(x), layer.output(g * far + (1 - g) * near).reshape(x.shape))


@pytest.mark.parametrize("layer", [vim.layer(8), vig.layer(8, heads=2)], ids=["vim", "vig"])
def test_every_weight_is_trained_half_precision_is_finite_and_empty_input_is_read(layer: nn.Module) -> None:
    shape = (2, 5, 6, 8) if isinstance(layer, vig.GatedImage) else (2, 30, 8)
    torch.autograd.backward(layer(torch.randn(shape)).square().sum())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    assert torch.isfinite(layer.bfloat16()(torch.randn(shape).bfloat16())).all()
    assert layer(torch.randn(0, *shape[1:])).shape == (0, *shape[1:])
    with pytest.raises(ValueError, match=r"reads \[batch"):
        layer(torch.randn(2, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["jrt", "vig", "vim"])
def test_autocast_reads_either_precision_near_float32_and_trains(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = build(name, 16)
    x = torch.randn((2, 5, 6, 16) if name == "vig" else (2, 30, 16))

    def encoded(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = layer(x, layer.ahead(x))[0] if isinstance(layer, jrt.PrefixLinear) else layer(x)
        return y

    expected = encoded(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = encoded(x.to(dtype)).float()
    assert (got - expected).norm() < 0.05 * expected.norm()
    torch.autograd.backward(got.square().sum())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["jrt", "vig", "vim"])
def test_numbers_beyond_float16_are_refused_but_not_padding_or_those_of_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    layer = build(name, 16)
    x = torch.randn((2, 5, 6, 16) if name == "vig" else (2, 30, 16))
    loud = 6e4 * x.sign()
    with pytest.raises(ValueError, match=f"{name} came to numbers beyond 65504.*use bfloat16"):
        layer.half()(loud.half())
    if name != "vig":
        mask = torch.rand(2, 30) < 0.5
        y = layer(x.masked_fill(~mask.unsqueeze(-1), torch.nan).half(), mask=mask)
        assert torch.isfinite(y[0]).all()
    assert torch.isfinite(layer.bfloat16()(loud.bfloat16())[0]).all()


@torch.no_grad()
def test_the_summary_of_a_set_is_the_same_in_every_order_and_without_what_is_masked() -> None:
    torch.manual_seed(0)
    reader = order_matters.layer(4, width=8).double()
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    summary = reader(x)
    assert torch.allclose(reader(x[:, torch.randperm(7)]), summary)
    changed = x.clone()
    changed[:, 0] += 1
    assert not torch.allclose(reader(changed), summary)
    mask = torch.tensor([[True] * 5 + [False] * 2] * 2)
    assert torch.allclose(reader(x, mask), reader(x[:, :5]))


def test_what_is_masked_reaches_neither_summary_nor_written_nor_searched_order() -> None:
    torch.manual_seed(1)
    reader = order_matters.layer(4, width=8).double()
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.mul_(4)
    x, order = torch.randn(64, 5, 4, dtype=torch.float64), torch.tensor([[1, 2, 0]]).expand(64, -1)
    padded = torch.cat([x, torch.full((64, 2, 4), torch.nan, dtype=torch.float64)], 1)
    mask = torch.arange(7).expand(64, -1) < 5
    wanted = mask & (torch.arange(7) < 3)
    assert torch.allclose(reader(padded, mask), reader(x))
    assert torch.allclose(reader.write(padded, order, mask), reader.write(x, order))
    assert torch.equal(
        reader.search(padded, wanted, mask, temperature=0), reader.search(x, wanted[:, :5], temperature=0)
    )
    torch.autograd.backward(reader.write(padded, order, mask).sum())
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters() if p.grad is not None)


def test_masks_of_sets_that_do_not_fit_are_refused() -> None:
    reader, x, mask = order_matters.layer(4, width=8), torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(TypeError, match=r"a mask is boolean .*, not torch.int64"):
        reader(x, mask.long())
    with pytest.raises(ValueError, match=r"the mask is \[2, 4\] but the tokens are \[2, 5\]"):
        reader.write(x, torch.zeros(2, 1, dtype=torch.int64), mask[:, :4])
    with pytest.raises(TypeError, match=r"a mask is boolean .*, not torch.float32"):
        reader.search(x, mask.float())
    with pytest.raises(ValueError, match="wanted that the mask leaves out"):
        reader.search(x, mask, torch.arange(5).expand(2, -1) < 4)
    with pytest.raises(ValueError, match=r"rows want \[0, 0\] members"):
        reader.search(x, ~mask)


@torch.no_grad()
def test_a_set_is_processed_by_an_lstm_that_attends_to_its_members() -> None:
    torch.manual_seed(0)
    reader = order_matters.layer(4, width=8, steps=3).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    members = [reader.embed(row) for row in x[0]]
    q = cell = torch.zeros(1, 8, dtype=torch.float64)
    summary = torch.zeros(1, 16, dtype=torch.float64)
    for _ in range(3):
        q, cell = reader.process(summary, (q, cell))
        weights = F.softmax(torch.stack([m @ q[0] for m in members]), 0)
        r = sum(w * m for w, m in zip(weights, members, strict=True))
        summary = torch.cat([q, r[None]], -1)  # type: ignore[index]
    assert torch.allclose(reader(x), summary)


@torch.no_grad()
def test_what_is_written_is_a_distribution_over_orders() -> None:
    torch.manual_seed(0)
    reader = order_matters.layer(3, width=8).double()
    x = torch.randn(1, 4, 3, dtype=torch.float64)
    orders = torch.tensor(list(permutations(range(4))))
    likely = reader.write(x.expand(24, -1, -1), orders).sum(1).exp()
    assert torch.allclose(likely.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert likely.std() > 0


@torch.no_grad()
def test_searched_orders_of_a_set_come_as_often_as_the_model_finds_them_likely() -> None:
    torch.manual_seed(0)
    reader = shaken(order_matters.layer(3, width=8))
    assert isinstance(reader, order_matters.SetReader)
    x = 3 * torch.randn(1, 5, 3, dtype=torch.float64)
    wanted = torch.tensor([[True, False, True, True, False]])
    odds = {}
    for order in permutations([0, 2, 3]):
        p = 1.0
        for i, pointed in enumerate(order):
            rest = order[i:]
            log = [float(reader.write(x, torch.tensor([[*order[:i], other]]))[0, i]) for other in rest]
            p *= math.exp(log[rest.index(pointed)]) / sum(map(math.exp, log))
        odds[order] = p
    assert sum(odds.values()) == pytest.approx(1)
    many = (2000, -1, -1)
    generator = torch.Generator().manual_seed(0)
    drawn = reader.search(x.expand(many), wanted.expand(2000, -1), generator=generator)
    for order, p in odds.items():
        share = (drawn == torch.tensor(order)).all(1).double().mean()
        assert float(share) == pytest.approx(p, abs=0.04)
    best = reader.search(x, wanted, temperature=0)
    first = max((0, 2, 3), key=lambda i: float(reader.write(x, torch.tensor([[i]]))[0, 0]))
    assert int(best[0, 0]) == first
    even = reader.search(x.expand(many), wanted.expand(2000, -1), temperature=math.inf, generator=generator)
    assert float((even[:, 0] == 2).double().mean()) == pytest.approx(1 / 3, abs=0.04)
    with pytest.raises(ValueError, match=r"rows want \[3, 2\] members"):
        reader.search(x.expand(2, -1, -1), torch.tensor([[True] * 3 + [False] * 2, [True] * 2 + [False] * 3]))


def sorted_share(reader: order_matters.SetReader, x: torch.Tensor) -> float:
    everything = torch.ones(x.shape[:2], dtype=torch.bool)
    order = reader.search(x, everything, temperature=0)
    return float((order == x.squeeze(-1).argsort(1)).all(1).float().mean())


def trained(
    order_of: Callable[[order_matters.SetReader, torch.Tensor], torch.Tensor],
) -> order_matters.SetReader:
    """A reader taught to write the given orders of sets of five numbers."""
    torch.manual_seed(0)
    reader = order_matters.layer(1, width=32, steps=2)
    adam = torch.optim.Adam(reader.parameters(), lr=1e-2)
    for _ in range(150):
        x = torch.rand(64, 5, 1)
        loss = -reader.write(x, order_of(reader, x)).sum(1).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 2.0)
        adam.step()
    return reader


def test_it_learns_to_sort_numbers() -> None:
    reader = trained(lambda reader, x: x.squeeze(-1).argsort(1))
    assert sorted_share(reader, torch.rand(200, 5, 1)) > 0.7


def largest(x: torch.Tensor) -> torch.Tensor:
    """The three largest members of every set, as a mask."""
    return torch.zeros(x.shape[:2], dtype=torch.bool).scatter(1, x.squeeze(-1).topk(3, 1).indices, True)


@torch.no_grad()
def test_a_set_is_written_more_surely_in_the_order_searched_for_than_in_any_order() -> None:
    def unsure(temperature: float) -> float:
        with torch.enable_grad():
            reader = trained(lambda r, x: r.search(x, largest(x), temperature=temperature))
        x = torch.rand(200, 5, 1)
        return -float(reader.write(x, reader.search(x, largest(x), temperature=0)).sum(1).mean())

    assert unsure(math.inf) > 1.5
    assert unsure(1.0) < 1.0
