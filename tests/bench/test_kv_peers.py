"""The peers bench: what it needs is said, and both sides get the pages of the claims."""

from __future__ import annotations

import numpy as np
import pytest

from mnemic.bench.runner import Options
from mnemic.bench.tasks import kv_claims, kv_peers
from mnemic.types import MnemicError


def test_without_an_environment_for_the_peers_it_says_how_to_make_one() -> None:
    with pytest.raises(MnemicError, match="pip install torch kvpress"):
        kv_peers.run(None, Options())


def test_an_interpreter_that_does_not_run_is_named() -> None:
    with pytest.raises(MnemicError, match="could not be measured with /no/python"):
        kv_peers.run(None, Options(extra={"peers": "/no/python", "cases": "1"}))


def test_both_sides_get_the_pages_that_claims_are_measured_on() -> None:
    pages = kv_peers.drawn([3, 7], seed=1)
    for kind in kv_peers.KINDS:
        text, (question, answer) = kv_claims.page(np.random.default_rng([1, 5, 7]), kind)
        assert pages[f"{kind}_text"][1].tolist() == text.tolist()
        assert pages[f"{kind}_question"][1].tolist() == question
        assert pages[f"{kind}_answer"][1] == answer[0]
