"""The engine's GPU programs against its token loop: on a GPU where there is one, interpreted where not."""

import pytest
import torch
from test_linear import KINDS, sequence
from torch import Tensor

from mnemic.recurrent import build, names
from mnemic.recurrent.engine import linear

fused = pytest.importorskip(
    "mnemic.recurrent.engine.fused", reason="Triton is not installed", exc_type=ImportError
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")


def results(form: object, given: dict[str, Tensor], weights: Tensor, **options: int) -> dict[str, Tensor]:
    """Outputs, the last state and all gradients, in float64."""
    given = {name: x.detach().requires_grad_() for name, x in given.items()}
    out, state = form(**given, **options)  # type: ignore[operator]
    loss = (out.double() * weights).sum() + state.double().square().sum()
    gradients = torch.autograd.grad(loss, list(given.values()))
    return {
        name: x.detach().double() for name, x in zip(["", "end", *given], [out, state, *gradients], strict=True)
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("length", "chunk"), [(1, 16), (32, 16), (37, 16), (70, 32)])
def test_programs_give_what_the_token_loop_gives_and_its_gradients(kind: str, length: int, chunk: int) -> None:
    exact = {name: x.to(DEVICE) for name, x in sequence(kind, length, length, batch=1, heads=2).items()}
    weights = torch.randn(1, 2, length, 4, dtype=torch.float64, device=DEVICE)
    rounded = {name: x.float() for name, x in exact.items()}
    expected = results(linear.loop, exact, weights)
    for name, got in results(fused.chunked, rounded, weights, chunk=chunk).items():
        assert (got - expected[name]).norm() < 2e-5 * expected[name].norm(), name


def test_what_is_shared_by_heads_or_laid_out_another_way_is_read_the_same() -> None:
    given = {name: x.float().to(DEVICE) for name, x in sequence("gated delta", 20, 0).items()}
    shared = given | {"k": given["k"][:, :1].expand(-1, 3, -1, -1), "v": given["v"].mT.contiguous().mT}
    for got, expected in zip(fused.chunked(**shared, chunk=16), linear.loop(**shared), strict=True):
        assert torch.allclose(got, expected, atol=1e-5)


def test_what_no_program_holds_is_left_to_matrix_products() -> None:
    def tokens(width: int, dtype: torch.dtype = torch.float32, length: int = 3) -> Tensor:
        return torch.zeros(1, length, width, dtype=dtype)

    assert fused.fits(tokens(256), tokens(5))
    assert not fused.fits(tokens(257), tokens(5))
    assert not fused.fits(tokens(5, torch.float64), tokens(5, torch.float64))
    assert not fused.fits(tokens(5, length=0), tokens(5, length=0))
    assert not fused.fits(tokens(5).expand(65536, 3, 5), tokens(5))


@on_a_gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("keys", "values"), [(64, 64), (128, 128), (153, 33)])
@pytest.mark.parametrize(("mode", "bound"), [("float32", 2e-5), ("tf32", 5e-3), ("bfloat16", 3e-2)])
def test_at_every_size_and_precision(
    kind: str, keys: int, values: int, mode: str, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        name: x.to(DEVICE)
        for name, x in sequence(kind, 300, 0, torch.float32, keys=keys, values=values).items()
    }
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high" if mode == "tf32" else "highest")
    if mode == "bfloat16":
        given |= {name: given[name].bfloat16() for name in "qkv"}
    weights = torch.randn(2, 3, 300, values, dtype=torch.float64, device=DEVICE)
    expected = results(linear.loop, {name: x.double() for name, x in given.items()}, weights)
    for name, got in results(fused.chunked, given, weights).items():
        assert (got - expected[name]).norm() < bound * expected[name].norm(), name


@on_a_gpu
@pytest.mark.parametrize("name", names())
def test_a_layer_reads_the_same_on_a_gpu(name: str) -> None:
    torch.manual_seed(0)
    layer, x = build(name, dim=32, heads=2), torch.randn(2, 150, 32)
    weights, mask = torch.randn(2, 150, 32), torch.rand(2, 150) < 0.9

    def read(device: str) -> tuple[Tensor, ...]:
        there = layer.to(device)
        y, _ = there(x.to(device), mask=mask.to(device))
        gradients = torch.autograd.grad((y * weights.to(device)).sum(), list(there.parameters()))
        return tuple(each.detach().cpu() for each in (y, *gradients))

    for got, expected in zip(read("cuda"), read("cpu"), strict=True):
        assert (got - expected).norm() <= 1e-3 * expected.norm().clamp_min(1e-3)


@on_a_gpu
def test_a_matrix_memory_on_a_gpu_is_read_by_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    chunked = fused.chunked
    monkeypatch.setattr(fused, "chunked", lambda *given: calls.append(given[0].dtype) or chunked(*given))
    for dtype in (torch.float32, torch.bfloat16):
        layer = build("gated-delta-rule", dim=32, heads=2).to("cuda", dtype)
        y, _ = layer(torch.randn(2, 50, 32, device="cuda", dtype=dtype))
        assert torch.isfinite(y).all()
    assert calls == [torch.float32, torch.bfloat16]
