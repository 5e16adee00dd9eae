"""`mnemic read`: the answer is what the library gives; a saved cache goes on as if it had never been closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from command_line import of

from mnemic import kv
from mnemic.cli import main

WORDS = "the tide came in and the boat went out to sea while we slept under red sails at noon".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<unk>", *dict.fromkeys(WORDS)])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>").save_pretrained(path)
    return path


def read(*given: Any) -> Any:
    return CliRunner().invoke(main, ["read", *map(str, given)])


def test_a_text_is_read_asked_about_saved_and_opened_again(folder: Path, tmp_path: Path) -> None:
    text, book = tmp_path / "text.txt", tmp_path / "book.kv"
    text.write_text(" ".join(WORDS * 40))
    asked = ("--model", folder, "--ask", "the boat", "--ask", "at noon", "--tokens", 5)
    done = of(read(text, *asked, "--budget", "1MiB", "--save", book, "--json"))
    assert done["tokens"] == 40 * len(WORDS)
    assert 0 < done["nbytes"] <= 1 << 20

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    cache = kv.attach(model.eval(), "em-llm", budget="1MiB")
    kv.read(model, cache, tokenizer(text.read_text(), return_tensors="pt").input_ids)
    for question, answer in zip(("the boat", "at noon"), done["answers"], strict=True):
        ids = tokenizer(question, add_special_tokens=False, return_tensors="pt").input_ids
        expected = kv.generate(model, cache, ids, max_new_tokens=5, do_sample=False)
        assert answer == {"question": question, "text": tokenizer.decode(expected[0])}

    again = read("--open", book, *asked)
    assert again.stdout.splitlines() == [answer["text"] for answer in done["answers"]]
    assert f"{done['tokens']} tokens" in again.stderr


def test_nothing_to_read_and_a_budget_too_small_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    nothing = read("--model", folder)
    assert nothing.exit_code == 1
    assert "--open FILE" in nothing.stderr
    text = tmp_path / "text.txt"
    text.write_text("the tide")
    small = read(text, "--model", folder, "--budget", "1KB")
    assert small.exit_code == 1
    assert "raise the budget" in small.stderr
