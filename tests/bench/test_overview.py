import json
from pathlib import Path

import pytest

from mnemic.bench import overview
from mnemic.types import MnemicError


def result(folder: Path, name: str, systems: dict[str, dict[str, float]]) -> None:
    stated = {
        layer: {metric: {"value": value} for metric, value in each.items()} for layer, each in systems.items()
    }
    (folder / f"{name}.json").write_text(json.dumps({"systems": stated}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recall = {"worse": 0.2, "better": 0.7, "worse-quarter": 0.1, "better-half": 0.9, "better-emptied": 0.0}
    result(tmp_path, "recurrent", {name: {"accuracy": value} for name, value in recall.items()})
    bits, speed = {"worse": 2.5, "better": 1.5, "other": 9.0}, {"worse": 1000.0, "better": 10.0}
    result(tmp_path, "recurrent_language", {name: {"bits": value} for name, value in bits.items()})
    result(tmp_path, "recurrent_speed", {name: {"tokens_per_second": value} for name, value in speed.items()})
    return tmp_path


def test_layers_stand_in_order_with_the_best_of_every_column_and_gaps_where_nothing_was_asked(
    folder: Path,
) -> None:
    page = overview.write(folder)
    assert page.read_text().splitlines()[-2:] == [
        "| better | **0.700** |  | **1.500** | 10.0 |",
        "| worse | 0.200 | **0.100** | 2.500 | **1,000.0** |",
    ]
    plot = page.with_suffix(".svg").read_text()
    assert "<svg" in plot
    assert f"]({page.stem}.svg)" in page.read_text()


def test_how_good_a_layer_is_goes_from_the_worst_to_the_best() -> None:
    less = overview.Column("", "", "", less=True)
    assert overview.goodness(less, {"a": 3.0, "b": 1.0, "c": 2.0}) == {"a": 0.0, "b": 1.0, "c": 0.5}
    wide = overview.Column("", "", "", wide=True)
    shares = overview.goodness(wide, {"a": 1.0, "b": 100.0, "c": 10.0})
    assert shares == pytest.approx({"a": 0, "b": 1, "c": 0.5})
    assert overview.goodness(wide, {"a": 7.0}) == {"a": 0.0}


def test_a_folder_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match="no result of a recurrent bench"):
        overview.write(tmp_path)
