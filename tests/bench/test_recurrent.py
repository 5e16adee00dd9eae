from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnemic.bench import equal_bytes, runner
from mnemic.bench.tasks import recurrent
from mnemic.recurrent import build, jrt, names
from mnemic.recurrent.engine.stack import Stack
from mnemic.types import MnemicError

TINY = recurrent.Preset((), 1, 2, 1, {"accuracy": {"length": 24, "pairs": 2, "vocab": 16}}, batch=2, tests=6)
BASED = {"heads": 2, "key_dim": 6, "value_dim": 16}


def test_equal_bytes_are_equal_for_every_layer_whose_state_does_not_grow() -> None:
    assert set(names()) <= set(equal_bytes.EQUAL_BYTES)
    layers = [
        build(recurrent.VARIANTS.get(name, name), dim=32, heads=2, **shape)
        for name, shape in equal_bytes.EQUAL_BYTES.items()
    ]
    sizes = [layer.state_bytes() for layer in layers if not layer.growing]
    assert max(sizes) < 1.16 * min(sizes)


@pytest.mark.parametrize(("part", "nbytes"), [("half", 2240), ("quarter", 1120)])
def test_smaller_shapes_are_of_their_share_of_the_bytes_for_every_layer_but_attention(
    part: str, nbytes: int
) -> None:
    shapes = equal_bytes.SMALLER[part]
    assert list(shapes) == [name for name in equal_bytes.EQUAL_BYTES if name != "attention"]
    for name, shape in shapes.items():
        size = build(recurrent.VARIANTS.get(name, name), dim=32, heads=2, **shape).state_bytes()
        assert abs(size - nbytes) <= 0.1 * nbytes, name


@pytest.mark.parametrize("name", equal_bytes.EQUAL_BYTES)
def test_every_system_has_a_shape_at_every_size_of_the_long_preset(name: str) -> None:
    kind, sizes = recurrent.VARIANTS.get(name, name), recurrent.PRESETS["associative"]["hours"].sizes
    small, *_, large = (build(kind, dim=32, heads=2, **equal_bytes.sized(name, size)) for size in sizes)
    assert small.growing or small.state_bytes() < large.state_bytes()


def test_every_system_is_scored_on_the_same_cases_and_beside_its_emptied_twin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(recurrent.PRESETS["associative"], "tiny", TINY)
    options = runner.Options(extra={"preset": "tiny", "layers": "delta-rule,based"}, quiet=True)
    outcome = recurrent.run(None, options)
    assert list(outcome.systems) == ["delta-rule", "delta-rule-emptied", "based", "based-emptied"]
    assert len({tuple(row["id"] for row in rows) for rows in outcome.systems.values()}) == 1
    assert outcome.extra["state_bytes"]["based"] == build("based", dim=32, **BASED).state_bytes()


@pytest.mark.parametrize("task", ["joint", "copying", "disjoint", "passkey"])
def test_every_task_is_asked_of_the_same_cases_whole_and_emptied(
    task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = replace(recurrent.PRESETS[task]["minutes"], steps=2, depth=1, batch=2, tests=3)
    asked = {metric: shape for metric, shape in small.asked.items() if shape.get("length", 0) < 300}
    monkeypatch.setitem(recurrent.PRESETS[task], "tiny", replace(small, asked=asked))
    extra = {"task": task, "preset": "tiny", "layers": "based,jrt,jrt-prompt"}
    outcome = recurrent.run(None, runner.Options(extra=extra, quiet=True, cache=tmp_path))
    for rows in outcome.systems.values():
        assert [row["id"] for row in rows] == [f"start-0/sequence-{i}" for i in range(3)]
        assert list(rows[0]) == ["id", "start", *asked, "exact"]
    sizes = outcome.extra["state_bytes"]
    assert sizes["based"] == sizes["jrt"] == sizes["jrt-prompt"]


def test_recall_against_length_is_that_of_the_largest_state() -> None:
    preset = recurrent.PRESETS["copying"]["minutes"]
    rows = {
        name: [{"id": "0"} | dict.fromkeys(preset.asked, share)]
        for name, share in {"s4": 0.5, "s4-half": 0.25}.items()
    }
    curves = recurrent.plots(preset, {"s4": ["s4", "s4-half"]}, {"s4": 40, "s4-half": 20}, rows, 0)
    assert [point[:2] for point in curves["recall against state bytes"]["lines"]["s4"]] == [
        [20, 0.25],
        [40, 0.5],
    ]
    assert {point[1] for point in curves["recall against length"]["lines"]["s4"]} == {0.5}


def test_systems_that_read_twice_answer_as_their_own_readings_do() -> None:
    torch.manual_seed(0)
    model = Stack(20, [build("jrt", dim=8, heads=2, key_dim=2) for _ in range(2)])
    tokens = torch.randint(20, (3, 12))
    ahead, _ = recurrent.read("jrt", model, tokens, 8)
    assert torch.equal(ahead, model(tokens[:, 8:], jrt.prefix(model, tokens[:, :8])[1])[0])
    twice, _ = recurrent.read("jrt-prompt", model, tokens, 8)
    assert torch.allclose(twice, model(torch.cat([tokens[:, :8], tokens], 1))[0][:, 16:], atol=1e-6)
    once, _ = recurrent.read("based", model, tokens, 8)
    assert torch.allclose(once, model(tokens)[0][:, 8:], atol=1e-6)


def test_a_run_goes_on_where_it_stopped_and_a_changed_one_starts_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[int] = []
    real = recurrent.train

    def counted(*given):  # type: ignore[no-untyped-def]
        trained.append(1)
        return real(*given)

    def scores(steps: int, layers: str) -> dict[str, list[runner.Row]]:
        monkeypatch.setitem(recurrent.PRESETS["associative"], "tiny", replace(TINY, steps=steps))
        extra = {"preset": "tiny", "layers": layers}
        return dict(recurrent.run(None, runner.Options(extra=extra, quiet=True, cache=tmp_path)).systems)

    monkeypatch.setattr(recurrent, "train", counted)
    before = scores(2, "delta-rule")
    assert scores(2, "delta-rule,based")["delta-rule"] == before["delta-rule"]
    assert len(trained) == 2
    scores(3, "delta-rule")
    assert len(trained) == 3


def test_an_unknown_task_or_preset_is_refused() -> None:
    with pytest.raises(MnemicError, match="no recall task 'chess'; there are: associative, joint"):
        recurrent.run(None, runner.Options(extra={"task": "chess"}))
    with pytest.raises(MnemicError, match="no preset 'days'; there are: minutes, hour, hours"):
        recurrent.run(None, runner.Options(extra={"preset": "days"}))
