"""The far tier: recalling everything is full attention with capped distances, less of it the best."""

from __future__ import annotations

import os
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import instead
from tiny import build, ids
from torch import Tensor
from transformers import DynamicCache

from mnemic import kv
from mnemic.kv import slots
from mnemic.kv.attach import policy
from mnemic.kv.infllm import InfLLM
from mnemic.kv.mapped import Mapped
from mnemic.kv.recall import bounds, match_bounds, match_every_key, match_mean, mean_of_marked
from mnemic.kv.sentencekv import sentence_ends
from mnemic.segment.events import Events
from mnemic.types import MnemicError, Stream

LENGTH = 150
RECALLING = [name for name in kv.names() if isinstance(policy(name), InfLLM)]
SMALL = {"block": 8, "sinks": 4, "local": 20}


def logits(model: Any, cache: Any, *pieces: Tensor, **given: Any) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(piece, past_key_values=cache, **given).logits for piece in pieces], 1)


def capped_attention(cap: int, base: float = 10000.0) -> Any:
    """Full attention over the whole text in float64, every distance at most `cap`, by complex arithmetic."""

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, scaling: float, **__: Any
    ) -> Any:
        share, n, d = query.shape[1] // key.shape[1], key.shape[2], key.shape[3]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1).double()
        frequency = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        turn = torch.polar(torch.ones(n, d // 2).double(), torch.arange(n)[:, None] * frequency)
        q, k = (torch.complex(*x.double().chunk(2, -1)) * turn.conj() for x in (query, key))
        distance = (torch.arange(n)[:, None] - torch.arange(n)).clamp(max=cap)
        phase = torch.polar(torch.ones(1).double(), distance[..., None] * frequency)
        found = torch.einsum("bhid,bhjd,ijd->bhij", q, k.conj(), phase).real * scaling
        found = found.masked_fill(distance < 0, -torch.inf)
        return (found.softmax(-1) @ value).to(query.dtype).transpose(1, 2), None

    return attention


@pytest.mark.parametrize("method", RECALLING)
def test_recalling_every_block_is_full_attention_with_capped_distances(method: str) -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    cache = kv.attach(model, method, chosen=1000, positions="capped", **SMALL)
    found = logits(model, cache, x[:, :70], x[:, 70:101], *x[:, 101:].split(1, 1))
    cap = cache.layers[0].store.near.cap
    assert cap < 20
    assert len(cache.layers[0].store.far["keys"]) * 8 > LENGTH - 30
    kv.detach(model)
    with instead(model, capped_attention(cap)):
        expected = logits(model, None, x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["compact", "true"])
def test_recalling_every_unit_at_its_place_is_full_attention(positions: str) -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :5] = 0
    expected = logits(model, DynamicCache(config=model.config), x, attention_mask=mask)
    for method in ("em-llm", "sentencekv" if positions == "true" else "retrolm"):
        cache = kv.attach(model, method, chosen=1000, positions=positions, **SMALL)
        at = 0
        for count in (70, 31, *[1] * 49):
            new = logits(model, cache, x[:, at : at + count], attention_mask=mask[:, : at + count])
            torch.testing.assert_close(new[0], expected[0, at : at + count], atol=1e-4, rtol=0)
            real = mask[1, at : at + count].bool()
            torch.testing.assert_close(new[1, real], expected[1, at : at + count][real], atol=1e-4, rtol=0)
            at += count
        assert len(cache.layers[0].store.far["keys"]) * 8 > LENGTH - 30


def test_compact_places_what_little_is_recalled_next_to_the_window() -> None:
    """One layer: a plain float64 loop over sinks, recalled tokens and window at ranks without gaps."""
    model = build("llama", num_hidden_layers=1)
    x = ids(1, 90)
    cache = kv.attach(model, "quest", chosen=2, positions="compact", **SMALL)
    logits(model, cache, x[:, :89])
    store = cache.layers[0].store
    seen: list[Tensor] = []
    recall = store.recall

    def watched(query: Tensor, columns: Tensor) -> Any:
        found = recall(query, columns)
        seen.append(found.columns[0, :, 0])
        return found

    store.recall = watched
    out = logits(model, cache, x[:, 89:])[0, -1]
    kv.detach(model)
    kept = [  # of each key-value head, in order of time
        [
            *range(4),
            *sorted(seen[0][head].tolist()),
            *sorted(c for c in store.near.columns[0, 0].tolist() if c > 3),
        ]
        for head in range(2)
    ]

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, scaling: float, **__: Any
    ) -> Any:
        frequency = 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
        turn = torch.polar(torch.ones(90, 4).double(), torch.arange(90)[:, None] * frequency)
        q, k = (torch.complex(*x.double().chunk(2, -1)) * turn.conj() for x in (query, key))
        out = torch.zeros_like(query)
        for head in range(4):
            columns = kept[head // 2]
            ranks = torch.polar(
                torch.ones(len(columns), 4).double(), torch.arange(len(columns))[:, None] * frequency
            )
            asked = (q[0, head, -1] * ranks[-1]).conj() * (k[0, head // 2, columns] * ranks)
            out[0, head, -1] = (
                (asked.sum(-1).real * scaling).softmax(0) @ value[0, head // 2, columns].double()
            ).float()
        return out.transpose(1, 2), None

    with instead(model, attention):
        expected = logits(model, None, x)[0, -1]
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", RECALLING)
def test_padding_chunks_and_reordered_rows_never_show_in_what_is_recalled(method: str) -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    mask = torch.ones_like(x)
    mask[1, :8] = 0
    whole = kv.attach(model, method, chosen=2, **SMALL)
    expected = logits(model, whole, x, attention_mask=mask)
    cache = kv.attach(model, method, chosen=2, **SMALL)
    at = 0
    for turn, count in enumerate((61, 40, 9, 39, 1)):
        swap = slice(None) if turn % 2 == 0 else torch.tensor([1, 0])
        new = logits(model, cache, x[swap, at : at + count], attention_mask=mask[swap, : at + count])
        torch.testing.assert_close(new, expected[swap, at : at + count], atol=1e-5, rtol=0)
        cache.reorder_cache(torch.tensor([1, 0]))
        at += count
    alone = kv.attach(model, method, chosen=2, **SMALL)
    torch.testing.assert_close(logits(model, alone, x[1:, 8:]), expected[1:, 8:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", RECALLING)
def test_the_near_tier_and_what_is_recalled_stay_within_the_budget(method: str) -> None:
    model = build("llama")
    budget = 60_000
    cache = kv.attach(model, method, budget=budget, block=8, sinks=4, chosen=2)
    sizes = []
    for piece in ids(1, 960).split(96, 1):
        kv.read(model, cache, piece)
        sizes.append(cache.nbytes)
    assert max(sizes) <= budget
    assert sizes[-1] == sizes[-2]  # flat, while the far tier grows
    pairs = cache.nbytes_offloaded // (3 * 2 * 16 * 4)
    assert pairs > 600


def test_a_text_that_is_read_is_read_with_the_near_tier_alone() -> None:
    model = build("llama")
    x = ids(1, LENGTH)
    read = kv.attach(model, "quest", chosen=1000, **SMALL)
    kv.read(model, read, x)
    deaf = kv.attach(model, "quest", chosen=1, **SMALL)
    deaf.reading = True
    logits(model, deaf, x)
    for one, other in zip(read.layers, deaf.layers, strict=True):
        torch.testing.assert_close(one.store.far["values"].rows, other.store.far["values"].rows)


def test_no_key_of_a_block_beats_its_bound_and_the_exact_match_is_the_best_key() -> None:
    torch.manual_seed(0)
    keys, query = torch.randn(9, 2, 3, 5, 8), torch.randn(2, 3, 4, 8)  # blocks, rows, heads, tokens, channels
    best = torch.einsum("bgxd,nbgmd->bgxnm", query, keys).amax(-1)
    bound = match_bounds(query, torch.stack([bounds(block, None) for block in keys]))
    assert (bound >= best - 1e-5).all()
    one = keys[:, :, :, :1]  # a block of one token: the bound is the logit
    exact = match_bounds(query, torch.stack([bounds(block, None) for block in one]))
    torch.testing.assert_close(exact, torch.einsum("bgxd,nbgmd->bgxnm", query, one).amax(-1))
    torch.testing.assert_close(match_every_key(query, keys).unflatten(3, (9, 5)).amax(-1), best)


def test_the_representatives_are_the_keys_of_highest_mark() -> None:
    torch.manual_seed(0)
    keys, marks = torch.randn(2, 3, 6, 8), torch.rand(2, 3, 6)
    found = mean_of_marked(2)(keys, marks)
    for row in range(2):
        for head in range(3):
            order = sorted(range(6), key=lambda i: -marks[row, head, i])[:2]
            torch.testing.assert_close(found[row, head], keys[row, head, order].mean(0))
    query = torch.randn(2, 3, 1, 8)
    torch.testing.assert_close(match_mean(query, found[None])[..., 0, 0], (query[:, :, 0] * found).sum(-1))


def test_mapped_rows_come_back_as_they_were_and_a_full_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.randn(40, 3, 5).to(torch.bfloat16)
    mapped = Mapped(tmp_path)
    for row in rows:
        mapped.append(row)
    assert torch.equal(mapped.rows, rows)
    assert mapped.nbytes == 40 * 15 * 2
    assert list(tmp_path.iterdir()) == []  # the file has no name

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MnemicError, match="No space left"):
        Mapped(tmp_path).append(rows[0])


def test_no_distance_is_larger_than_the_limit() -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    cache = kv.attach(model, "lm-infinite", limit=25)
    found = logits(model, cache, x[:, :70], x[:, 70:101], *x[:, 101:].split(1, 1))
    kv.detach(model)
    with instead(model, capped_attention(25)):
        expected = logits(model, None, x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_methods_that_recall_a_little_recall_different_things() -> None:
    model = build("llama")
    x = ids(1, LENGTH)
    found = {method: logits(model, kv.attach(model, method, chosen=2, **SMALL), x) for method in RECALLING}
    for one, other in combinations(found, 2):
        assert (found[one] - found[other]).abs().amax() > 1e-3, (one, other)


def test_events_end_where_one_pass_over_the_whole_text_would_end_them() -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    options = {"block": 8, "sinks": 4, "local": 20, "chosen": 6, "shortest": 2, "longest": 12, "window": 16}
    cache = kv.attach(model, "em-llm", refine=None, gamma=0.5, **options)
    for piece in x.split(37, 1):
        logits(model, cache, piece)
    kv.detach(model)
    store = cache.layers[0].store
    gone = len(store.far["keys"]) * 8
    plain = logits(model, DynamicCache(config=model.config), x).log_softmax(-1)
    for row in range(2):
        # the surprise the cache saw, from its own far tier, where sinks are left out
        surprise = store.far["surprise"].rows[:, row, 0].flatten().numpy()
        columns = store.far["columns"].rows[:, row, 0].flatten()
        assert columns.tolist() == list(range(4, 4 + gone))
        near = -plain[row, 3:11].gather(1, x[row, 4:12, None])[:, 0]  # no distance was capped yet
        torch.testing.assert_close(torch.tensor(surprise[:8]), near, atol=1e-4, rtol=0)
        start, length = (store.units[name].rows[:, row] for name in ("start", "length"))
        spans = [(a, a + n) for a, n in zip(start.tolist(), length.tolist(), strict=True) if n]
        expected = Events(0.5, 16, None, 2, 12)(Stream([""] * gone, surprise=surprise))
        assert spans == [(span.start, span.stop) for span in expected]
        assert len({stop - a for a, stop in spans}) > 3
    refined = kv.attach(model, "em-llm", gamma=0.5, **options)
    logits(model, refined, x)
    one, other = (c.layers[0].store.units["length"].rows.numpy() for c in (cache, refined))
    assert one.shape != other.shape or (one != other).any()


def test_neighbours_of_the_best_events_fill_their_share_of_the_room() -> None:
    """Choosing against a plain loop: best first while it fits, then the neighbours of the best, best first."""
    torch.manual_seed(0)
    model = build("llama")
    cache = kv.attach(model, "em-llm", block=8, sinks=4, local=20, chosen=6, shortest=2, longest=9, nearby=0.4)
    logits(model, cache, ids(2, 200))
    store = cache.layers[0].store
    scores = torch.randn(2, 2, 3, len(store.units["start"]))
    store.match = lambda query, stand: scores
    taken = store.choose(torch.zeros(2, 2, 3, 8), 3)
    length = store.units["length"].rows
    beside = 0
    for row, head, query in product(range(2), range(2), range(3)):
        units = [i for i in range(len(length)) if length[i, row]]
        score = {i: float(scores[row, head, query, i].to(torch.bfloat16)) for i in units}
        expected: list[int] = []
        room = 48 - 19
        for i in sorted(units, key=lambda i: (-score[i], -i)):
            room -= int(length[i, row])
            if room < 0:
                break
            expected.append(i)
        room = 48 - sum(int(length[i, row]) for i in expected)
        best = {}
        for at, i in enumerate(units):
            near = [units[j] for j in (at - 1, at + 1) if 0 <= j < len(units) and units[j] in expected]
            if near and i not in expected:
                best[i] = max(score[j] for j in near)
        for i in sorted(best, key=lambda i: (-best[i], -i)):
            room -= int(length[i, row])
            if room < 0:
                break
            expected.append(i)
            beside += 1
        assert taken[row, head, query].nonzero()[:, 0].tolist() == sorted(expected)
        found = store.gather(taken)
        at = [t for i in sorted(expected) for t in range(int(length[i, row]))]
        assert int((found.columns[row, head, query] >= 0).sum()) == len(at) <= 48
        tokens = [
            int(store.units["start"].rows[i, row]) + t
            for i in sorted(expected)
            for t in range(int(length[i, row]))
        ]
        values = store.far["values"].rows[:, row, head].flatten(0, 1)[tokens]
        assert torch.equal(found.values[row, head, query, : len(tokens)], values)
    assert beside > 10


def test_sentences_end_after_the_tokens_that_end_them_or_when_they_are_long() -> None:
    model = build("llama")
    x = ids(2, LENGTH)
    ends = (5, 17, 40)
    cache = kv.attach(model, "sentencekv", ends=ends, longest=11, chosen=4, **SMALL)
    for piece in x.split(37, 1):
        logits(model, cache, piece)
    store = cache.layers[2].store
    for row in range(2):
        columns = store.far["columns"].rows[:, row, 0].flatten().tolist()
        expected, length = [], 0
        for i, column in enumerate(columns):
            length += 1
            if int(x[row, column]) in ends or length == 11 or i == len(columns) - 1:
                expected.append(length)
                length = 0
        found = store.units["length"].rows[:, row].tolist()
        assert [n for n in found if n] == expected
        assert len(set(expected)) > 4


def test_the_tokens_that_end_a_sentence_are_found_in_a_vocabulary() -> None:
    class Vocabulary:
        words = ("the", ".", "end.", ' said."', "?!", "3.5", "\n\n", ",")

        def __len__(self) -> int:
            return len(self.words)

        def batch_decode(self, ids: list[list[int]]) -> list[str]:
            return [self.words[i] for (i,) in ids]

    assert sentence_ends(Vocabulary()) == (1, 2, 3, 4, 6)


@pytest.mark.parametrize("method", ["quest", "retrieval-attention", "squeezed-attention"])
def test_reading_several_blocks_at_a_time_keeps_what_block_by_block_keeps(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama")
    x, options = ids(2, 200), {"block": 8, "sinks": 5, "local": 20}
    if method != "squeezed-attention":
        options["chosen"] = 2
    together = kv.attach(model, method, **options)
    for piece in x.split([3, 150, 47], 1):
        kv.read(model, together, piece)
    assert together.layers[0].store.stride == 128
    monkeypatch.setattr(slots, "_AHEAD", 8)
    apart = kv.attach(model, method, **options)
    kv.read(model, apart, x)
    assert apart.layers[0].store.stride == 8
    for one, other in zip(together.layers, apart.layers, strict=True):
        assert one.store.near.settled == other.store.near.settled
        for state in ("tensors", "offloaded"):
            found, expected = getattr(one.store, state)(), getattr(other.store, state)()
            assert found.keys() == expected.keys()
            for name, tensor in found.items():
                torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["infllm", "squeezed-attention"])
def test_a_sliding_layer_stays_within_the_budget_too(method: str) -> None:
    model = build("mistral", sliding_window=200)
    budget = 60_000
    cache = kv.attach(model, method, budget=budget, block=8, sinks=4)
    kv.read(model, cache, ids(1, 300))
    assert cache.nbytes <= budget
    assert all(layer.store.window == 200 for layer in cache.layers)
