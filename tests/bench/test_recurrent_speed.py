import json
import sys
from pathlib import Path

import pytest
import torch

from mnemic.bench import peers
from mnemic.bench.runner import Options
from mnemic.bench.tasks import recurrent_speed as speed
from mnemic.types import MnemicError


def test_every_layer_is_timed_and_set_against_attention() -> None:
    extra = {"length": "16", "longest": "2048", "repeats": "2", "layers": "delta-rule,sliding-window"}
    outcome = speed.run(None, Options(extra=extra, quiet=True))
    assert list(outcome.systems) == ["delta-rule", "sliding-window"]
    first, second = outcome.systems["delta-rule"]
    assert all(value > 0 for name, value in first.items() if name != "id")
    assert set(first) - set(second) == {"extra_mib_short", "extra_mib_long"}
    lines = outcome.extra["curves"]["forward seconds against length"]["lines"]
    assert [n for n, _ in lines["delta-rule"]] == [512, 1024, 2048]
    assert [n for n, _ in lines["attention"]] == [512]
    assert set(outcome.extra["crossover"]) == {"delta-rule", "sliding-window"}


def test_the_crossover_is_from_where_on_a_layer_stays_ahead() -> None:
    attention = [[512, 1.0], [1024, 2.0], [2048, 8.0], [4096, 32.0]]
    assert (
        speed.crossover([[512, 0.5], [1024, 3.0], [2048, 6.0], [4096, 12.0], [8192, 24.0]], attention) == 2048
    )
    assert speed.crossover([[512, 0.5], [1024, 1.0], [2048, 6.0], [4096, 12.0]], attention) == 512
    assert speed.crossover([[512, 0.5], [1024, 1.0], [2048, 6.0], [4096, 40.0]], attention) is None


def test_the_peak_is_what_was_held_at_one_time() -> None:
    x = torch.zeros(1000, 1000)

    def one_after_the_other() -> None:
        for _ in range(3):
            x + 1

    assert speed.peak(one_after_the_other) == pytest.approx(4e6, rel=0.01)
    assert speed.peak(lambda: [x + 1, x + 2, x + 3]) == pytest.approx(12e6, rel=0.01)


def test_a_long_text_is_read_in_memory_that_does_not_grow_with_it() -> None:
    row, _ = speed.measure("delta-rule", 16, 32768, 0, memory=True)
    assert row["extra_mib_long"] == pytest.approx(row["extra_mib_short"], rel=0.01)


def test_peers_are_timed_by_an_interpreter_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = tmp_path / "peers.py"
    answer = {"titans-pytorch": [{"seconds_at_once": 2.0, "tokens_per_second": 32.0}]}
    stand_in.write_text(f"import sys; print(sys.argv[1:], file=sys.stderr); print({json.dumps(answer)!r})")
    monkeypatch.setattr(peers, "__file__", str(stand_in))
    assert speed.others(sys.executable, 64, 1, 0) == answer
    stand_in.write_text("raise SystemExit('no torch here')")
    with pytest.raises(MnemicError, match=r"could not be timed with .*: no torch here"):
        speed.others(sys.executable, 64, 1, 0)
    with pytest.raises(MnemicError, match="could not be timed with /no/python"):
        speed.others("/no/python", 64, 1, 0)


def test_what_is_not_installed_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "titans_pytorch", None)
    monkeypatch.setitem(sys.modules, "fla", None)
    peers.main(16, 1, 0, 8, 2)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {}
    assert "titans-pytorch: its neural memory" in captured.err
