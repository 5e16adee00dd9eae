from typing import Any

import numpy as np
import pytest
import torch

from mnemic.bench import runner
from mnemic.bench.tasks import recurrent_encoders as bench
from mnemic.types import MnemicError
from mnemic.worlds.outlines import chains, outlines


def test_an_outline_is_whole_where_no_path_leads_out_of_it() -> None:
    """By filling the picture from its margin."""
    made = outlines(200, seed=3)
    asked = whole = 0
    for marks, inside, closed in zip(made.marks, made.inside, made.closed, strict=True):
        free = ~np.pad(marks, 1)
        outside = np.zeros_like(free)
        outside[0, 0] = True
        for _ in range(free.size):
            spread = outside.copy()
            spread[1:] |= outside[:-1]
            spread[:-1] |= outside[1:]
            spread[:, 1:] |= outside[:, :-1]
            spread[:, :-1] |= outside[:, 1:]
            spread &= free
            if (spread == outside).all():
                break
            outside = spread
        assert (closed == ~outside[1:-1, 1:-1] & ~marks).all()
        assert inside.any()
        assert not (inside & marks).any()
        assert not (closed & ~inside).any()
        asked, whole = asked + int(inside.sum()), whole + int(closed.sum())
    assert 0.4 < whole / asked < 0.6
    with pytest.raises(ValueError, match="a side of 5"):
        outlines(1, seed=0, side=5)


def test_the_wanted_links_are_the_chain_from_symbol_0() -> None:
    made = chains(50, seed=1, length=3, others=4)
    for links, wanted in zip(made.links.tolist(), made.wanted, strict=True):
        lead, now, chain = dict(links), 0, []
        while now in lead:
            chain.append([now, lead[now]])
            now = lead[now]
        assert sorted(chain) == sorted(link for link, each in zip(links, wanted, strict=True) if each)
        assert len(chain) == 3
        assert len(lead) == len({end for _, end in links}) == 7
    assert len({tuple(each) for each in made.wanted.tolist()}) > 20  # in any order
    with pytest.raises(ValueError, match="a chain of 0"):
        chains(1, seed=0, length=0)


@torch.no_grad()
@pytest.mark.parametrize("name", list(bench.PICTURES))
def test_all_see_the_whole_picture_but_one_way_and_have_as_many_parameters(name: str) -> None:
    model = bench.seer(name, 0)
    assert bench.parameters(model) == pytest.approx(bench.parameters(bench.seer("attention", 0)), rel=0.02)
    model, (marks, _, _) = model.double(), bench.drawn(1, 0)
    changed = marks.clone()
    changed[0, 5, 5] ^= True
    moved = ((model(marks) - model(changed)).abs() > 1e-14).flatten()
    assert moved[55:].all()
    assert moved[:55].all() == (name != "vim-one-way")
    assert moved[:55].any() == (name != "vim-one-way")


def test_both_tasks_are_trained_and_an_empty_input_tells_nothing() -> None:
    def run(**extra: str) -> Any:
        return bench.run(None, runner.Options(extra={"steps": "3", "starts": "1"} | extra, quiet=True))

    seen = run(layers="vig").systems
    assert list(seen) == ["vig", "vig-emptied"]
    assert 0.2 < np.mean([row["accuracy"] for row in seen["vig-emptied"]]) < 0.8
    found = run(task="sets")
    assert list(found.systems) == [name for each in bench.SETS for name in (each, f"{each}-emptied")]
    assert all(row["bits"] > 0 for row in found.systems["order-matters"])
    emptied = np.mean([row["accuracy"] for row in found.systems["order-matters-emptied"]])
    assert abs(emptied - 5 / 11) < 0.1  # five of eleven, whichever are pointed at
    with pytest.raises(MnemicError, match="there is no 'vig' in sets"):
        run(task="sets", layers="vig")
