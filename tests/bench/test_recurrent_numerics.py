import pytest
import torch

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent_numerics
from mnemic.recurrent import names


@pytest.mark.parametrize("name", names())
def test_a_layer_trains_in_bfloat16_and_stays_finite(name: str) -> None:
    torch.set_num_threads(1)
    result = recurrent_numerics.train(name, 3, 70, 0, batch=2)
    assert result["finite"] == 1
    assert result["loss"] < 3


def test_a_layer_that_overflows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mnemic.recurrent.engine.parts.ShortConv.forward", lambda self, x, past, n: (x / 0, past)
    )
    outcome = recurrent_numerics.run(
        None, runner.Options(extra={"layers": "delta-rule", "steps": "3", "length": "16"}, quiet=True)
    )
    (row,) = outcome.systems["delta-rule"]
    assert row["finite"] == 0
    assert row["steps"] == 0
