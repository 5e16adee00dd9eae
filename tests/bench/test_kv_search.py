"""The bench of searching for keys: both ways find most, and soon where this model retrieves."""

from __future__ import annotations

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_search


def test_lists_of_both_kinds_hold_the_best_key_of_the_head_that_retrieves_among_the_first() -> None:
    found = kv_search.run(None, Options(extra={"length": "8192", "queries": "4"}, quiet=True)).systems
    seen, alone = found["seen"], found["keys alone"]
    assert [row["id"] for row in seen] == [row["id"] for row in alone]
    assert len(seen) == 6 * 8  # two of eight heads are silent
    assert all(0 < row["searched"] <= 100 for row in seen + alone)
    for system in (seen, alone):
        assert sum(row["found"] for row in system) >= 0.9 * len(system)
        assert all(row["found"] == (row["searched"] <= 2) for row in system)
    for system in ("seen, head 5", "keys alone, head 5"):
        assert all(row["searched"] < 3 for row in found[system])  # by lot: 50
