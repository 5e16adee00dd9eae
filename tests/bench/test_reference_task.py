"""The bench of the reference model: exact pages, and the heads that needle recall hangs on."""

from __future__ import annotations

import numpy as np

from mnemic.bench.runner import Options, summary
from mnemic.bench.tasks import reference


def test_needles_are_found_with_the_retrieval_heads_and_lost_without() -> None:
    outcome = reference.run(None, Options(extra={"cases": "10"}, quiet=True))
    whole, *rest = (summary(rows, 0) for rows in outcome.systems.values())
    assert set(whole) >= {"needle", "multi_needle", "recall", "threads", "threads_5", "order", "copy"}
    assert whole["threads"]["n"] == 4 * whole["needle"]["n"] == 40
    assert whole["needle"]["value"] == 1.0
    fewest, heads = outcome.extra["fewest"], outcome.extra["heads"]
    assert len(outcome.extra["retrieval_heads"]) == fewest <= 0.15 * heads
    assert rest[0]["needle"]["value"] < 0.2
    scores = np.array(outcome.extra["scores"])
    top = {divmod(int(i), scores.shape[1]) for i in np.argsort(-scores.ravel(), kind="stable")[:fewest]}
    assert top == {tuple(head) for head in outcome.extra["retrieval_heads"]}
