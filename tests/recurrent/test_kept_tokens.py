"""Tokens kept exactly beside a state: which they are, and that attention sees those and no others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mnemic.index.hashing import codes
from mnemic.recurrent import build
from mnemic.recurrent.bmojo import Eidetic
from mnemic.recurrent.engine.chosen import compact, higher, later, stays
from mnemic.recurrent.hax import Hashed


@settings(max_examples=30)
@given(scores=st.lists(st.integers(0, 5), min_size=1, max_size=20), room=st.integers(0, 6))
def test_those_who_stay_are_the_best_of_those_who_arrived(scores: list[int], room: int) -> None:
    n = len(scores)
    arrived = torch.ones(n, n, dtype=torch.bool).tril()
    best = stays(arrived, higher(torch.tensor(scores)), room)
    latest = stays(arrived, later(torch.tensor(scores)), room)
    for t in range(n):
        ranked = sorted(range(t + 1), key=lambda j: (-scores[j], j))[:room]
        assert best[t].nonzero().flatten().tolist() == sorted(ranked)
        same = [j for j in range(t + 1) if [scores[i] for i in range(j, t + 1)].count(scores[j]) <= room]
        assert latest[t].nonzero().flatten().tolist() == same


def test_slots_hold_those_kept_in_order_and_say_which_are_empty() -> None:
    tokens = torch.arange(1.0, 13).reshape(1, 6, 2)
    kept = torch.tensor([[False, True, False, False, True, False]])
    assert compact(tokens, kept, 3).tolist() == [[[3, 1], [9, 1], [0, 0]]]


def test_bmojo_attends_to_its_window_its_surprises_and_its_state_in_one_softmax() -> None:
    torch.manual_seed(0)
    layer = build("bmojo", dim=6, heads=2, window=4, storage=3, chunk=8, conv=0).double()
    assert isinstance(layer, Eidetic)
    x, q, k, v = (torch.randn(1, *shape, dtype=torch.float64) for shape in [(30, 6), *[(2, 30, 3)] * 3])
    got, _ = layer.remember(x, q, k, v, layer.fresh(1), None)
    rate, keep = layer.rate(x)[0], layer.decay(x)[0].exp()  # type: ignore[misc]
    kept_old = 0
    for head in range(2):
        s, surprise = torch.zeros(3, 3, dtype=torch.float64), []
        for t in range(30):
            key, value = F.normalize(k[0, head, t], dim=0), v[0, head, t]
            s = keep[head, t] * s
            error = value - s.T @ key
            surprise.append(float((error.square().sum() / value.square().sum()).detach()))
            s = s + rate[head, t] * torch.outer(key, error)
            fading = s.T @ F.normalize(q[0, head, t], dim=0) * 3**-0.5
            old = sorted(range(max(t - 3, 0)), key=lambda j: -surprise[j])[:3]
            seen = sorted({*old, *range(max(t - 3, 0), t + 1)})
            kept_old += any(j < t - 10 for j in old)
            logits = (
                torch.cat([k[0, head, seen], (fading @ layer.fading_key[head])[None]]) @ q[0, head, t] / 3**0.5
            )
            want = F.softmax(logits, 0) @ torch.cat([v[0, head, seen], fading[None]])
            assert torch.allclose(got[0, head, t], want)
    assert kept_old > 10


@pytest.mark.parametrize(("bits", "bucketed", "selected"), [(2, 2, 3), (0, 5, 0)], ids=["hashed", "window"])
def test_hax_attends_to_the_latest_of_its_bucket_and_the_highest_scores_alone(
    bits: int, bucketed: int, selected: int
) -> None:
    torch.manual_seed(0)
    sizes = {"bits": bits, "bucket": bucketed, "selected": selected}
    layer = build("hax", dim=6, heads=2, size=4, chunk=8, **sizes).double()
    assert isinstance(layer, Hashed)
    q, k = torch.randn(2, 1, 2, 30, 4, dtype=torch.float64)
    v, steps = torch.randn(1, 2, 30, 3, dtype=torch.float64), torch.rand(1, 2, 30, dtype=torch.float64)
    fresh = layer.initial(1)
    got, _ = layer.remember(q, k, v, steps, fresh, None)
    plain, _ = layer.scanned(q, k, v, steps, fresh["memory"])
    x = v.transpose(1, 2).flatten(2)[0]
    asked, key = layer.branch(x).chunk(2, -1)
    counts = torch.arange(1, 31)[:, None]
    mean_asked, mean_key = asked.cumsum(0) / counts, key.cumsum(0) / counts
    planes = layer.planes.double()
    place, bucket = (
        codes(F.normalize(a - b, dim=-1), planes) for a, b in ((asked, mean_asked), (key, mean_key))
    )
    score = layer.score(torch.cat([key, mean_asked], -1)).squeeze(-1)
    by_hash = 0
    for t in range(30):
        same = [j for j in range(t + 1) if bucket[j] == place[t]][-bucketed:]
        best = sorted(range(t + 1), key=lambda j: -float(score[j].detach()))[:selected]
        by_hash += bool(set(same) - set(best))
        seen = sorted({*same, *best})
        weights = F.softmax(key[seen] @ asked[t] / 2 + F.logsigmoid(score[seen]), 0)
        want = plain[0, :, t] + layer.scale[:, 0] * (weights @ x[seen]).reshape(2, 3)
        assert torch.allclose(got[0, :, t], want)
    assert by_hash > 10


def test_hax_hashes_what_is_alike_into_one_bucket() -> None:
    layer = build("hax", dim=6, heads=2, size=16, bits=4)
    assert isinstance(layer, Hashed)
    x = torch.randn(1, 200, 16, generator=torch.Generator().manual_seed(0))
    near = layer.hashed(x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    far = layer.hashed(x.roll(1, 1))
    assert (layer.hashed(x) == near).float().mean() > 0.8
    assert (layer.hashed(x) == far).float().mean() < 0.2


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="need at least 1, 0 tokens"):
        build("bmojo", dim=8, heads=2, window=0)
    with pytest.raises(ValueError, match="at least one token"):
        build("hax", dim=8, heads=2, bucket=0, selected=0)
