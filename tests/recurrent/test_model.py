"""Recurrent layers behind Hugging Face's own calls."""

from pathlib import Path

import pytest
import torch

from mnemic.recurrent import language_model, names
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


@pytest.mark.parametrize("layer", names("causal"))
def test_a_model_survives_save_pretrained(layer: str, tmp_path: Path) -> None:
    model, ids = small(layer), torch.randint(40, (1, 10))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.mul_(1.1)
    model.save_pretrained(tmp_path)
    again = RecurrentLM.from_pretrained(tmp_path).eval()
    assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-5)


def test_the_loss_is_that_of_the_next_token_and_ignores_what_is_masked() -> None:
    model, ids = small("gated-delta-rule"), torch.randint(40, (2, 10))
    labels = ids.clone()
    labels[:, :4] = -100
    log = model(ids).logits.log_softmax(-1)
    expected = -torch.stack([log[b, t - 1, ids[b, t]] for b in range(2) for t in range(4, 10)]).mean()
    assert torch.allclose(model(ids, labels=labels).loss, expected)


def test_a_size_is_what_it_says() -> None:
    for size, parameters in {"1M": 1e6, "6M": 6e6}.items():
        model = language_model("gated-delta-rule", vocab=64, size=size)
        assert 0.8 < sum(p.numel() for p in model.parameters()) / parameters < 1.2
    with pytest.raises(MnemicError, match="no size '7B'; there are: 1M, 6M, 25M"):
        language_model("based", vocab=64, size="7B")
