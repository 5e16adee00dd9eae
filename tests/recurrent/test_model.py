"""Recurrent layers behind Hugging Face's own calls."""

from pathlib import Path

import pytest
import torch

from mnemic.recurrent import build, language_model, names, wrap
from mnemic.recurrent.model import RecurrentCache, RecurrentConfig, RecurrentLM
from mnemic.types import MnemicError

LAYERS = ["gated-delta-rule", "titans", "sliding-window"]


def small(layer: str) -> RecurrentLM:
    torch.manual_seed(0)
    return RecurrentLM(RecurrentConfig(layer, 40, 16, 2, {"heads": 2})).eval()


def greedy(model: RecurrentLM, ids: torch.Tensor, count: int) -> torch.Tensor:
    for _ in range(count):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids


@pytest.mark.parametrize("layer", LAYERS)
def test_generating_from_the_cache_is_reading_everything_anew(layer: str) -> None:
    model, ids = small(layer), torch.randint(40, (2, 20))
    got = model.generate(ids, max_new_tokens=8, do_sample=False, attention_mask=torch.ones_like(ids))
    assert torch.equal(got, greedy(model, ids, 8))


def test_a_padded_row_generates_as_it_would_alone() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (1, 12))
    padded = torch.cat([torch.cat([torch.zeros(1, 5, dtype=torch.int64), ids[:, 5:]], 1), ids])
    padded[0, :5] = 0
    mask = torch.ones_like(padded)
    mask[0, :5] = 0
    both = model.generate(padded, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert torch.equal(both[0, 5:], greedy(model, ids[:, 5:], 6)[0])
    assert torch.equal(both[1], greedy(model, ids, 6)[0])


def test_beams_carry_their_own_states() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (1, 9))
    with torch.no_grad():
        best = model.generate(
            ids, attention_mask=torch.ones_like(ids), num_beams=40, max_new_tokens=2, do_sample=False
        )[0, 9:]
        first = model(ids).logits[0, -1].log_softmax(-1)
        after = torch.cat([ids.expand(40, -1), torch.arange(40)[:, None]], 1)
        both = first[:, None] + model(after).logits[:, -1].log_softmax(-1)
    assert divmod(int(both.argmax()), 40) == tuple(best.tolist())


def test_a_book_is_kept_in_a_file_and_read_on_from(tmp_path: Path) -> None:
    model, ids = small("titans"), torch.randint(40, (1, 50))
    cache = model(ids[:, :35]).past_key_values
    cache.save(tmp_path / "book.safetensors")
    loaded = RecurrentCache.load(tmp_path / "book.safetensors")
    assert loaded.nbytes == cache.nbytes == model(ids[:, :3]).past_key_values.nbytes
    logits = model(ids[:, 35:], past_key_values=loaded).logits
    assert torch.allclose(logits, model(ids).logits[:, 35:], atol=1e-4)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("layer", LAYERS)
def test_generate_goes_on_from_a_saved_state_given_the_whole_text_or_what_is_new(
    layer: str, beams: int, tmp_path: Path
) -> None:
    model, ids = small(layer), torch.randint(40, (2, 20))
    options = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False}
    expected = model.generate(ids, **options)
    for read in (4, 15):  # the new ids are more than were read, and fewer
        model(ids[:, :read]).past_key_values.save(tmp_path / "book.safetensors")
        cache = RecurrentCache.load(tmp_path / "book.safetensors")
        assert torch.equal(model.generate(ids, past_key_values=cache, **options), expected)
        new = model.generate(ids[:, read:], past_key_values=cache, **options)
        assert torch.equal(new, expected[:, read:])
        covering = torch.ones_like(ids)
        new = model.generate(ids[:, read:], past_key_values=cache, attention_mask=covering, **options)
        assert torch.equal(new, expected[:, read:])


def test_generate_reads_of_the_whole_text_only_what_the_cache_has_not() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (1, 20))
    cache, lengths = model(ids[:, :15]).past_key_values, []
    model.stack.norm.register_forward_hook(lambda module, given, result: lengths.append(given[0].shape[1]))
    model.generate(ids, past_key_values=cache, max_new_tokens=2)
    model.generate(ids, past_key_values=RecurrentCache(cache.states), max_new_tokens=1)
    assert lengths == [5, 1, 20]
    with pytest.raises(ValueError, match="has read all of these ids; give at least one more"):
        model.generate(ids[:, :15], past_key_values=cache, max_new_tokens=2)


def test_padded_rows_go_on_from_a_cache_as_they_would_alone() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (2, 20))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # of the book
    mask[1, 12:14] = 0  # of the question
    book, question = slice(0, 12), slice(12, None)
    cache = model(ids[:, book], attention_mask=mask[:, book]).past_key_values
    whole = model.generate(ids, attention_mask=mask, past_key_values=cache, max_new_tokens=4)[:, 20:]
    new = model.generate(
        ids[:, question], attention_mask=mask[:, question], past_key_values=cache, max_new_tokens=4
    )
    for row in range(2):
        alone = greedy(model, ids[row : row + 1, mask[row].bool()], 4)[0, -4:]
        assert torch.equal(whole[row], alone)
        assert torch.equal(new[row, 8:], alone)


def test_one_book_answers_a_batch_of_questions() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (1, 30))
    questions = torch.randint(40, (3, 4))
    got = model.generate(questions, past_key_values=model(ids).past_key_values, max_new_tokens=3)
    assert torch.equal(got, greedy(model, torch.cat([ids.expand(3, -1), questions], 1), 3)[:, 30:])


@pytest.mark.parametrize("layer", [*names("causal"), "jrt"])
def test_a_model_survives_save_pretrained(layer: str, tmp_path: Path) -> None:
    model, ids = small(layer), torch.randint(40, (1, 10))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.mul_(1.1)
    model.save_pretrained(tmp_path)
    again = RecurrentLM.from_pretrained(tmp_path).eval()
    assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-5)


def test_a_calibrated_model_survives_save_pretrained(tmp_path: Path) -> None:
    model, ids = small("longmamba"), torch.randint(40, (1, 150))
    for block in model.stack.blocks:
        block.layer.calibrate(torch.randn(3, 100, 16))
    model.save_pretrained(tmp_path)
    again = RecurrentLM.from_pretrained(tmp_path).eval()
    assert again.config.options == {"heads": 2, "trained": 100}
    assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-5)
    model.stack.blocks[0].layer.calibrate(torch.randn(3, 50, 16))
    with pytest.raises(ValueError, match=r"texts of \[50, 100\] tokens; calibrate all on one length"):
        model.save_pretrained(tmp_path)


def test_the_loss_is_that_of_the_next_token_and_ignores_what_is_masked() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (2, 10))
    labels = ids.clone()
    labels[:, :4] = -100
    log = model(ids).logits.log_softmax(-1)
    expected = -torch.stack([log[b, t - 1, ids[b, t]] for b in range(2) for t in range(4, 10)]).mean()
    assert torch.allclose(model(ids, labels=labels).loss, expected)


def test_an_accumulated_loss_is_that_of_the_whole_batch() -> None:
    """Shares of rows with different numbers of labels, as transformers' Trainer gives them."""
    model, ids = small("gated-delta-rule"), torch.randint(40, (2, 10))
    labels = ids.clone()
    labels[0, :7] = -100
    parts = [model(ids[n : n + 1], labels=labels[n : n + 1], num_items_in_batch=12).loss for n in range(2)]
    assert torch.allclose(sum(parts), model(ids, labels=labels).loss)


def test_embeddings_are_read_as_their_ids_are_and_hidden_states_end_before_the_head() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (2, 10))
    table = model.get_input_embeddings().weight
    got = model(inputs_embeds=table[ids], output_hidden_states=True)
    assert torch.equal(got.logits, model(ids).logits)
    assert len(got.hidden_states) == 1 + model.config.num_hidden_layers
    assert torch.equal(got.hidden_states[0], table[ids])
    assert torch.allclose(got.hidden_states[-1] @ table.T, got.logits, atol=1e-6)
    with pytest.raises(ValueError, match="give either input_ids or inputs_embeds"):
        model(ids, inputs_embeds=table[ids])


@pytest.mark.parametrize("name", names("wrapper"))
@torch.no_grad()
def test_a_wrapper_goes_around_it(name: str) -> None:
    options = {"hmt": {"sensory": 0}, "cmr": {"slots": 4}, "synaptic-resonance": {}}[name]
    made = wrap(name, small("gated-delta-rule"), segment=8, **options)
    for parameter in made.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    ids = torch.randint(40, (2, 20))
    changed = ids.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 40
    before, after = made(ids)[0], made(changed)[0]
    assert before.shape == (2, 20, 40)
    assert not torch.allclose(before[:, 16:], after[:, 16:], atol=1e-4)


def test_a_size_is_what_it_says() -> None:
    for size, parameters in {"1M": 1e6, "6M": 6e6}.items():
        model = language_model("gated-delta-rule", vocab=64, size=size)
        assert 0.8 < sum(p.numel() for p in model.parameters()) / parameters < 1.2
    with pytest.raises(MnemicError, match="no size '7B'; there are: 1M, 6M, 25M"):
        language_model("based", vocab=64, size="7B")


@pytest.mark.parametrize("name", names("wrapper"))
def test_a_wrapper_is_no_layer(name: str) -> None:
    for make in (lambda: build(name, 16), lambda: language_model(name, vocab=64)):
        with pytest.raises(MnemicError, match=rf"'{name}' is a wrapper, not a layer.* wrap\('{name}', model\)"):
            make()


@pytest.mark.parametrize("name", ["order-matters", "vig", "vim"])
def test_no_language_model_is_made_of_an_encoder(name: str) -> None:
    with pytest.raises(MnemicError, match=rf"'{name}' is an encoder.*build\('{name}', dim\).* aaren, atlas"):
        language_model(name, vocab=64)
