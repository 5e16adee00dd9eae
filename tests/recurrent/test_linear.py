"""The matrix engine against its own token loop, and the loop against the equations it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mnemic.recurrent.engine.linear import chunked, loop

KINDS = ["plain", "scalar", "diagonal", "delta", "gated delta"]


def sequence(
    kind: str, length: int, seed: int, dtype: torch.dtype = torch.float64, batch: int = 2, heads: int = 3,
    keys: int = 5, values: int = 4,
) -> dict[str, Tensor]:  # fmt: skip
    """Random inputs with an initial state, and decays of exactly 0 and -50 among the others."""
    torch.manual_seed(seed)
    q, k = (torch.randn(batch, heads, length, keys, dtype=dtype) for _ in range(2))
    given = {
        "q": q,
        "k": F.normalize(k, dim=-1) if "delta" in kind else k,
        "v": torch.randn(batch, heads, length, values, dtype=dtype),
        "state": torch.randn(batch, heads, keys, values, dtype=dtype),
    }
    if kind in ("scalar", "diagonal", "gated delta"):
        shape = (batch, heads, length, keys) if kind == "diagonal" else (batch, heads, length)
        log_decay = -torch.rand(shape, dtype=dtype)
        which = torch.randint(6, shape)
        given["log_decay"] = log_decay.masked_fill(which == 0, 0).masked_fill(which == 1, -50)
    if "delta" in kind:
        given["rate"] = torch.rand(batch, heads, length, dtype=dtype)
    return given


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    length=st.integers(0, 41),
    chunk=st.sampled_from([1, 2, 8, 16, 64]),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    masked=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_chunks_give_what_the_token_loop_gives(
    kind: str, length: int, chunk: int, batch: int, heads: int, masked: bool, seed: int
) -> None:
    """Tokens that write nothing and let nothing decay, some where `masked`, are none."""
    inputs = sequence(kind, length, seed, batch=batch, heads=heads)
    real = torch.rand(batch, length) < (0.6 if masked else 1)
    for name in inputs.keys() & {"v", "rate", "log_decay"}:
        inputs[name] = inputs[name] * real.view(batch, 1, length, *[1] * (inputs[name].dim() - 3))
    out, state = chunked(**inputs, chunk=chunk)
    for row in range(batch):
        own = {name: x[row] if name == "state" else x[row][:, real[row]] for name, x in inputs.items()}
        expected, end = loop(**own)
        assert torch.allclose(out[row][:, real[row]], expected, rtol=1e-10, atol=1e-10)
        assert torch.allclose(state[row], end, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_chunks_are_autograd_through_the_loop(kind: str) -> None:
    inputs = {name: x.requires_grad_() for name, x in sequence(kind, 37, 0).items()}
    weights = torch.randn(2, 3, 37, 4, dtype=torch.float64)

    def gradients(form: str) -> tuple[Tensor, ...]:
        out, state = chunked(**inputs, chunk=8) if form == "chunks" else loop(**inputs)
        return torch.autograd.grad((out * weights).sum() + state.square().sum(), list(inputs.values()))

    for name, got, expected in zip(inputs, gradients("chunks"), gradients("loop"), strict=True):
        assert torch.isfinite(got).all(), name
        assert torch.allclose(got, expected, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
def test_float32_keeps_its_digits_beside_a_decay_of_exp_minus_fifty(kind: str) -> None:
    exact = sequence(kind, 200, 1)
    rounded = {name: x.float() for name, x in exact.items()}
    for got, expected in zip(chunked(**rounded), loop(**exact), strict=True):
        assert (got.double() - expected).abs().max() < 1e-4 * expected.abs().max().clamp_min(1)


def test_the_loop_of_linear_attention_is_masked_attention_without_a_softmax() -> None:
    inputs = sequence("plain", 19, 2)
    out, _ = loop(**(inputs | {"state": torch.zeros_like(inputs["state"])}))
    scores = (inputs["q"] @ inputs["k"].mT).tril()
    assert torch.allclose(out, scores @ inputs["v"])


def test_the_delta_loop_is_gradient_descent_on_the_squared_error() -> None:
    inputs = sequence("gated delta", 7, 3, batch=1, heads=1)
    state = inputs["state"][0, 0]
    for t in range(7):
        faded = (state * inputs["log_decay"][0, 0, t].exp()).requires_grad_()
        error = (inputs["k"][0, 0, t] @ faded - inputs["v"][0, 0, t]).square().sum() / 2
        (gradient,) = torch.autograd.grad(error, faded)
        state = (faded - inputs["rate"][0, 0, t] * gradient).detach()
    assert torch.allclose(loop(**inputs)[1][0, 0], state)


def test_a_rate_of_one_makes_the_delta_rule_recall_exactly_what_was_written_last() -> None:
    key, first, second = F.normalize(torch.randn(1, 6), dim=-1), torch.randn(1, 3), torch.randn(1, 3)
    k, v = torch.cat([key, key]), torch.cat([first, second])
    out, _ = chunked(k, k, v, torch.zeros(6, 3), rate=torch.ones(2))
    assert torch.allclose(out, v, atol=1e-6)


def test_a_decay_per_channel_with_a_rate_is_refused() -> None:
    inputs = sequence("diagonal", 4, 0) | {"rate": torch.rand(2, 3, 4)}
    with pytest.raises(ValueError, match="decay per head"):
        chunked(**inputs)
