from typing import Any

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
    trained = bench.learnt(2, 16, 0)
    tokens, _ = bench.texts(5, 1)
    model = bench.adapted(trained, "longmamba", {"size": 16, "trained": bench.LENGTH}, tokens)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in trained.state_dict().items())
    profiles = [block.layer.profile for block in model.blocks]
    assert all(isinstance(block.layer, Enlarged) for block in model.blocks)
    assert not torch.allclose(profiles[0], profiles[1])
    assert torch.allclose(model(tokens)[0], trained(tokens)[0], atol=1e-5)


def test_all_systems_are_scored_on_the_same_texts_at_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TIMES", (1, 2))
    monkeypatch.setattr(bench, "FORGET", ((1.5, 0.5), (1.0, 1.0)))
    monkeypatch.setattr(bench, "OTHERS", {8: ("mamba",)})
    outcome = bench.run(None, runner.Options(extra={"steps": "2", "tests": "4", "starts": "2"}, quiet=True))
    names = [*bench.SYSTEMS, "mamba, size 8"]
    assert list(outcome.systems) == [name for each in names for name in (each, f"{each}-emptied")]
    assert {row["start"] for row in outcome.systems["mamba"]} == {"0", "1"}
    assert {"near_1x", "far_2x", "size_2x"} <= set(outcome.systems["mamba"][0])
    assert all(row["size_1x"] == 1 for row in outcome.systems["mamba"])
    assert outcome.extra["curves"]["size against length"]["lines"]["mamba"][1][1] > 0
    half = outcome.extra["state_bytes"]["mamba"] - outcome.extra["state_bytes"]["mamba, size 8"]
    assert half == 2 * 4 * 32 * 8 + 2 * 4 * 3 * 2 * 8  # two blocks: 32 channels, a convolution of B and C


def test_a_text_is_in_reach_as_long_as_no_shorter_one_is_lost() -> None:
    rows = [
        {
            "near_1x": 1,
            "near_2x": 0.9,
            "near_4x": 0.8,
            "near_8x": 1,
            "near_16x": 1,
            "near_32x": 1,
            "far_1x": 0.5,
        }
    ]
    assert bench.reach(rows, "near") == 2 * bench.LENGTH
    assert bench.reach(rows, "far") == 0


def test_the_first_mend_is_what_finds_most_in_texts_that_are_not_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "FORGET", ((1.0, 1.0), (3.0, 0.5), (2.0, 0.5)))
    trained, seen = bench.learnt(1, 8, 0), []

    def recalled(model: Any, tokens: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mend = model.blocks[0].layer.decay_times
        seen.append((mend, tokens.shape[1]))
        return torch.tensor([float(mend == 2.0)]), torch.zeros(1)

    monkeypatch.setattr(bench, "recalled", recalled)
    assert bench.forgetting(trained, 8, 0) == {"decay_times": 2.0, "write_times": 0.5}
    assert seen == [(1.0, 8 * bench.LENGTH), (3.0, 8 * bench.LENGTH), (2.0, 8 * bench.LENGTH)]
