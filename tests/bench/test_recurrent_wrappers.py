from pathlib import Path

import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import recurrent_wrappers as wrappers
from mnemic.recurrent import names
from mnemic.types import MnemicError


def test_every_memory_is_asked_of_the_same_texts_whole_and_emptied(tmp_path: Path) -> None:
    assert set(names("wrapper")) <= set(wrappers.OPTIONS)
    outcome = wrappers.run(None, Options(extra={"steps": "2"}, limit=5, quiet=True, cache=tmp_path))
    assert set(outcome.systems) == {f"{name}{how}" for name in wrappers.OPTIONS for how in ("", "-emptied")}
    assert len({tuple(row["id"] for row in rows) for rows in outcome.systems.values()}) == 1
    assert all(0 <= row["accuracy"] <= 1 for rows in outcome.systems.values() for row in rows)
    assert outcome.systems["alone"] == outcome.systems["alone-emptied"]
    with pytest.raises(MnemicError, match="no memory 'titans'; there are: alone, whole, hmt"):
        wrappers.run(None, Options(extra={"layers": "titans"}))
