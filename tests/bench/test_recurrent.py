import pytest

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent
from mnemic.recurrent import build, names
from mnemic.types import MnemicError

TINY = recurrent.Preset(sizes=(), starts=1, steps=2, depth=1, length=24, pairs=2, vocab=16, batch=2, tests=6)
BASED = {"heads": 2, "key_dim": 6, "value_dim": 16}


def test_equal_bytes_are_equal_for_every_layer_whose_state_does_not_grow() -> None:
    layers = {name: build(name, dim=32, heads=2, **recurrent.EQUAL_BYTES[name]) for name in names()}
    sizes = [layer.state_bytes() for layer in layers.values() if not layer.growing]
    assert max(sizes) < 1.16 * min(sizes)


def test_every_system_is_scored_on_the_same_cases_and_beside_its_emptied_twin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(recurrent.PRESETS, "tiny", TINY)
    options = runner.Options(extra={"preset": "tiny", "layers": "delta-rule,based"}, quiet=True)
    outcome = recurrent.run(None, options)
    assert list(outcome.systems) == ["delta-rule", "delta-rule-emptied", "based", "based-emptied"]
    assert len({tuple(row["id"] for row in rows) for rows in outcome.systems.values()}) == 1
    assert outcome.extra["state_bytes"]["based"] == build("based", dim=32, **BASED).state_bytes()


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(MnemicError, match="no preset 'days'; there are: minutes, hours"):
        recurrent.run(None, runner.Options(extra={"preset": "days"}))
