"""What makes each method itself: its equation on raw tensors, or what it alone can do."""

import pytest
import torch
from torch.nn import functional as F

from mnemic.recurrent import build
from mnemic.recurrent.based import taylor
from mnemic.recurrent.engine.windowed import Windowed


def test_based_features_multiply_to_the_taylor_terms_of_the_exponential() -> None:
    x, y = torch.randn(2, 7, 6, dtype=torch.float64)
    s = (x * y).sum(-1) / 6**0.5
    assert torch.allclose((taylor(x) * taylor(y)).sum(-1), 1 + s + s.square() / 2)
    assert taylor(x).shape[-1] == 1 + 6 + 21


@pytest.mark.parametrize("window", [None, 5])
def test_windowed_attention_is_the_masked_softmax_and_only_distances_matter(window: int | None) -> None:
    layer = Windowed("test", 8, 2, window=window).double()
    x, q, k, v = torch.zeros(1, 300, 8), *torch.randn(3, 1, 2, 300, 4, dtype=torch.float64)
    got, _ = layer.remember(x, q, k, v, layer.fresh(1), None)
    place = torch.arange(300)
    apart = place[:, None] - place
    angle = (1000 + place)[:, None] * torch.tensor([1.0, 0.01], dtype=torch.float64)
    turn = torch.polar(torch.ones_like(angle), angle)
    turned = [torch.view_as_real(torch.complex(t[..., :2], t[..., 2:]) * turn).flatten(-2) for t in (q, k)]
    scores = (turned[0] @ turned[1].mT) / 2
    scores = scores.masked_fill((apart < 0) | (apart >= (window or 300)), -torch.inf)
    assert torch.allclose(got, F.softmax(scores, -1) @ v)


def test_a_sliding_window_forgets_exactly_what_left_it() -> None:
    layer = build("sliding-window", dim=8, heads=2, window=6, conv=0)
    x = torch.randn(1, 20, 8)
    changed = x.clone()
    changed[:, :10] += 1
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.allclose(before[:, 15:], after[:, 15:])
    assert not torch.allclose(before[:, 14], after[:, 14])
