"""Just read twice: a prompt read ahead against plain loops, its losses, and what is seen when."""

import pytest
import torch
from torch.nn import functional as F

from mnemic.recurrent import build, jrt
from mnemic.recurrent.based import taylor
from mnemic.recurrent.engine.stack import Stack


def shaken(conv: int = 0) -> jrt.PrefixLinear:
    torch.manual_seed(0)
    layer = jrt.layer(12, 2, key_dim=3, value_dim=4, conv=conv, chunk=8).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def stack(depth: int = 2) -> Stack:
    torch.manual_seed(0)
    return Stack(20, [jrt.layer(12, 2, key_dim=3, value_dim=4) for _ in range(depth)]).double()


def test_a_prompt_is_read_as_two_plain_sums_over_its_real_tokens() -> None:
    layer, x = shaken(), torch.randn(1, 20, 12, dtype=torch.float64)
    mask = torch.rand(1, 20) < 0.7
    mask[0, 3] = False
    y, _ = layer(x, layer.ahead(x, mask), mask)
    q, k, v = layer.project(x)[0].split([6, 6, 8], -1)
    e, u = layer.project_ahead(x)[0].split([6, 8], -1)
    real = mask[0].nonzero().flatten().tolist()
    for t in range(20):
        heads = []
        for h in range(2):
            query = taylor(q[t, 3 * h : 3 * h + 3])
            above, below = torch.zeros(4, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
            for j in real:
                alike = query @ taylor(e[j, 3 * h : 3 * h + 3])
                above, below = above + alike * u[j, 4 * h : 4 * h + 4], below + alike
                if j <= t:
                    alike = query @ taylor(k[j, 3 * h : 3 * h + 3])
                    above, below = above + alike * v[j, 4 * h : 4 * h + 4], below + alike
            heads.append(layer.norm(above / below))
        expected = layer.output(torch.cat(heads) * F.silu(layer.gate(x[0, t])))
        assert torch.allclose(y[0, t], expected if mask[0, t] else torch.zeros_like(expected))


def test_padding_leaks_into_neither_sum() -> None:
    layer, x = shaken(conv=4), torch.randn(1, 9, 12, dtype=torch.float64)
    padded = torch.cat([torch.full((1, 5, 12), 7.0, dtype=torch.float64), x], 1)
    mask = torch.arange(14)[None] >= 5
    y, state = layer(padded, layer.ahead(padded, mask), mask)
    alone, alone_state = layer(x, layer.ahead(x))
    assert torch.allclose(y[:, 5:], alone)
    assert all(torch.allclose(state.tensors[name], t) for name, t in alone_state.tensors.items())


def test_tokens_of_the_prompt_see_what_follows_and_tokens_after_it_do_not() -> None:
    model, ids = stack(), torch.randint(20, (1, 16), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 20
    seen, states = jrt.prefix(model, ids[:, :8])
    assert not torch.allclose(jrt.prefix(model, changed[:, :8])[0][:, 0], seen[:, 0])
    changed = ids.clone()
    changed[:, 15] = (changed[:, 15] + 1) % 20
    assert torch.equal(model(changed[:, 8:], states)[0][:, :7], model(ids[:, 8:], states)[0][:, :7])


def test_after_the_prompt_it_is_based_and_its_state_no_larger() -> None:
    layer, based = jrt.layer(12, 2), build("based", 12, heads=2)
    based.load_state_dict({n: t for n, t in layer.state_dict().items() if "ahead" not in n})
    x = torch.randn(2, 9, 12)
    assert torch.equal(layer(x)[0], based(x)[0])
    assert layer.ahead(x).nbytes == 2 * based.state_bytes()
    with pytest.raises(TypeError, match="'based' cannot read ahead"):
        jrt.prefix(Stack(20, [based]), torch.zeros(1, 3, dtype=torch.int64))


def test_the_loss_is_the_next_token_after_the_prompt_and_a_quarter_of_the_masked_ones() -> None:
    model, ids = stack(), torch.randint(19, (2, 30), generator=torch.Generator().manual_seed(2))
    got = jrt.loss(model, ids, 20, 19, generator=torch.Generator().manual_seed(3))
    hidden = torch.rand((2, 20), generator=torch.Generator().manual_seed(3)) < 0.15
    hidden[:, 19] = False
    prompt = torch.where(hidden, 19, ids[:, :20])
    seen, states = jrt.prefix(model, prompt)
    after = torch.cat([seen[:, 19:], model(ids[:, 20:29], states)[0]], 1).log_softmax(-1)
    following = [-after[b, t, ids[b, 20 + t]] for b in range(2) for t in range(10)]
    masked = [-seen[b, t].log_softmax(-1)[ids[b, t]] for b in range(2) for t in range(20) if hidden[b, t]]
    assert len(masked) > 2
    assert torch.allclose(got, torch.stack(following).mean() + 0.25 * torch.stack(masked).mean())
    with pytest.raises(ValueError, match="a prompt of 30 of 30 tokens"):
        jrt.loss(model, ids, 30, 19)


def test_the_loss_of_padded_rows_is_that_of_the_rows_alone() -> None:
    model, text = stack(), torch.randint(19, (3, 16), generator=torch.Generator().manual_seed(2))
    mask = torch.rand((3, 16), generator=torch.Generator().manual_seed(3)) < 0.6
    told, said = mask[:, :9].sum(1), mask[:, 9:].sum(1)
    assert told.tolist() != [int(told[0])] * 3
    assert said.tolist() != [int(said[0])] * 3
    got = jrt.loss(model, text.masked_fill(~mask, 18), 9, 19, mask=mask, masked=1.0)
    following, hidden = torch.zeros(2, dtype=torch.float64)
    for row in range(3):
        alone, length = text[row : row + 1, mask[row]], int(told[row])
        of_row = [jrt.loss(model, alone, length, 19, masked=1.0, weight=weight) for weight in (0.0, 1.0)]
        following = following + of_row[0] * said[row] / said.sum()
        hidden = hidden + (of_row[1] - of_row[0]) * (length - 1) / (told - 1).sum()
    assert torch.allclose(got, following + 0.25 * hidden)
    with pytest.raises(ValueError, match="without a token; leave that row out"):
        jrt.loss(model, text, 9, 19, mask=torch.arange(16).expand(3, -1) < 9)
    with pytest.raises(TypeError, match=r"a mask is boolean .*, not torch.int64"):
        jrt.loss(model, text, 9, 19, mask=mask.long())


@pytest.mark.parametrize("shape", [(2, 0, 12), (0, 5, 12)])
def test_reading_nothing_ahead_is_beginning_afresh(shape: tuple[int, ...]) -> None:
    layer, x = shaken(conv=4), torch.randn(shape, dtype=torch.float64)
    state, fresh = layer.ahead(x), layer.initial(shape[0])
    assert all(torch.equal(state.tensors[name], t) for name, t in fresh.items())
    with pytest.raises(ValueError, match="give one flag a token"):
        layer.ahead(x, torch.ones(1, 1, dtype=torch.bool))
    model = stack()
    assert jrt.prefix(model, torch.zeros(shape[:2], dtype=torch.int64))[0].shape == (*shape[:2], 20)


def test_gradients_reach_every_weight() -> None:
    model, ids = stack(), torch.randint(19, (2, 30), generator=torch.Generator().manual_seed(2))
    torch.autograd.backward(jrt.loss(model, ids, 20, 19))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_repeated_prompt_stands_twice_before_the_question() -> None:
    assert jrt.repeated(torch.tensor([[1, 2, 3, 9]]), 3).tolist() == [[1, 2, 3, 1, 2, 3, 9]]
