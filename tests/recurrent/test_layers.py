"""What every causal layer promises, whatever its memory."""

from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic import recipes
from mnemic.recurrent import Layer, State, build, names
from mnemic.types import MnemicError

LAYERS = names()
DIM = 16
SMALLER = {  # so that short texts reach past a chunk, a window, a trained length
    "lact": {"chunk": 8, "window": 8},
    "gam": {"slots": 32},
    "bmojo": {"window": 6, "storage": 5, "chunk": 16},
    "hax": {"size": 8, "bits": 1, "bucket": 3, "selected": 4, "chunk": 16},
    "titans-gate": {"window": 8},
    "titans-context": {"segment": 8},
    "titans-layer": {"window": 8},
    "deep-transformer": {"window": 10, "chunk": 8},
    "longmamba": {"trained": 12},
    "stuffed-mamba": {"window": 12},
}


def make(name: str, dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any) -> Layer:
    """A layer whose every parameter matters: norms and biases are shaken out of their neutral start."""
    torch.manual_seed(seed)
    layer = build(name, dim=DIM, **({"heads": 2} | SMALLER.get(name, {}) | options))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer.to(dtype)


def text(batch: int, length: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, length, DIM, generator=torch.Generator().manual_seed(seed)).to(dtype)


def same(a: State, b: State, tolerance: float) -> bool:
    """Whether every tensor agrees, relative to its own largest number."""
    return all(
        (a.tensors[n] - t).abs().max() <= tolerance * t.abs().max().clamp_min(1) for n, t in b.tensors.items()
    )


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(0, 90), max_size=4), heads=st.sampled_from([1, 2]))
def test_any_split_of_the_text_gives_the_same_outputs(name: str, cuts: list[int], heads: int) -> None:
    layer, x = make(name, heads=heads), text(2, 90)
    whole, end = layer(x)
    state, pieces = None, []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 90], strict=True):
        y, state = layer(x[:, start:stop], state)
        pieces.append(y)
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-4)
    assert state is not None
    assert same(state, end, 1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_token_by_token_steps_give_the_same_as_reading_at_once(name: str) -> None:
    layer, x = make(name, torch.float64), text(2, 70, torch.float64)
    whole, end = layer(x)
    state, pieces = None, []
    for t in range(x.shape[1]):
        y, state = layer.step(x[:, t], state)
        pieces.append(y)
    assert torch.allclose(torch.stack(pieces, 1), whole, atol=1e-9)
    assert state is not None
    assert same(state, end, 1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_token_loop(name: str) -> None:
    layer, x = make(name, torch.float64), text(2, 21, torch.float64).requires_grad_()
    weights = torch.randn(2, 21, DIM, dtype=torch.float64)
    wanted = [x, *layer.parameters()]
    at_once = torch.autograd.grad((layer(x)[0] * weights).sum(), wanted)
    state, pieces = None, []
    for t in range(x.shape[1]):
        y, state = layer.step(x[:, t], state)
        pieces.append(y)
    by_token = torch.autograd.grad((torch.stack(pieces, 1) * weights).sum(), wanted)
    labels = ["x", *(n for n, _ in layer.named_parameters())]
    for label, got, expected in zip(labels, at_once, by_token, strict=True):
        assert torch.allclose(got, expected, atol=1e-8), label
        assert got.abs().sum() > 0, f"{label} is not trained"


@pytest.mark.parametrize("name", LAYERS)
def test_no_output_depends_on_a_later_token(name: str) -> None:
    layer, x = make(name), text(1, 30)
    changed = x.clone()
    changed[:, 20:] += 1
    assert torch.allclose(layer(x)[0][:, :20], layer(changed)[0][:, :20], atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_padding_anywhere_changes_nothing(name: str, data: st.DataObject) -> None:
    layer = make(name)
    rows = st.lists(st.booleans(), min_size=24, max_size=24)
    masks = [torch.tensor(data.draw(st.tuples(rows, rows, rows))) for _ in range(2)]
    x = text(3, 48)
    padded = x.masked_fill(~torch.cat(masks, 1).unsqueeze(-1), 1e4)
    state, outputs = None, []
    for mask, piece in zip(masks, padded.split(24, 1), strict=True):
        y, state = layer(piece, state, mask)
        outputs.append(y)
    got, mask = torch.cat(outputs, 1), torch.cat(masks, 1)
    assert (got[~mask] == 0).all()
    assert state is not None
    for row in range(3):
        alone, alone_state = layer(x[row : row + 1, mask[row]])
        assert torch.allclose(got[row, mask[row]], alone[0], atol=1e-4)
        if not layer.growing:
            assert same(state.rows(torch.tensor([row])), alone_state, 1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_state_reads_on_as_if_never_put_down(name: str, tmp_path: Path) -> None:
    layer, x = make(name), text(2, 40)
    whole, _ = layer(x)
    _, state = layer(x[:, :25])
    state.save(tmp_path / "state.safetensors")
    y, _ = layer(x[:, 25:], State.load(tmp_path / "state.safetensors"))
    assert torch.allclose(y, whole[:, 25:], atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_the_state_costs_what_it_says_and_no_more_for_a_longer_text(name: str) -> None:
    layer = make(name)
    sizes = set()
    for length in (0, 1, 7, 100):
        _, state = layer(text(3, length))
        assert state.nbytes == sum(t.numel() * t.element_size() for t in state.tensors.values())
        sizes.add(state.nbytes)
    if layer.growing:
        assert len(sizes) == 4
    else:
        assert sizes == {3 * layer.state_bytes()}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("batch", "length"), [(2, 0), (0, 5), (2, 1)])
def test_short_and_empty_input_is_read(name: str, batch: int, length: int) -> None:
    layer = make(name)
    _, before = layer(text(batch, 9))
    y, state = layer(text(batch, length), before)
    assert y.shape == (batch, length, DIM)
    if length == 0:
        assert same(state, before, 0)


@pytest.mark.parametrize("name", LAYERS)
def test_strides_do_not_matter(name: str) -> None:
    layer, x = make(name), text(2, 33)
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    assert torch.allclose(layer(strided)[0], layer(x)[0], atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near_float32(name: str, dtype: torch.dtype) -> None:
    layer, x = make(name), text(2, 150)
    expected, _ = layer(x)
    y, state = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert all(torch.isfinite(t).all() for t in state.tensors.values())
    assert (y.float() - expected).norm() < 0.1 * expected.norm()
    loud, _ = layer(1000 * x.to(dtype))
    assert torch.isfinite(loud).all()


@pytest.mark.parametrize("name", LAYERS)
def test_numbers_beyond_float16_are_refused_but_not_padding_or_those_of_bfloat16(name: str) -> None:
    layer, x = make(name, torch.float16), text(2, 40)
    loud = 6e4 * x.sign()
    with pytest.raises(ValueError, match=f"{name} came to numbers beyond 65504.*use bfloat16"):
        layer(loud.half())
    y, state = make(name, torch.bfloat16)(loud.bfloat16())
    assert all(torch.isfinite(t).all() for t in (y, *state.tensors.values()))
    mask = torch.rand(2, 40, generator=torch.Generator().manual_seed(0)) < 0.5
    y, state = layer(x.masked_fill(~mask.unsqueeze(-1), torch.nan).half(), mask=mask)
    assert all(torch.isfinite(t).all() for t in (y, *state.tensors.values()))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_reads_either_precision_near_float32_and_trains(name: str, dtype: torch.dtype) -> None:
    layer, x = make(name), text(2, 40)
    expected, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x[:, :-1].to(dtype))
        end, _ = layer.step(x[:, -1].to(dtype), state)
    got = torch.cat([y.float(), end.float().unsqueeze(1)], 1)
    assert (got - expected).norm() < 0.15 * expected.norm()  # a token of two alike may be kept
    torch.autograd.backward(got.square().sum())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


def test_no_two_layers_are_the_same_layer() -> None:
    """Names with identical outputs on the same weights would be one layer."""
    x = text(1, 100)
    outputs = [make(name)(x)[0] for name in LAYERS]
    for i, a in enumerate(outputs):
        assert not any(torch.allclose(a, b, atol=1e-3) for b in outputs[:i]), LAYERS[i]


def test_without_gradients_a_long_text_is_read_in_pieces_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x, mask = make("gated-delta-rule"), text(2, 50), torch.rand(2, 50) < 0.7
    whole, end = layer(x, mask=mask)
    monkeypatch.setattr("mnemic.recurrent.engine.layer.PIECE", 16)
    longest = []
    layer.project.register_forward_hook(lambda module, given, result: longest.append(given[0].shape[1]))
    with torch.no_grad():
        y, state = layer(x, mask=mask)
    assert torch.allclose(y, whole, atol=1e-5)
    assert same(state, end, 1e-5)
    assert longest == [16, 16, 16, 2]


def test_a_state_of_another_layer_is_refused_with_both_names() -> None:
    _, state = make("delta-rule")(text(1, 3))
    with pytest.raises(ValueError, match="made by 'delta-rule'; 'gated-delta-rule' cannot"):
        make("gated-delta-rule")(text(1, 3), state)


def test_a_state_of_another_size_batch_or_option_is_refused() -> None:
    layer = make("delta-rule")
    with pytest.raises(ValueError, match="use a layer of the size"):
        layer(text(1, 3), make("delta-rule", key_dim=4)(text(1, 3))[1])
    with pytest.raises(ValueError, match="batch of 2, but 1 rows"):
        layer(text(1, 3), layer(text(2, 3))[1])
    with pytest.raises(ValueError, match="use the layer that made it"):
        layer(text(1, 3), make("delta-rule", conv=0)(text(1, 3))[1])


@pytest.mark.parametrize(
    ("name", "made", "read"),
    [
        ("titans", {"chunk": 8}, "titans chunk=8 max_rate=0.4"),
        ("titans-gate", {"max_rate": 0.2}, "titans-gate chunk=16 max_rate=0.2"),
        ("hax", {"bits": 0, "bucket": 6}, "hax bits=0 bucket=6 selected=4"),
        ("mom", {"chosen": 1}, "mom chosen=1"),
        ("longmamba", {"far": 0.5}, "longmamba trained=12 far=0.5"),
        ("mamba", {"decay": "diagonal"}, "mamba diagonal=1"),
        ("stuffed-mamba", {"mend": "norm", "chunk": 8}, "stuffed-mamba chunk=8"),
        ("stuffed-mamba", {"mend": "forget"}, "stuffed-mamba decay_times=1.1 write_times=0.9"),
    ],
)
def test_a_state_of_another_definition_is_refused_with_what_it_was_made_by(
    name: str, made: dict[str, Any], read: str, tmp_path: Path
) -> None:
    _, state = make(name, **made)(text(1, 5))
    state.save(tmp_path / "state.safetensors")
    for each in (state, State.load(tmp_path / "state.safetensors")):
        with pytest.raises(ValueError, match=f"made by '{read}'; '{name}.*' cannot read on from it"):
            make(name)(text(1, 3), each)


@pytest.mark.parametrize("name", LAYERS)
def test_no_state_is_accepted_that_other_options_would_read_on_from_differently(name: str) -> None:
    layer, x = make(name), text(1, 40)
    whole, _ = layer(x)
    _, state = layer(x[:, :25])
    for option, parameter in signature(recipes.load("recurrent", name).layer).parameters.items():
        value = ({"heads": 2} | SMALLER.get(name, {})).get(option, parameter.default)
        if isinstance(value, int | float):
            other = make(name, **{option: 2 * value})
            if [t.shape for t in other.state_dict().values()] == [t.shape for t in layer.state_dict().values()]:
                other.load_state_dict(layer.state_dict())
                with suppress(ValueError):
                    assert torch.allclose(other(x[:, 25:], state)[0], whole[:, 25:], atol=1e-4), option


def test_a_file_without_a_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no tensors here")
    with pytest.raises(MnemicError, match="cannot be read as a state"):
        State.load(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("titans", {"depth": 0}, "depth 0 and expansion 4 must be at least 1"),
        ("titans", {"expansion": 0}, "depth 2 and expansion 0 must be at least 1"),
        ("lact", {"expansion": 0}, "expansion 0 must be at least 1"),
        ("titans", {"max_rate": -1}, "above 0, not -1"),
        ("hax", {"bits": -1}, "0 bits or more, not -1"),
        ("vig", {"key_dim": 0}, "key_dim is at least 1, not 0"),
        ("vig", {"chunk": 3}, "power of two tokens, not 3"),
        ("vim", {"chunk": 0}, "chunk 0: all are at least 1"),
    ],
)
def test_an_option_that_makes_no_layer_is_refused(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, dim=16, **options)


def test_wrong_input_says_what_is_read() -> None:
    layer = make("delta-rule")
    with pytest.raises(ValueError, match=r"reads \[batch, length, 16\], not \[2, 5, 8\]"):
        layer(torch.zeros(2, 5, 8))
    with pytest.raises(TypeError, match="mask is boolean"):
        layer(text(2, 5), mask=torch.ones(2, 5))
    with pytest.raises(ValueError, match="one flag a token"):
        layer(text(2, 5), mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="3 heads do not divide"):
        build("delta-rule", dim=16, heads=3)
    with pytest.raises(MnemicError, match="there is no method 'deltarule'"):
        build("deltarule", dim=16)
