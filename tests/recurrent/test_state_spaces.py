"""Time-invariant state spaces: the recurrence, the convolution and the Cauchy kernel are one map."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.recurrent import build
from mnemic.recurrent.engine.hippo import bilinear, legs, normal_plus_low_rank
from mnemic.recurrent.engine.invariant import Diagonal, Invariant
from mnemic.recurrent.lssl import LinearStateSpace

NAMES = ["lssl", "s4", "s4d"]


def make(name: str, **options: int) -> Invariant:
    torch.manual_seed(0)
    layer = build(name, dim=3, heads=2, **({"size": 8} | options)).double()
    assert isinstance(layer, Invariant)
    return layer


def dense(layer: Invariant) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The discrete system as plain complex matrices."""
    system = layer.system()
    a = system.a.diagonal.diag_embed() if isinstance(system.a, Diagonal) else system.a.matrix  # type: ignore[attr-defined]
    return a.to(torch.complex128), system.b.to(torch.complex128), system.c.to(torch.complex128)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(length=st.integers(1, 70), chunk=st.sampled_from([1, 4, 16]), cut=st.integers(0, 70))
def test_reading_in_chunks_is_the_recurrence_token_by_token(
    name: str, length: int, chunk: int, cut: int
) -> None:
    layer = make(name, chunk=chunk)
    a, b, c = dense(layer)
    u = torch.randn(2, 3, length, dtype=torch.float64)
    x, expected = torch.zeros(2, *b.shape, dtype=torch.complex128), []
    for t in range(length):
        x = a @ x + b * u[:, :, t, None, None]
        expected.append((c @ x).squeeze(-1).real)
    cut = min(cut, length - 1)
    state, pieces = layer.initial(2)["system"], []
    for piece in (u[..., :cut], u[..., cut:]) if cut else (u,):
        y, state = layer.read(piece, state, None)
        pieces.append(y)
    assert torch.allclose(torch.cat(pieces, 1), torch.stack(expected, 1))
    held = torch.view_as_real(x).flatten(-3) if name == "s4d" else x.squeeze(-1).real
    assert torch.allclose(state, held)


@pytest.mark.parametrize("length", [1, 2, 16, 64])
def test_s4s_cauchy_kernel_is_its_impulse_response(length: int) -> None:
    layer = make("s4")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    system = layer.system()
    powers = system.powers(length)
    krylov = system.krylov(powers)
    assert torch.allclose(layer.kernel(system, powers, krylov), system.c @ krylov, atol=1e-10)


def test_s4_starts_as_hippo_in_another_basis() -> None:
    """Normal plus low rank has HiPPO's eigenvalues and, read suitably, HiPPO's impulse response."""
    a, b = legs(8)
    values, p, low = normal_plus_low_rank(8)
    both = torch.cat([values, values.conj()])
    p, low = torch.cat([p, p.conj()]), torch.cat([low, low.conj()])
    other = both.diag() - torch.outer(p, p.conj())
    for power in range(8):  # B^T A^i B does not depend on the basis
        want = b @ torch.linalg.matrix_power(a, power) @ b
        got = low.conj() @ torch.linalg.matrix_power(other, power) @ low
        assert torch.allclose(got.real, want)
        assert got.imag.abs() < 1e-6 * want.abs()


def test_legs_holds_the_legendre_coefficients_of_all_it_read() -> None:
    """Time-varying HiPPO, x' = (A x + B u) / t, projects the whole past on Legendre polynomials."""
    a, b = legs(6)
    x = torch.zeros(6, dtype=torch.float64)
    times = torch.arange(1, 4001, dtype=torch.float64)
    u = torch.sin(times / 900) + 0.3 * torch.cos(times / 500)
    one = torch.eye(6, dtype=torch.float64)
    for t, value in zip(times, u, strict=True):
        x = torch.linalg.solve(one - a / t, x + b * value / t)
    z = 2 * times / 4000 - 1
    legendre = [torch.ones_like(z), z]
    for n in range(1, 5):
        legendre.append(((2 * n + 1) * z * legendre[n] - n * legendre[n - 1]) / (n + 1))
    for n in range(6):
        coefficient = math.sqrt(2 * n + 1) * (u * legendre[n]).mean()
        assert abs(x[n] - coefficient) < 2e-2


def test_the_bilinear_step_is_stable_at_any_step() -> None:
    a, b = legs(16)
    discrete, _ = bilinear(a, b, torch.tensor([1e-4, 0.1, 10.0], dtype=torch.float64))
    assert (torch.linalg.eigvals(discrete).abs() < 1).all()


def test_a_time_invariant_layer_answers_a_sum_by_the_sum_of_answers() -> None:
    layer = make("lssl")
    assert isinstance(layer, LinearStateSpace)
    u = torch.randn(2, 1, 3, 40, dtype=torch.float64)
    start = layer.initial(1)["system"]
    parts = [layer.read(each, start, None)[0] for each in (*u, u.sum(0))]
    assert torch.allclose(parts[0] + parts[1], parts[2])


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="an even number from 2 on"):
        build("s4", dim=8, size=7)
    with pytest.raises(ValueError, match="power of two"):
        build("lssl", dim=8, chunk=48)
