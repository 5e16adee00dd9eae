from pathlib import Path

import pytest
import torch

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent_numerics
from mnemic.recurrent import names

SMALL = {"layers": "delta-rule", "steps": "3", "length": "16"}


@pytest.mark.parametrize("name", [*names(), *names("encoder")])
def test_a_layer_trains_in_bfloat16_and_stays_finite(name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = recurrent_numerics.fresh(name, 32).to(torch.bfloat16)
    result = recurrent_numerics.train(layer, 3, 70)
    assert result["finite"] == 1
    assert result["loss"] < (5 if name == "order-matters" else 3)  # it says which of 70, the others a number


def test_a_layer_that_overflows_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "mnemic.recurrent.engine.parts.ShortConv.forward", lambda self, x, past, n: (x / 0, past)
    )
    outcome = recurrent_numerics.run(None, runner.Options(extra=SMALL, quiet=True, cache=tmp_path))
    (row,) = outcome.systems["delta-rule"]
    assert row["finite"] == 0
    assert row["steps"] == 0


def test_a_layer_out_of_time_says_how_far_it_came_and_one_done_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rows(**extra: str) -> list[runner.Row]:
        options = runner.Options(extra=SMALL | extra, quiet=True, cache=tmp_path)
        return list(recurrent_numerics.run(None, options).systems["delta-rule"])

    (short,) = rows(steps="1000000", seconds="0.2")
    assert short["finite"] == 1
    assert 0 < short["steps"] < 1000000
    (done,) = rows()
    monkeypatch.setattr(recurrent_numerics, "train", lambda *given: pytest.fail("trained again"))
    (again,) = rows()
    assert again["loss"] == pytest.approx(done["loss"], abs=1e-5)


def test_a_training_that_was_cut_off_goes_on_as_if_it_had_not_been(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trained(kept: Path | None) -> dict[str, float]:
        torch.manual_seed(0)
        layer = recurrent_numerics.fresh("delta-rule", 16).to(torch.bfloat16)
        return recurrent_numerics.train(layer, 9, 16, kept=kept, every=2)

    whole, kept = trained(None), tmp_path / "so far"
    drawn, echo = [], recurrent_numerics.echo

    def cut(*given: object) -> object:
        drawn.append(given)
        if len(drawn) == 6:
            raise KeyboardInterrupt
        return echo(*given)

    monkeypatch.setattr(recurrent_numerics, "echo", cut)
    with pytest.raises(KeyboardInterrupt):
        trained(kept)
    assert trained(kept) == whole
    assert len(drawn) == 6 + 9 - 4
    assert not any(tmp_path.iterdir())
