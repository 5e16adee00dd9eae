"""One vector a channel, against the matrix engine with one value column and against finite differences."""

from __future__ import annotations

import pytest
import torch

from mnemic.recurrent.engine import vector
from mnemic.recurrent.engine.linear import loop


def drawn(length: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    sizes = [(2, length, 3), (3, 4), (2, length, 4), (2, length, 4), (2, length, 3)]
    step, speed, *rest = (torch.randn(size, dtype=torch.float64) for size in sizes)
    return [each.requires_grad_() for each in (step.abs(), speed.abs(), *rest)]


@pytest.mark.parametrize("length", [1, 5, 8, 13])
def test_it_is_a_matrix_of_one_value_column_and_so_are_its_gradients(length: int) -> None:
    given = drawn(length)
    step, speed, keys, queries, values = given
    decay = -step.mT.unsqueeze(-1) * speed.unsqueeze(1)  # [batch, channels, length, states]
    queries_, keys_ = (each.unsqueeze(1).expand_as(decay) for each in (queries, keys))
    empty = torch.zeros(2, 3, 4, 1, dtype=torch.float64)
    want = loop(queries_, keys_, values.mT.unsqueeze(-1), empty, decay)[0].squeeze(-1).mT
    got = vector.read(step, speed, keys, queries, values, chunk=4)
    assert torch.allclose(got, want)
    weights = torch.randn_like(want)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), given) for y in (got, want))
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our, their)


def test_its_gradients_are_finite_differences() -> None:
    given = drawn(7)
    assert torch.autograd.gradcheck(lambda *each: vector.read(*each, chunk=3), given)


@torch.no_grad()
def test_a_fast_decay_beside_a_slow_one_costs_no_digits() -> None:
    step, speed, keys, queries, values = (each.detach() for each in drawn(40))
    speed = torch.logspace(-6, 4, 12, dtype=torch.float64).reshape(3, 4)
    want = vector.read(step, speed, keys, queries, values, chunk=8)
    got = vector.read(*(each.float() for each in (step, speed, keys, queries, values)), chunk=16)
    assert torch.allclose(got.double(), want, rtol=1e-5, atol=1e-5)
