"""What is learned from is not what is asked: the lessons share no wording with the diary."""

import random
import re

from mnemic.worlds import life
from mnemic.worlds.lessons import lines, topics

SMALL = frozenset(
    "a an and the i we is are was were has have had did do does at in on of to for with as by it my me out "
    "from up who what which how when where this that these those now days first oldest everything one been got "
    "then down between against into over under".split()
)


def runs(text: str) -> set[tuple[str, ...]]:
    """Three words in a row of which at least two say something."""
    found = re.findall(r"\{\w+\}|[a-z']+", text.lower())
    threes = (tuple(found[i : i + 3]) for i in range(len(found) - 2))
    return {run for run in threes if sum(w not in SMALL and "{" not in w for w in run) > 1}


def test_no_wording_and_no_value_of_the_diary_is_learned() -> None:
    mine = {w for t in topics() for way, ws in t.lines.items() if way not in ("values", "sites") for w in ws}
    told = [w for f in life.FACTS for w in (*f.told, *f.idle, *f.now, f.then, f.each)]
    told += [w for p in life.PASTIMES for w in (*p.told, p.asked)]
    told += [w for r in life.ROUTINES for w in (*r.told, r.asked)]
    theirs = set().union(*(runs(w) for w in told))
    shared = {w: runs(w) & theirs for w in mine if runs(w) & theirs}
    assert not shared
    values = {v.lower() for f in life.FACTS for v in f.values}
    assert not values & {v.lower() for t in topics() for v in t.values}
    assert not set(life.PEOPLE) & {w for t in topics() if t.kind == "names" for w in t.lines["told"]}


def test_every_wording_is_filled_and_the_same_seed_fills_it_the_same() -> None:
    made = list(lines(random.Random(1), 2))
    assert made == list(lines(random.Random(1), 2))
    assert not any("{" in line.text for line in made)
    assert all(line.value.lower() in line.text.lower() for line in made)
    wordings = {
        (t.name, w) for t in topics() if t.kind != "names" for w in t.lines if w not in ("values", "sites")
    }
    assert {(line.topic, line.way) for line in made} == wordings
