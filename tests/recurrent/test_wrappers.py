"""Memories around Hugging Face models: each against its equations, all against the model they go around."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from mnemic.recurrent import State, cmr, hmt, names, synaptic_resonance, wrap
from mnemic.recurrent.engine.segments import Segmented
from mnemic.types import MnemicError
from mnemic.worlds.recall_tasks import passkey

SEGMENT = 8
SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}


def base(kind: str = "llama", seed: int = 0, vocab: int = 24, **sizes: int) -> Any:
    torch.manual_seed(seed)
    given = (
        SIZES | {"vocab_size": vocab, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None} | sizes
    )
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(num_key_value_heads=1, **given)).eval()
    if kind == "opt":  # its layers are twice as wide as its embeddings
        wide = {"word_embed_proj_dim": 8, "ffn_dim": 24, "do_layer_norm_before": False}
        return OPTForCausalLM(OPTConfig(**given, **wide)).eval()
    return GPTNeoXForCausalLM(GPTNeoXConfig(**given)).eval()


def wrapped(name: str, kind: str = "llama") -> Segmented:
    options = {
        "hmt": {"sensory": 3, "memories": 3},
        "cmr": {"slots": 3, "segments": 2},
        "synaptic-resonance": {"heads": 2},
    }
    return wrap(name, base(kind), segment=SEGMENT, **options[name]).eval()


def shaken(name: str, kind: str = "llama") -> Segmented:
    """A wrapper whose every gate is open."""
    made = wrapped(name, kind)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def ids(length: int, batch: int = 2, vocab: int = 24) -> torch.Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(5))


NAMES = names("wrapper")


@pytest.mark.parametrize("kind", ["llama", "neox", "opt"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_with_its_gates_at_zero_it_is_the_model_reading_segment_after_segment(name: str, kind: str) -> None:
    made = wrapped(name, kind)
    if name == "hmt":
        made = hmt.wrapper(made.base, segment=SEGMENT, sensory=0, memories=0)
    text = ids(21)
    logits, _ = made(text)
    alone = torch.cat([made.base(piece).logits for piece in text.split(SEGMENT, 1)], 1)
    assert torch.allclose(logits, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "neox", "opt"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_any_split_of_the_text_gives_the_same_logits_and_state(name: str, kind: str) -> None:
    made, text = shaken(name, kind), ids(29)
    whole, end = made(text)
    for cuts in ([8, 8, 8, 5], [1, 2, 10, 16], [3, 0, 26], [1] * 29):
        state, outputs = None, []
        for piece in text.split(cuts, 1):
            logits, state = made(piece, state)
            outputs.append(logits)
        assert torch.allclose(torch.cat(outputs, 1), whole, atol=1e-4)
        assert state is not None
        assert state.nbytes == end.nbytes
        assert all(torch.allclose(state.tensors[n], t, atol=1e-4) for n, t in end.tensors.items())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_what_was_read_segments_ago_is_felt_and_what_comes_later_is_not(name: str) -> None:
    made, text = shaken(name), ids(32)
    changed = text.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 24
    before, after = made(text)[0], made(changed)[0]
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 24:], after[:, 24:], atol=1e-6)
    changed = text.clone()
    changed[:, 21] = (changed[:, 21] + 1) % 24
    assert torch.allclose(before[:, :21], made(changed)[0][:, :21], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_state_is_saved_and_read_on_from_and_generating_is_reading_on(name: str, tmp_path: Path) -> None:
    made, text = shaken(name), ids(13)
    said, _ = made.generate(text, 9)
    _, state = made(text[:, :10])
    state.save(tmp_path / "state.safetensors")
    again, end = made.generate(text[:, 10:], 9, State.load(tmp_path / "state.safetensors"))
    assert torch.equal(again, said)
    assert end.nbytes == state.nbytes
    whole = torch.cat([text, said], 1)
    assert torch.equal(made(whole)[0][:, 12:-1].argmax(-1), said)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_model_is_itself_again_when_it_is_not_read_through_the_memory(name: str) -> None:
    made, text = shaken(name), ids(8)
    before = made.base(text).logits
    made(ids(24))
    assert torch.equal(made.base(text).logits, before)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_of_the_memory_is_trained(name: str) -> None:
    made, text = shaken(name), ids(32)
    logits, _ = made(text)
    torch.autograd.backward(F.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten()))
    for label, parameter in made.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_text_changes_nothing_and_a_foreign_state_is_refused(name: str) -> None:
    made = wrapped(name)
    assert made(ids(0))[0].shape == (2, 0, 24)
    _, state = made(ids(11))
    logits, after = made(ids(0), state)
    assert logits.shape == (2, 0, 24)
    assert all(torch.equal(after.tensors[n], t) for n, t in state.tensors.items())
    with pytest.raises(ValueError, match="made by 'titans'"):
        made(ids(3), State("titans", state.tensors))
    with pytest.raises(ValueError, match="batch of 2, but 1 rows"):
        made(ids(3, batch=1), state)


@pytest.mark.parametrize("change", [{"segment": 16}, {"segment": 4}, {"width": 8}, {"memory": 1}])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_state_of_another_size_is_refused(name: str, change: dict[str, int]) -> None:
    sizes = {"segment": SEGMENT, "width": 16, "memory": 2} | change
    memory = {
        "hmt": {"sensory": 3, "memories": sizes["memory"]},
        "cmr": {"slots": sizes["memory"], "segments": 2},
        "synaptic-resonance": {"heads": sizes["memory"]},
    }[name]
    _, state = wrap(name, base(hidden_size=sizes["width"]), segment=sizes["segment"], **memory)(ids(11))
    made = wrapped(name) if name == "synaptic-resonance" else shaken(name)
    with pytest.raises(ValueError, match=rf"of this state is \[2, .*, but '{name}' of this size keeps \[2, "):
        made(ids(3), state)


@pytest.mark.parametrize("name", ["hmt", "synaptic-resonance"])
def test_gradients_reach_as_many_segments_back_however_the_text_is_split(name: str) -> None:
    made, text = shaken(name, "neox").double(), ids(6 * SEGMENT, batch=1)  # a Llama norms in float32
    made.depth = 2

    def gradients(cuts: list[int]) -> list[torch.Tensor]:
        state, outputs = None, []
        for piece in text.split(cuts, 1):
            logits, state = made(piece, state)
            outputs.append(logits)
        loss = F.cross_entropy(torch.cat(outputs, 1)[:, :-1].flatten(0, 1), text[:, 1:].flatten())
        return list(torch.autograd.grad(loss, list(made.parameters())))

    whole = gradients([6 * SEGMENT])
    made.depth = 6
    assert not all(torch.allclose(a, b) for a, b in zip(gradients([6 * SEGMENT]), whole, strict=True))
    made.depth = 2
    for cuts in ([SEGMENT] * 6, [3 * SEGMENT] * 2, [5, 14, 20, 9]):
        for a, b in zip(gradients(cuts), whole, strict=True):
            assert float((a - b).abs().max()) < 1e-10


@pytest.mark.parametrize("name", ["hmt", "synaptic-resonance"])
def test_the_last_segments_alone_feel_gradients_however_the_text_is_split(name: str) -> None:
    made, text = shaken(name), ids(6 * SEGMENT, batch=1)
    made.depth, embedded = 2, []
    embed = made.base.get_input_embeddings()
    embed.register_forward_hook(lambda module, given, result: embedded.append(result) or result.retain_grad())
    state = None
    for piece in text.split(SEGMENT, 1):
        logits, state = made(piece, state)
    torch.autograd.backward(logits[0, -1].logsumexp(0))
    felt = [t.grad is not None for t in embedded if t.shape[1] == SEGMENT]
    assert felt == [False] * 4 + [True] * 2


LENGTHS = (11, 0, 24, 19, 3, 11)


def padded(
    text: torch.Tensor, lengths: tuple[int, ...], place: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of text cut at their lengths, real tokens where `place` has the smallest numbers, and their mask."""
    mask = place < torch.tensor(lengths)[:, None]
    given = torch.zeros_like(text)
    given[mask] = text[torch.arange(text.shape[1]) < torch.tensor(lengths)[:, None]]
    return given, mask


@pytest.mark.parametrize("side", ["right", "left", "anywhere"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_padded_row_is_read_as_if_alone_and_so_is_what_follows(name: str, side: str) -> None:
    made, text = shaken(name).double(), ids(24, batch=6)
    place = {"right": torch.arange(24), "left": torch.arange(23, -1, -1), "anywhere": torch.randperm(24)}[side]
    given, mask = padded(text, LENGTHS, place)
    logits, state = made(given, None, mask)
    more = ids(13, batch=6)
    after, end = made(more, state)
    assert (logits[~mask] == 0).all()
    for row, length in enumerate(LENGTHS):
        assert torch.allclose(logits[row, mask[row]], made(text[row : row + 1, :length])[0][0], atol=1e-10)
        both = torch.cat([text[row : row + 1, :length], more[row : row + 1]], 1)
        expected, expected_end = made(both)
        assert torch.allclose(after[row], expected[0, length:], atol=1e-10)
        for label, t in expected_end.tensors.items():
            assert torch.allclose(end.tensors[label][row], t[0], atol=1e-10), label


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_states_of_texts_of_different_lengths_are_joined_and_read_on_as_if_alone(name: str) -> None:
    made, text, more = shaken(name).double(), ids(8, batch=1), ids(9)
    states = [made(text[:, :length])[1] for length in (5, 8)]
    joined = State(made.name, {n: torch.cat([s.tensors[n] for s in states]) for n in states[0].tensors})
    got, _ = made(more, joined)
    for row, state in enumerate(states):
        assert torch.allclose(got[row], made(more[row : row + 1], state)[0][0], atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_different_lengths_are_trained_on_as_if_alone(name: str) -> None:
    made, text = shaken(name).double(), ids(20)
    mask = torch.arange(20) < torch.tensor([[20], [13]])

    def gradients(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(logits.square().sum(), list(made.parameters()))

    together = gradients(made(text, None, mask)[0])
    rows = zip(gradients(made(text[:1])[0]), gradients(made(text[1:, :13])[0]), strict=True)
    for got, (first, second) in zip(together, rows, strict=True):
        assert torch.allclose(got, first + second)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_padded_prompts_are_gone_on_with_as_if_alone_and_empty_ones_refused(name: str) -> None:
    made, text, lengths = shaken(name).double(), ids(11, batch=3), (11, 4, 8)
    expected = [made.generate(text[row : row + 1, :length], 6)[0] for row, length in enumerate(lengths)]
    for place in (torch.arange(11), torch.arange(10, -1, -1)):
        given, mask = padded(text, lengths, place)
        assert torch.equal(made.generate(given, 6, mask=mask)[0], torch.cat(expected))
    _, state = made(text)
    with pytest.raises(ValueError, match="a row without tokens has none to go on from"):
        made.generate(text[:, :0], 3, state)
    with pytest.raises(ValueError, match="a row without tokens has none to go on from"):
        made.generate(text, 3, state, torch.arange(11) < torch.tensor([[0], [3], [11]]))


@pytest.mark.parametrize("name", NAMES)
def test_masks_that_do_not_fit_are_refused(name: str) -> None:
    made, text = wrapped(name), ids(5)
    for read in (lambda mask: made(text, None, mask), lambda mask: made.generate(text, 2, None, mask)):
        with pytest.raises(TypeError, match=r"a mask is boolean .*, not torch.int64"):
            read(torch.ones_like(text))
        with pytest.raises(ValueError, match=r"the mask is \[2, 4\] but the tokens are \[2, 5\]"):
            read(torch.ones(2, 4, dtype=torch.bool))


@torch.no_grad()
def test_hmt_reads_memory_sensory_half_recalled_half_and_keeps_what_is_said_last() -> None:
    made, text = shaken("hmt"), ids(3 * SEGMENT, batch=1)
    assert isinstance(made, hmt.Hierarchical)
    table, scale = made.base.get_input_embeddings().weight, made.length

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return x * scale / (x.square().mean() + 1e-6).sqrt()

    def said(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        out = made.base(inputs_embeds=torch.stack(rows)[None], output_hidden_states=True)
        return out.logits[0], out.hidden_states[-1][0]

    queue, expected, sensory = [made.first], [], []
    for piece in text[0].split(SEGMENT):
        tokens = [table[i] for i in piece]
        topic = said([made.topic, *tokens[:4], made.topic])[1][-1]
        scores = torch.stack([made.query(topic) @ made.key(m) / 4 for m in queue])
        p = scaled(sum(w * m for w, m in zip(F.softmax(scores, 0), queue, strict=True)))  # type: ignore[arg-type]
        read = [scaled(queue[-1]), *sensory, *tokens[:4], p, *tokens[4:], p]
        logits, hidden = said(read)
        start = 1 + len(sensory)
        expected += [*logits[start : start + 4], *logits[start + 5 : start + 9]]
        queue = [*queue, hidden[-1]][-3:]
        sensory = tokens[-3:]
    assert torch.allclose(made(text)[0][0], torch.stack(expected), atol=1e-4)


@torch.no_grad()
def test_cmr_keeps_the_most_surprising_tokens_of_the_chosen_layers_oldest_out_first() -> None:
    made, text = wrapped("cmr"), ids(3 * SEGMENT, batch=1)
    _, state = made(text)
    kept = []
    for piece in text.split(SEGMENT, 1):
        out = made.base(piece, output_hidden_states=True)
        log = out.logits[0].log_softmax(-1)
        surprise = [0.0] + [-float(log[t - 1, piece[0, t]]) for t in range(1, SEGMENT)]
        chosen = sorted(sorted(range(SEGMENT), key=lambda t: -surprise[t])[:3])
        kept += [out.hidden_states[2][0, t] for t in chosen]  # after layer 1, a quarter of 4
    assert set(state.tensors) == {"layer-1", "layer-2", "layer-3", "held", "open", "count"}
    assert torch.allclose(state.tensors["layer-1"][0], torch.stack(kept[-6:]), atol=1e-5)


@torch.no_grad()
def test_cmr_weaves_in_what_a_plain_loop_recalls() -> None:
    torch.manual_seed(0)
    module = cmr.Reweave(6).double()
    module.down.weight.normal_()
    hidden, kept = torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 5, 6, dtype=torch.float64)
    real = torch.tensor([[False, True, True, False, True]])
    got = module(hidden, kept, real)
    for t in range(4):
        h = F.rms_norm(hidden[0, t], (6,), eps=1e-6)
        rows = [F.rms_norm(kept[0, j], (6,), eps=1e-6) for j in (1, 2, 4)]
        weights = F.softmax(torch.stack([module.query(h) @ module.key(b) for b in rows]) / math.sqrt(6), 0)
        r = sum(w * module.value(b) for w, b in zip(weights, rows, strict=True))
        gate = torch.sigmoid(module.gate(torch.cat([h, r])))
        assert torch.allclose(got[0, t], hidden[0, t] + gate * module.down(F.gelu(module.up(r))))
    assert torch.equal(module(hidden, kept, torch.zeros_like(real)), hidden)


@torch.no_grad()
def test_a_pathway_is_the_hebbian_loop_and_stays_bounded() -> None:
    torch.manual_seed(0)
    path = synaptic_resonance.Pathway(8, 2, 3, 0.1).double()
    for parameter in path.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    hidden = torch.randn(1, 90, 8, dtype=torch.float64)
    paths, context = 0.1 * torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.randn(1, 8, dtype=torch.float64)
    got, end, context_end = path(hidden, paths, context)
    memory, c = paths[0].clone(), context[0]
    for t in range(90):
        h = F.rms_norm(hidden[0, t], (8,), eps=1e-6)
        rho = torch.sigmoid(path.tau * F.cosine_similarity(h, c, dim=0) + path.shift)
        q, k, v = path.project(h).reshape(3, 2, 3)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        memory = (
            memory
            * torch.sigmoid(path.keep)[:, None, None] ** (1 - torch.sigmoid(path.kappa) * rho)[:, None, None]
        )
        read = torch.stack([memory[n].mT @ q[n] for n in range(2)]).flatten()
        assert torch.allclose(got[0, t], path.gamma * path.output(read))
        memory = memory + 0.1 * rho[:, None, None] * k[:, :, None] * v[:, None, :]
        c = 0.9 * c + 0.1 * h
    assert torch.allclose(end[0], memory)
    assert torch.allclose(context_end[0], c)
    _, later, _ = path(hidden.repeat(1, 30, 1), end, context_end)
    _, last, _ = path(hidden.repeat(1, 30, 1), later, context_end)
    assert torch.allclose(later, last, rtol=0.05, atol=0.05)


def test_names_and_sizes_are_checked() -> None:
    model = base()
    with pytest.raises(MnemicError, match="no wrapper 'titans'; there are: cmr, hmt"):
        wrap("titans", model)
    with pytest.raises(ValueError, match="segment 0 and depth 2"):
        hmt.wrapper(model, segment=0)
    with pytest.raises(ValueError, match="than the 8 of a segment"):
        hmt.wrapper(model, segment=8, sensory=9)
    with pytest.raises(ValueError, match="at most 8 slots"):
        cmr.wrapper(model, segment=8, slots=9)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 16"):
        synaptic_resonance.wrapper(model, heads=3)


def told_segments_ago(name: str, memory: bool = True) -> float:
    """Share of passkeys a tiny model says that stood a segment before the question, after 100 steps."""
    model = base(vocab=19, num_hidden_layers=2, hidden_size=32, intermediate_size=48, initializer_range=0.15)
    made = {
        "hmt": lambda: hmt.wrapper(model, segment=SEGMENT, sensory=0, memories=4 * memory),
        "cmr": lambda: cmr.wrapper(model, segment=SEGMENT, slots=4, segments=4),
        "synaptic-resonance": lambda: synaptic_resonance.wrapper(model, segment=SEGMENT, heads=2),
    }[name]()
    adam = torch.optim.AdamW(made.parameters(), lr=1e-2)

    def read(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        task = passkey(n, 2 * SEGMENT, seed=seed, digits=1, depth=0)
        tokens = torch.from_numpy(task.tokens)
        return made(tokens)[0], tokens, torch.from_numpy(task.targets)

    for step in range(100):
        logits, tokens, targets = read(32, step)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss = loss + F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        logits, _, targets = read(100, 10**6)
    return float((logits.argmax(-1) == targets)[targets >= 0].float().mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_passkey_told_a_segment_ago_is_learnt_through_the_memory(name: str) -> None:
    assert told_segments_ago(name) > 0.8


def test_without_memory_a_passkey_told_a_segment_ago_is_guessed() -> None:
    assert told_segments_ago("hmt", memory=False) < 0.3
