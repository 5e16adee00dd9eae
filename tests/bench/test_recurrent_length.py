import pytest
import torch

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent_length as bench
from mnemic.recurrent.longmamba import Enlarged


def test_filler_stands_before_the_pairs_or_between_pairs_and_queries() -> None:
    tokens, _ = bench.texts(3, 0)
    near, far = bench.filled(tokens, 4, "near"), bench.filled(tokens, 4, "far")
    assert near.shape == far.shape == (3, 4 * bench.LENGTH)
    assert torch.equal(near[:, -bench.LENGTH :], tokens)
    assert torch.equal(far[:, : 2 * bench.PAIRS], tokens[:, : 2 * bench.PAIRS])
    assert torch.equal(far[:, -24:], tokens[:, -24:])
    assert (far[:, 2 * bench.PAIRS : -24] == 0).all()


def test_every_mend_reads_the_same_weights_and_is_calibrated_on_its_own_layers_input() -> None:
    trained = bench.learnt(2, 0)
    tokens, _ = bench.texts(5, 1)
    model = bench.adapted(trained, "longmamba", {"trained": bench.LENGTH}, tokens)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in trained.state_dict().items())
    profiles = [block.layer.profile for block in model.blocks]
    assert all(isinstance(block.layer, Enlarged) for block in model.blocks)
    assert not torch.allclose(profiles[0], profiles[1])
    assert torch.allclose(model(tokens)[0], trained(tokens)[0], atol=1e-5)


def test_all_systems_are_scored_on_the_same_texts_at_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TIMES", (1, 2))
    outcome = bench.run(None, runner.Options(extra={"steps": "2", "tests": "4"}, quiet=True))
    assert list(outcome.systems) == [name for each in bench.SYSTEMS for name in (each, f"{each}-emptied")]
    assert {"near_1x", "far_2x", "size_2x"} <= set(outcome.systems["mamba"][0])
    assert all(row["size_1x"] == 1 for row in outcome.systems["mamba"])
    assert outcome.extra["curves"]["size against length"]["lines"]["mamba"][1][1] > 0
