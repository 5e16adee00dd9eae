"""Products of bfloat16 with float32 sums: within one rounding of float64, gradients too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from mnemic.bench.products import Rounded

ONCE = 2.0**-8  # a rounding to bfloat16 is off by half of that at most
PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "@": lambda a, b: a @ b,
    "matmul": torch.matmul,
    "linear": lambda a, b: linear(a, b.mT),
    "einsum": lambda a, b: torch.einsum("ik,kj->ij", a, b),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_and_its_gradients_are_within_one_rounding_of_float64(name: str) -> None:
    torch.manual_seed(0)
    given = [torch.rand(300, 400) + 0.5, torch.rand(400, 200) + 0.5]  # long sums of positive numbers
    narrow = [x.bfloat16().requires_grad_() for x in given]
    true = [x.detach().double().requires_grad_() for x in narrow]
    with Rounded():
        out = PRODUCTS[name](*narrow)
        out.float().sum().backward()
    expected = PRODUCTS[name](*true)
    expected.sum().backward()
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), expected, rtol=ONCE, atol=0)
    for ours, exact in zip(narrow, true, strict=True):
        assert ours.grad is not None
        assert ours.grad.dtype == torch.bfloat16
        torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=ONCE, atol=0)


def test_other_numbers_and_other_operations_are_left_as_they_are() -> None:
    wide, narrow = torch.randn(5, 5), torch.randn(5, 5).bfloat16()
    with Rounded():
        assert torch.equal(wide @ wide, torch.matmul(wide, wide))
        assert (narrow + narrow).dtype == torch.bfloat16
        assert (wide @ wide).dtype == torch.float32
