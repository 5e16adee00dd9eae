import torch

from mnemic.recurrent import build
from mnemic.recurrent.cost import operations_per_token, priced


def test_a_token_of_attention_costs_its_projections_and_every_token_before_it() -> None:
    layer = build("attention", dim=32, heads=1, conv=0)
    weights = sum(2 * p.numel() for p in layer.parameters() if p.dim() == 2)
    scores = 4 * 32 * 256  # q.k and weights times v, of a block of 256 queries with 256 tokens
    products = weights + scores
    assert products < operations_per_token(layer, 256) < products + 30 * 32 + 10 * 256


def test_a_recurrent_token_costs_the_same_however_much_was_read() -> None:
    layer = build("gated-delta-rule", dim=32, heads=2)
    assert abs(operations_per_token(layer, 4096) / operations_per_token(layer, 256) - 1) < 0.01


def test_a_layer_is_priced_at_the_size_asked_for() -> None:
    price = priced("attention", dim=32, heads=2)
    assert price["grows"]
    assert price["state_bytes"] == build("attention", dim=32, heads=2).state_bytes()
    assert not priced("titans", dim=32, heads=2)["grows"]
    assert torch.is_grad_enabled()
