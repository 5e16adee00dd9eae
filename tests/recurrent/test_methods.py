"""What makes each method itself: its equation on raw tensors, or what it alone can do."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mnemic.recurrent import build
from mnemic.recurrent.aaren import LearntQuery
from mnemic.recurrent.based import taylor
from mnemic.recurrent.deep_transformer import Corrected
from mnemic.recurrent.engine import bias, border
from mnemic.recurrent.engine.linear import loop
from mnemic.recurrent.engine.network import Gates, Network, apply
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.scan import Leaves, scan
from mnemic.recurrent.engine.structure import Perceptron
from mnemic.recurrent.engine.windowed import Windowed, attend
from mnemic.recurrent.lact import LargeChunk
from mnemic.recurrent.mom import Mixture
from mnemic.recurrent.titans_context import MemoryAsContext
from mnemic.recurrent.titans_gate import MemoryAsGate


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


LOSSES = {
    "squared": lambda e, v, y, limit: e.square().sum(-1) / 2,
    "cubic": lambda e, v, y, limit: e.abs().pow(3).sum(-1) / 3,
    "dot": lambda e, v, y, limit: -(v * y).sum(-1),
    "huber": lambda e, v, y, limit: torch.where(
        e.norm(dim=-1) <= limit, e.square().sum(-1) / 2, limit * e.norm(dim=-1)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_bias_is_the_gradient_of_its_loss(name: str) -> None:
    y, v = torch.randn(2, 50, 3, dtype=torch.float64)
    y.requires_grad_()
    limit = torch.full((50,), 1.5, dtype=torch.float64)
    (expected,) = torch.autograd.grad(LOSSES[name](y - v, v, y, limit).sum(), y)
    assert torch.allclose(getattr(bias, name)(v, limit.unsqueeze(-1), y), expected)


def test_monetas_weights_are_its_accumulator_over_its_squared_four_norm() -> None:
    a = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    (kept,), (read,) = border.quartic_norm([a], [])
    assert torch.equal(kept, a)
    for row, head in [(0, 0), (1, 2)]:
        assert torch.allclose(read[row, head], a[row, head] / a[row, head].flatten().norm(p=4) ** 2)


def test_memoras_step_is_mirror_descent_on_the_simplex() -> None:
    a, gradient = torch.randn(2, 1, 1, 6, 3, dtype=torch.float64)

    def simplex(x: torch.Tensor) -> torch.Tensor:
        return (border.simplex([x], [])[1][0] + 1) / 6

    before, after = simplex(a), simplex(0.9 * a - 0.3 * gradient)
    assert torch.allclose(after.sum(-2), torch.ones(3, dtype=torch.float64))
    moved = before**0.9 * torch.exp(-0.3 * gradient)
    assert torch.allclose(after, moved / moved.sum(-2, keepdim=True))


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_muon_makes_singular_values_alike_and_keeps_directions_and_norm(shape: tuple[int, int]) -> None:
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    x = u @ torch.diag(torch.logspace(0, -1, 6 if shape[0] == 6 else 4, dtype=torch.float64)) @ v
    (y,) = border.orthogonalised(x[None])
    inside = u.mT @ y @ v.mT
    values = inside.diagonal()
    assert torch.allclose(inside, torch.diag(values), atol=1e-9)
    assert values.max() / values.min() < 2
    assert torch.allclose(y.norm(), x.norm())
    assert (border.orthogonalised(torch.zeros(2, *shape)) == 0).all()


def test_a_step_on_the_sphere_keeps_the_length_of_every_outputs_weights() -> None:
    weights, momentum = torch.randn(2, 3, 5, 4)
    (moved,), _ = border.orthogonal_step_on_sphere([weights], [momentum])
    stepped = weights + border.orthogonalised(momentum)
    assert torch.allclose(border.orthogonal_step([weights], [momentum])[0][0], stepped)
    assert torch.allclose(F.normalize(moved, dim=-2), F.normalize(stepped, dim=-2))
    assert torch.allclose(moved.norm(dim=-2), weights.norm(dim=-2))
    assert not torch.allclose(moved, weights)


def test_a_memory_in_a_mixture_sees_only_the_tokens_sent_to_it() -> None:
    layer = Mixture(8, 1, memories=3, chosen=1, key_dim=4, value_dim=4, conv=0, chunk=8).double()
    x = torch.randn(1, 30, 8, dtype=torch.float64)
    q, k, v = (torch.randn(1, 1, 30, 4, dtype=torch.float64) for _ in range(3))
    log_decay, rate = -torch.rand(1, 1, 30, dtype=torch.float64), torch.rand(1, 1, 30, dtype=torch.float64)
    start = torch.randn(1, 4, 1, 4, 4, dtype=torch.float64)
    read, state = layer.recall(x, q, k, v, start, log_decay, rate)
    sent = layer.router(x)[0].argmax(-1)
    shared, _ = loop(q, k, v, start[:, 3], log_decay, rate)
    assert len(sent.unique()) > 1
    for memory in range(3):
        own = sent == memory
        tokens = [t[:, :, own] for t in (q, k, v)]
        out, end = loop(*tokens, start[:, memory], log_decay[..., own], rate[..., own])
        assert torch.allclose(read[:, :, own], out + shared[:, :, own])
        assert torch.allclose(state[:, memory], end)


def test_balance_is_best_when_memories_are_used_alike() -> None:
    layer = Mixture(8, 1, memories=4, chosen=1, key_dim=4, value_dim=4, conv=0, chunk=8)
    with torch.no_grad():
        layer.router.weight.copy_(9 * torch.eye(4, 8))
    even, one = torch.eye(8)[:4].repeat(1, 3, 1), torch.eye(8)[:1].repeat(1, 12, 1)
    assert layer.balance_loss(even.reshape(1, 12, 8)) < 1.01
    assert layer.balance_loss(one) > 3.9


def test_lact_learns_of_a_chunk_only_when_it_is_over() -> None:
    torch.manual_seed(0)
    layer = build("lact", dim=8, heads=2, chunk=8, window=2, conv=0)
    x = torch.randn(1, 16, 8)
    changed = x.clone()
    changed[:, 1] += 1
    before, after = layer(x)[0], layer(changed)[0]
    assert torch.allclose(before[:, 3:8], after[:, 3:8])
    assert not torch.allclose(before[:, 8:], after[:, 8:], atol=1e-4)


@pytest.mark.parametrize("size", [0.01, 1.0])
@pytest.mark.parametrize("expansion", [1, 8])
def test_lacts_full_step_recalls_about_one_value_whatever_the_sizes_of_values_and_memory(
    expansion: int, size: float
) -> None:
    torch.manual_seed(0)
    layer = build("lact", dim=64, heads=2, expansion=expansion, chunk=1, window=1).double()
    assert isinstance(layer, LargeChunk)
    with torch.no_grad():
        for gate in layer.gates.values():  # all of a step, nothing carried on
            gate.weight.zero_()  # type: ignore[union-attr, operator]
        layer.gates["rate"].bias.fill_(50)  # type: ignore[union-attr, operator]
        layer.gates["momentum"].bias.fill_(-50)  # type: ignore[union-attr, operator]
    key, value = torch.randn(2, 1, 2, 2, 32, dtype=torch.float64)
    x, start = torch.zeros(1, 2, 64, dtype=torch.float64), layer.fresh(1)
    key[:, :, 1] = key[:, :, 0]
    silent = layer.network.structure.read(partial(apply, layer.weights), F.normalize(key, dim=-1)[0])[None]
    kept: list[torch.Tensor] = []
    layer.far.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    layer.remember(x, key, key, size * value, start, None)
    learnt = (kept[0] - silent)[:, :, 1]
    assert torch.allclose(kept[0][:, :, 0], silent[:, :, 0])
    assert ((learnt * F.normalize(value[:, :, 0], dim=-1)).sum(-1) > 0.3).all()


def test_reading_a_pair_again_makes_a_plastic_memory_recall_it_better() -> None:
    network = Network(Perceptron(2), bias.squared, chunk=4, momentum=True)
    torch.manual_seed(0)
    start = [torch.randn(1, *shape) * shape[0] ** -0.5 for shape in network.structure.shapes(6, 6)]
    key, value = F.normalize(torch.randn(1, 1, 1, 6), dim=-1), torch.randn(1, 1, 1, 6)
    many = (-1, -1, 40, -1)
    gates = Gates(rate=torch.full((1, 1, 40), 0.05), log_momentum=torch.full((1, 1, 40), -0.7))
    tokens = (x.expand(many) for x in (key, key, value))
    out, _ = network.read(*tokens, gates, network.fresh(start, 1, 6, 6), None, start)
    errors = (out - value).norm(dim=-1).squeeze()
    assert errors[-1] < 0.05 * errors[0]


def test_the_sizes_of_a_mixture_and_a_window_are_checked() -> None:
    with pytest.raises(ValueError, match="5 of 4 memories"):
        build("mom", dim=8, heads=2, chosen=5)
    with pytest.raises(ValueError, match="must be even"):
        build("lact", dim=6, heads=2)
    with pytest.raises(ValueError, match="a window holds at least 1"):
        build("sliding-window", dim=8, heads=2, window=0)
    with pytest.raises(ValueError, match="power of two"):
        build("delta-rule", dim=8, heads=2, chunk=48)


@settings(max_examples=12)
@given(length=st.integers(1, 40))
def test_a_scan_is_every_prefix_under_an_operator_that_does_not_commute(length: int) -> None:
    turns = torch.randn(2, length, 3, 3, dtype=torch.float64)
    flat = turns.flatten(-2)

    def product(a: Leaves, b: Leaves) -> Leaves:
        return ((b[0].unflatten(-1, (3, 3)) @ a[0].unflatten(-1, (3, 3))).flatten(-2),)

    (got,) = scan(product, (flat,))
    expected = torch.eye(3, dtype=torch.float64)
    for t in range(length):
        expected = turns[:, t] @ expected
        assert torch.allclose(got[:, t].unflatten(-1, (3, 3)), expected)


def test_aaren_is_softmax_attention_of_one_query_over_everything_read() -> None:
    layer = LearntQuery("test", 8, 2, learnt_query=True).double()
    k, v = 20 * torch.randn(1, 2, 50, 4, dtype=torch.float64), torch.randn(1, 2, 50, 4, dtype=torch.float64)
    assert layer.query is not None
    q = layer.query.expand_as(k)
    got, _ = layer.remember(torch.zeros(1, 50, 8), q, k, v, layer.fresh(1), None)
    scores = (q @ k.mT / 2).masked_fill(torch.ones(50, 50).triu(1).bool(), -torch.inf)
    assert torch.allclose(got, F.softmax(scores, -1) @ v)


def test_aarens_answer_does_not_depend_on_what_is_asked() -> None:
    """A query that is no part of the token cannot choose a key: all orders of asking get the same memory."""
    layer = build("aaren", dim=8, heads=2, conv=0)
    text, last = torch.randn(1, 20, 8), torch.randn(1, 8)
    _, state = layer(text)
    _, shuffled = layer(text[:, torch.randperm(20)])
    assert torch.allclose(layer.step(last, state)[0], layer.step(last, shuffled)[0], atol=1e-5)


def test_gams_answer_is_its_equation_and_forgets_exactly_what_left_its_convolution() -> None:
    layer = build("gam", dim=8, slots=16, conv=3).double()
    x = torch.randn(1, 20, 8, dtype=torch.float64)
    padded = F.pad(x, (0, 0, 2, 0))
    local = sum(layer.conv.weight[i] * padded[:, i : i + 20] for i in range(3)) + layer.shift
    a, b = torch.sigmoid(layer.gates(x)).chunk(2, -1)
    found = F.softmax(x @ layer.bank[0].mT, -1) @ layer.bank[0]
    assert torch.allclose(layer(x)[0], a * local + b * found)
    changed = x.clone()
    changed[:, :10] += 1
    assert torch.equal(layer(x)[0][:, 12:], layer(changed)[0][:, 12:])
    assert not torch.allclose(layer(x)[0][:, 11], layer(changed)[0][:, 11])


def test_titans_as_gate_is_the_share_of_a_window_and_of_the_memory_that_the_token_asks_for() -> None:
    layer = build("titans-gate", dim=8, heads=2, window=5, chunk=4).double()
    assert isinstance(layer, MemoryAsGate)
    x, q, k, v = torch.randn(1, 30, 8).double(), *torch.randn(3, 1, 2, 30, 4, dtype=torch.float64)
    start = layer.fresh(1)
    got, _ = layer.remember(x, q, k, v, start, None)
    near, _ = attend(q, k, v, start, None, 5)
    far, _ = Plastic.remember(layer, x, q, k, v, start, None)
    share = torch.sigmoid(layer.hears.share(x)).unflatten(-1, (2, 4)).transpose(1, 2)
    assert torch.allclose(got, share * layer.hears.near(near) + (1 - share) * layer.hears.far(far))


def test_titans_as_layer_lets_a_window_read_what_the_memory_made_of_the_text() -> None:
    layer = build("titans-layer", dim=8, heads=2, window=5, chunk=4).double()
    memory, window = build("titans", dim=8, heads=2, chunk=4), build("sliding-window", dim=8, heads=2, window=5)
    for part, own in (("memory", memory), ("window", window)):
        own.double().load_state_dict(layer.get_submodule(part).state_dict())
    x = torch.randn(2, 30, 8, dtype=torch.float64)
    said, _ = memory(x)
    seen, _ = window(F.rms_norm(x + said, (8,)))
    assert torch.allclose(layer(x)[0], said + seen)


def test_titans_as_context_attends_to_what_memory_recalls_and_learns_what_attention_made() -> None:
    """One head token by token: attention written out, gradients by autograd at the segment's first weights."""
    torch.manual_seed(1)
    layer = build(
        "titans-context", dim=6, heads=1, segment=5, persistent=2, expansion=2, key_dim=4, value_dim=3
    )
    layer = layer.double()
    assert isinstance(layer, MemoryAsContext)
    for weight in (layer.recalled_key, layer.made):  # which start at zero
        torch.nn.init.normal_(weight, std=0.3)
    x = torch.randn(1, 17, 6, dtype=torch.float64)
    q, k = torch.randn(2, 1, 1, 17, 4, dtype=torch.float64)
    v = torch.randn(1, 1, 17, 3, dtype=torch.float64) / 4  # no gradient is so long that it is shortened
    got, _ = layer.remember(x, q, k, v, layer.fresh(1), None)

    def read(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return F.gelu(F.normalize(x, dim=-1) @ weights[0]) @ weights[1]

    def turned(x: torch.Tensor, t: int) -> torch.Tensor:
        pair = torch.view_as_complex(torch.stack([x[..., :2], x[..., 2:]], -1).contiguous())
        angle = t * torch.tensor([1.0, 0.01], dtype=torch.float64)
        pair = pair * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([pair.real, pair.imag], -1)

    gates = layer.asked(x)
    rate, keep, carry = gates.rate[0, 0], gates.log_keep[0, 0].exp(), gates.log_momentum[0, 0].exp()  # type: ignore[index]
    first = now = [w[0].detach() for w in layer.weights]
    moment = [torch.zeros_like(w) for w in now]
    fixed_keys, fixed = layer.persistent[0].split([4, 3], -1)
    for t in range(17):
        if t % 5 == 0:
            frozen, keys, recalled = now, [], []
        h = read(frozen, q[0, 0, t])
        keys.append(turned(k[0, 0, t], t))
        recalled.append((turned(h @ layer.recalled_key[0], t), h))
        query = turned(q[0, 0, t], t)
        scores = torch.cat([fixed_keys @ q[0, 0, t], torch.stack([key for key, _ in recalled] + keys) @ query])
        values = torch.cat([fixed, torch.stack([h for _, h in recalled]), v[0, 0, t - t % 5 : t + 1]])
        y = F.softmax(scores / 2, 0) @ values
        token = torch.cat([q[0, 0, t], k[0, 0, t], v[0, 0, t]]) + y @ layer.made[0]
        asked, key, value = token.split([4, 4, 3])
        leaves = [w.detach().requires_grad_() for w in frozen]
        loss = (read(leaves, key) - value).square().sum() / 2
        gradient = torch.autograd.grad(loss, leaves)
        moment = [carry[t] * s - rate[t] * g for s, g in zip(moment, gradient, strict=True)]
        now = [f + keep[t] * (w - f) + s for f, w, s in zip(first, now, moment, strict=True)]
        m = read(now, asked)
        share = torch.sigmoid(layer.hears.share(x[0, t]))
        assert torch.allclose(got[0, 0, t], share * layer.hears.near(y) + (1 - share) * layer.hears.far(m)), t


def test_a_deep_transformer_is_the_delta_rule_in_kernel_form_over_its_window() -> None:
    layer = build("deep-transformer", dim=6, heads=1, window=6, chunk=4, key_dim=3, value_dim=2).double()
    assert isinstance(layer, Corrected)
    x = torch.randn(1, 25, 6, dtype=torch.float64)
    q, k = F.normalize(torch.randn(2, 1, 1, 25, 3, dtype=torch.float64), dim=-1)
    v = torch.randn(1, 1, 25, 2, dtype=torch.float64)
    got, _ = layer.remember(x, q, k, v, layer.fresh(1), None)
    sharp, rate, corrections = layer.log_sharpness.exp().squeeze(), layer.rate(x)[0, 0], []
    for t in range(25):
        seen = range(max(t - 5, 0), t)
        recalled = sum(torch.exp(sharp * (k[0, 0, t] @ k[0, 0, j] - 1)) * corrections[j] for j in seen)
        corrections.append(rate[t] * (v[0, 0, t] - recalled))
        read = sum(torch.exp(sharp * (q[0, 0, t] @ k[0, 0, j] - 1)) * corrections[j] for j in [*seen, t])
        assert torch.allclose(got[0, 0, t], read)


@pytest.mark.parametrize("expansion", [4, 16])
def test_a_memory_starts_empty_and_one_full_step_mends_about_its_whole_error(expansion: int) -> None:
    layer = build("titans", dim=64, heads=2, expansion=expansion, chunk=1, max_rate=1.0)
    assert isinstance(layer, Plastic)
    key, value = F.normalize(torch.randn(1, 2, 1, 32), dim=-1), torch.randn(1, 2, 1, 32)
    start = layer.fresh(1)
    still = Gates(torch.zeros(1, 2, 1), log_momentum=torch.zeros(1, 2, 1))
    empty, _ = layer.network.read(key, key, value, still, start, None, layer.rest())
    assert (empty == 0).all()
    full = Gates(torch.full((1, 2, 1), layer.max_rate), log_momentum=torch.zeros(1, 2, 1))
    recalled, _ = layer.network.read(key, key, value / 100, full, start, None, layer.rest())
    assert 0.6 < float((recalled * value).sum().detach() / value.square().sum() * 100) < 1.4
