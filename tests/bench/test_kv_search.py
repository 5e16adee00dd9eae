"""The bench of searching for keys: both ways find most, lists that know the queries sooner."""

from __future__ import annotations

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_search


def test_lists_that_know_the_queries_search_no_more_for_the_best_key() -> None:
    found = kv_search.run(None, Options(extra={"length": "8192", "queries": "4"}, quiet=True)).systems
    seen, alone = found["seen"], found["keys alone"]
    assert [row["id"] for row in seen] == [row["id"] for row in alone]
    assert len(seen) == 8 * 8
    assert all(0 < row["searched"] <= 100 for row in seen + alone)
    for system in (seen, alone):
        assert sum(row["found"] for row in system) >= 0.9 * len(system)
        assert all(row["found"] == (row["searched"] <= 2) for row in system)
    assert sum(row["searched"] for row in seen) < sum(row["searched"] for row in alone)
