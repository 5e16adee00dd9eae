"""What is merged is the average a plain loop makes of it, and weighs what the method says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import build, ids

from mnemic import kv
from mnemic.kv.merged import Merged

BLOCK, CAPACITY, COUNT, SCALE = 4, 18, 50, 0.7
SMALL: dict[str, dict[str, Any]] = {
    "chelsea": {"sinks": 2, "recent": 3, "chunk": 6},
    "ems": {"recent": 3, "kernel": 1, "alike": 0.3},
}


class Slot:
    def __init__(self, column: int, key: Any, value: Any) -> None:
        self.column, self.key, self.value, self.n, self.mass = column, key, value, 1, 0.0
        self.last = 0.0


def cosine(one: Slot, other: Slot) -> float:
    return float(one.key @ other.key / np.linalg.norm(one.key) / np.linalg.norm(other.key))


def chelsea(slots: list[Slot], leave: int) -> list[tuple[Slot, Slot | None]]:
    free = slots[2 : len(slots) - 3]
    links = []
    for start in range(0, len(free), 6):
        chunk = free[start : start + 6]
        for a in chunk[0::2]:
            if chunk[1::2]:
                links.append((a, max(chunk[1::2], key=lambda b: cosine(a, b))))
    return sorted(links, key=lambda link: -cosine(*link))[:leave]


def ems(slots: list[Slot], leave: int) -> list[tuple[Slot, Slot | None]]:
    now = slots[-1].column
    everywhere = [slot.mass / (now - slot.column + 1) for slot in slots]
    near = [slot.last for slot in slots]
    worth = {
        s: max(e / sum(everywhere), n / sum(near)) for s, e, n in zip(slots, everywhere, near, strict=True)
    }
    gone = sorted(slots[:-3], key=lambda slot: worth[slot])[:leave]
    kept = [slot for slot in slots if slot not in gone]
    links: list[tuple[Slot, Slot | None]] = []
    for slot in gone:
        into = max(kept, key=lambda other: cosine(slot, other))
        links.append((slot, into if cosine(slot, into) > 0.3 else None))
    return links


def loop(
    query: Any, keys: Any, values: Any, pads: int, weigh: bool, links: Callable[[list[Slot], int], Any]
) -> Any:
    """One query head [n, d] over one key-value head, token by token, in float64."""
    slots: list[Slot] = []
    out = np.zeros_like(query)
    dead = 0
    for i in range(len(query)):
        if i < pads:
            dead += 1
        else:
            slots.append(Slot(i, keys[i], values[i]))
            logits = np.array([s.key @ query[i] * SCALE + (np.log(s.n) if weigh else 0) for s in slots])
            weights = np.exp(logits) / np.exp(logits).sum()
            out[i] = sum(w * s.value for w, s in zip(weights, slots, strict=True))
        if (i + 1) % BLOCK:
            continue
        for slot in slots:
            slot.last = 0.0
        for j in range(i + 1 - BLOCK, i + 1):  # attention received, by all the slots of now
            seen = [s for s in slots if s.column <= j]
            weights = np.exp([s.key @ query[j] * SCALE for s in seen])
            for s, w in zip(seen, weights / weights.sum(), strict=True):
                s.mass += w
                s.last += w if j > i - 3 else 0
        leave = len(slots) + dead - (CAPACITY - BLOCK)
        if leave > 0:
            drop = min(dead, leave)
            dead -= drop
            made = links(slots, leave - drop)
            sums = {s: (s.n, s.n * s.key, s.n * s.value, s.mass) for s in slots}
            for gone, into in made:
                if into is not None:
                    sums[into] = tuple(x + y for x, y in zip(sums[into], sums[gone], strict=True))
            left = [gone for gone, _ in made]
            slots = [s for s in slots if s not in left]
            for s in slots:
                s.n, s.mass = sums[s][0], sums[s][3]
                s.key, s.value = sums[s][1] / s.n, sums[s][2] / s.n
    return out


@pytest.mark.parametrize(("method", "links"), [("chelsea", chelsea), ("ems", ems)])
def test_attention_over_merged_slots_is_that_of_a_plain_loop(method: str, links: Any) -> None:
    torch.manual_seed(0)
    heads = 1 if method == "ems" else 2  # what a loop with one query head for a key sees as received
    chosen = kv.policy(method, block=BLOCK, **SMALL[method])
    query = torch.randn(2, 2 * heads if method == "chelsea" else 2, COUNT, 6, dtype=torch.float64)
    keys = torch.randn(2, 2, COUNT, 6, dtype=torch.float64) + torch.randn(6, dtype=torch.float64)
    values = torch.randn(2, 2, COUNT, 6, dtype=torch.float64)
    slots = Merged(
        scale=SCALE, capacity=CAPACITY, block=BLOCK, score=chosen.score, watch=chosen.watch, headwise=True,
        classes=chosen.classes, weigh=chosen.weigh,
    )  # fmt: skip
    columns = torch.arange(COUNT, dtype=torch.int32).repeat(2, 1)
    columns[1, :7] = -1
    found = []
    for start in range(0, COUNT, BLOCK):
        piece = slice(start, min(COUNT, start + BLOCK))
        found.append(slots.step(query[:, :, piece], keys[:, :, piece], values[:, :, piece], columns[:, piece]))
        if piece.stop % BLOCK == 0:
            slots.settle(piece.stop)
    out = torch.cat(found, 2)
    share = query.shape[1] // 2
    for row, pads in ((0, 0), (1, 7)):
        for head in range(query.shape[1]):
            group = head // share
            arrays = (query[row, head].numpy(), keys[row, group].numpy(), values[row, group].numpy())
            expected = loop(*arrays, pads, chosen.weigh, links)
            np.testing.assert_allclose(out[row, head, pads:].numpy(), expected[pads:], atol=1e-4)


def test_centroids_stand_for_every_token() -> None:
    """Nothing is dropped: what the slots stand for adds up to the text."""
    model = build("llama")
    cache = kv.attach(model, "chelsea", block=8, budget=24_000, **SMALL["chelsea"])
    kv.read(model, cache, ids(1, 200))
    for layer in cache.layers:
        assert torch.equal(layer.store.counts.sum(2), torch.full((1, 2), 200.0))
        assert layer.store.counts.max() > 3
        assert (layer.store.columns.diff(dim=2) > 0).all()


def test_what_is_like_nothing_is_dropped_and_what_is_like_something_merges() -> None:
    model, sizes = build("llama"), {}
    for alike in (-1.0, 0.9, 1.1):
        cache = kv.attach(model, "ems", block=8, budget=24_000, recent=4, alike=alike)
        kv.read(model, cache, ids(1, 200))
        sizes[alike] = cache.layers[1].store.counts.sum().item()
        assert cache.nbytes <= 24_000
    assert sizes[-1.0] == 400
    assert 400 > sizes[0.9] > sizes[1.1]
