"""Selective state spaces: their recurrence, and what is done to it beyond the trained length."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.recurrent import build
from mnemic.recurrent.engine.parts import Segments
from mnemic.recurrent.longmamba import Enlarged
from mnemic.recurrent.mamba import Selective

LENGTH = 40


def parts(seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Queries, keys, values and steps of 2 texts, 2 heads."""
    random = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(2, 1, LENGTH, 5, generator=random).double().expand(2, 2, LENGTH, 5) for _ in range(2))
    v = torch.randn(2, 2, LENGTH, 3, generator=random).double()
    return q, k, v, torch.rand(2, 2, LENGTH, generator=random).double() * 0.2


def make(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return build(name, dim=6, heads=2, **({"size": 5} | options)).double()


def plainly(layer: Selective, q: Any, k: Any, v: Any, steps: Any, after: Any = None) -> torch.Tensor:
    """The recurrence; `after(h, t)` may change the state at the end of token t."""
    h, out = torch.zeros(2, 2, 5, 3, dtype=torch.float64), []
    speed = layer.log_speed.exp()
    for t in range(LENGTH):
        decay = torch.exp(-steps[:, :, t, None] * speed)  # [batch, heads, 1 or size]
        h = decay.unsqueeze(-1) * h + steps[:, :, t, None, None] * k[:, :, t, :, None] * v[:, :, t, None, :]
        out.append(torch.einsum("bhkv,bhk->bhv", h, q[:, :, t]))
        if after is not None:
            h = after(h, t)
    return torch.stack(out, 2)


@pytest.mark.parametrize("decay", ["scalar", "diagonal"])
def test_mamba_is_its_recurrence(decay: str) -> None:
    layer, tokens = make("mamba", decay=decay, chunk=16), parts()
    got, _ = layer.remember(*tokens, layer.initial(2), None)
    assert torch.allclose(got, plainly(layer, *tokens))


def test_a_diagonal_decay_reads_any_split_alike_and_is_another_layer() -> None:
    x = torch.randn(2, 30, 6, dtype=torch.float64)
    layer = make("mamba", decay="diagonal")
    whole, _ = layer(x)
    first, state = layer(x[:, :13])
    assert torch.allclose(torch.cat([first, layer(x[:, 13:], state)[0]], 1), whole)
    assert not torch.allclose(whole, make("mamba")(x)[0], atol=1e-3)


def test_longmamba_is_mamba_within_the_trained_length() -> None:
    layer, tokens = make("longmamba", trained=LENGTH), parts()
    got, _ = layer.remember(*tokens, layer.initial(2), None)
    assert torch.allclose(got, plainly(layer, *tokens))


def test_longmamba_skips_weak_tokens_of_far_sighted_heads_alone() -> None:
    layer, (q, k, v, steps) = make("longmamba", trained=16), parts()
    assert isinstance(layer, Enlarged)
    with torch.no_grad():
        layer.log_speed.copy_(torch.tensor([[-3.0], [3.0]]))  # head 0 forgets little in 16 tokens, head 1 all
    layer.profile = steps[0, :, :16].sort(-1, descending=True).values
    got, _ = layer.remember(q, k, v, steps, layer.initial(2), None)
    kept = steps.clone()
    for t in range(16, LENGTH):
        ranked, budget = layer.profile[0], layer.profile[0].sum() * 16 / (t + 1)
        theta = ranked[next(r for r in range(16) if ranked[: r + 1].sum() >= budget)]
        kept[:, 0, t] = torch.where(steps[:, 0, t] <= theta, 0.0, steps[:, 0, t])
    assert 0 < (kept == 0).sum() < 2 * (LENGTH - 16)
    assert torch.allclose(got, plainly(layer, q, k, v, kept))


def test_longmamba_spends_on_a_longer_text_what_training_spent() -> None:
    layer = make("longmamba", trained=500)
    steps = torch.rand(500, generator=torch.Generator().manual_seed(0)).double()
    layer.profile = steps.sort(descending=True).values.expand(2, -1)
    torch.nn.init.constant_(layer.log_speed, -9.0)
    for times in (2, 4, 8):
        longer = torch.rand(500 * times, generator=torch.Generator().manual_seed(1)).double()
        theta = layer.thresholds(torch.tensor([[500 * times]]))[0, 0]
        assert abs(longer[longer > theta].sum() / steps.sum() - 1) < 0.15


def test_longmamba_knows_the_steps_of_the_texts_it_was_calibrated_on() -> None:
    layer = make("longmamba", trained=16)
    x = torch.randn(3, 20, 6, dtype=torch.float64)
    layer.calibrate(x)
    assert layer.profile.shape == (2, 20)
    steps = torch.nn.functional.softplus(layer.steps(x) + layer.step_bias)
    assert torch.allclose(layer.profile.sum(1), steps.sum(1).mean(0))
    for trained in (16, 20, 30):
        again = make("longmamba", trained=trained)
        again.load_state_dict(layer.state_dict())
        assert torch.equal(again.profile, layer.profile)
    longer = torch.randn(1, 90, 6, dtype=torch.float64)
    assert torch.equal(again(longer)[0], layer(longer)[0])
    with pytest.raises(RuntimeError, match="size mismatch for profile"):
        build("longmamba", dim=6, heads=3).load_state_dict(layer.state_dict())


def test_forgetting_more_scales_decay_and_writes() -> None:
    layer, (q, k, v, steps) = make("stuffed-mamba", mend="forget", decay_times=2.0, write_times=0.5), parts()
    got, _ = layer.remember(q, k, v, steps, layer.initial(2), None)
    assert torch.allclose(got, plainly(layer, q, k, v / 4, 2 * steps))


def test_a_state_is_shortened_to_its_largest_norm_at_the_end_of_every_chunk() -> None:
    layer, tokens = make("stuffed-mamba", mend="norm", largest=0.7, chunk=8), parts()
    shortened = []

    def after(h: torch.Tensor, t: int) -> torch.Tensor:
        if t % 8 != 7:
            return h
        scale = (0.7 / h.flatten(-2).norm(dim=-1)).clamp_max(1)
        shortened.append(float(scale.detach().min()))
        return h * scale[..., None, None]

    got, _ = layer.remember(*tokens, layer.initial(2), None)
    assert torch.allclose(got, plainly(layer, *tokens, after))
    assert min(shortened) < 0.9


def test_a_window_by_difference_of_states_is_the_state_of_the_last_tokens_alone() -> None:
    layer, (q, k, v, steps) = make("stuffed-mamba", mend="window", window=7, chunk=8), parts()
    got, _ = layer.remember(q, k, v, steps, layer.initial(2), None)
    for t in (0, 6, 7, 20, LENGTH - 1):
        alone = steps.clone()
        alone[:, :, : max(t - 6, 0)] = 0
        assert torch.allclose(got[:, :, t], plainly(layer, q, k, v, alone)[:, :, t])


def test_norms_are_calibrated_on_texts_of_the_trained_length() -> None:
    layer, x = make("stuffed-mamba", mend="norm"), torch.randn(4, 32, 6, dtype=torch.float64)
    layer.calibrate(x)
    plain = make("mamba")
    own = {name: value for name, value in layer.state_dict().items() if name != "largest"}
    plain.load_state_dict(own)
    norms = plain(x)[1].tensors["memory"].flatten(-2).norm(dim=-1).mean(0)
    assert torch.allclose(layer.largest, norms)


@pytest.mark.parametrize("mend", ["forget", "norm", "window"])
@settings(max_examples=10)
@given(data=st.data())
def test_every_mend_reads_padded_rows_as_it_reads_them_alone(mend: str, data: st.DataObject) -> None:
    layer = make("stuffed-mamba", mend=mend, window=5, chunk=4, largest=0.2)
    x = torch.randn(3, 24, 6, dtype=torch.float64)
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=6, max_size=6))
    state, got = None, []
    for half in range(2):
        mask = torch.arange(12) < torch.tensor(lengths[3 * half : 3 * half + 3])[:, None]
        y, state = layer(x[:, 12 * half : 12 * half + 12], state, mask)
        got.append((y, mask))
    for row in range(3):
        own = torch.cat([mask[row] for _, mask in got])
        alone, _ = layer(x[row : row + 1, own])
        assert torch.allclose(torch.cat([y[row] for y, _ in got])[own], alone[0])


@settings(max_examples=30)
@given(
    phase=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    lengths=st.lists(st.integers(0, 11), min_size=2, max_size=2),
)
def test_segments_cut_every_row_at_its_own_borders_and_join_again(phase: list[int], lengths: list[int]) -> None:
    x = torch.arange(1, 23).reshape(2, 1, 11, 1)
    segments = Segments(torch.tensor(phase), torch.tensor(lengths), 11, 4)
    pieces = list(segments.cut(x))
    if pieces:
        real = torch.arange(11) < torch.tensor(lengths)[:, None]
        assert torch.equal(segments.join([piece for piece, _ in pieces])[:, 0, :, 0], x[:, 0, :, 0] * real)
    for row in range(2):
        read, at = 0, phase[row]
        for piece, full in pieces:
            count = int((piece[row] != 0).sum())
            read, at = read + count, at + count
            assert at <= 4
            assert bool(full[row]) == (count > 0 and at == 4)
            at %= 4
        assert read == lengths[row]
        assert at == int(segments.phase[row])


@given(phase=st.integers(0, 3), length=st.integers(1, 11))
def test_rows_cut_at_the_same_tokens_are_cut_as_any_others(phase: int, length: int) -> None:
    x, begun = torch.randn(3, 2, length, 4), torch.full((3,), phase)
    alike, any_rows = Segments(begun, None, length, 4), Segments(begun, torch.full((3,), length), length, 4)
    assert alike.alike
    assert not any_rows.alike
    for (piece, full), (wanted, wanted_full) in zip(alike.cut(x), any_rows.cut(x), strict=True):
        assert torch.equal(piece, wanted)
        assert torch.equal(full, wanted_full)
    assert torch.equal(alike.join([piece for piece, _ in alike.cut(x)]), x)
