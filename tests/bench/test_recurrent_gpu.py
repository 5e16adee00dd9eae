"""What the GPU bench measures with, on this machine; its numbers need a GPU."""

from functools import partial

import pytest
import torch

from mnemic.bench.runner import Options
from mnemic.bench.tasks import recurrent_gpu
from mnemic.recurrent.engine import linear
from mnemic.types import MnemicError

products = partial(linear.products, chunk=16)


@pytest.mark.parametrize("kind", recurrent_gpu.KINDS)
def test_errors_are_distances_to_the_loop(kind: str) -> None:
    torch.manual_seed(0)
    given = recurrent_gpu.inputs(kind, 2, 40, 8, faded=True, device="cpu")
    right = recurrent_gpu.errors(products, given, torch.float32)
    assert right.keys() == {"error_outputs", "error_gradients"}
    assert max(right.values()) < 1e-5
    tenth = recurrent_gpu.errors(lambda **x: (1.1 * (made := products(**x))[0], made[1]), given, torch.float32)
    assert tenth == pytest.approx({"error_outputs": 0.1, "error_gradients": 0.1}, rel=1e-3)


def test_what_a_peer_refuses_is_left_out() -> None:
    def forward_only(**given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if given["q"].requires_grad:
            raise RuntimeError("no gradients here")
        return products(**given)

    given = recurrent_gpu.inputs("no decay", 2, 20, 8, device="cpu")
    assert recurrent_gpu.errors(forward_only, given, torch.float32).keys() == {"error_outputs"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(MnemicError, match="needs a GPU"):
        recurrent_gpu.run(None, Options())
