"""A model from a folder answers behind the proxy, through a cache of `mnemic.kv`."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from serving import app_over, listening

from mnemic.serve.local import Local


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama that speaks letters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    letters = {letter: at for at, letter in enumerate(string.printable)}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(path)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(letters), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )
    ).save_pretrained(path)  # fmt: skip
    return path


def told(folder: Path, path: Path, stream: bool, **how: Any) -> str:
    with listening(app_over(path / "m.mnemic", upstream=Local(folder, **how))) as address:
        client = openai.OpenAI(
            base_url=f"{address}/v1", api_key="any", max_retries=0, default_headers={"X-Mnemic-Memory": "off"}
        )
        assert [one.id for one in client.models.list()] == [folder.name]
        asked: Any = {"model": "tiny", "messages": [{"role": "user", "content": "Hi " * 20}], "max_tokens": 12}
        if not stream:
            return client.chat.completions.create(**asked).choices[0].message.content or ""
        chunks = client.chat.completions.create(**asked, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_local_model_streams_what_it_says_and_a_budget_too_large_to_matter_changes_nothing(
    folder: Path, tmp_path: Path
) -> None:
    plain = told(folder, tmp_path, stream=False)
    assert plain
    assert told(folder, tmp_path, stream=True) == plain
    assert told(folder, tmp_path, stream=False, method="full") == plain
    assert told(folder, tmp_path, stream=True, method="streaming", budget="4MiB") == plain


def test_a_prompt_beyond_the_window_is_refused_without_a_method_and_read_with_one(
    folder: Path, tmp_path: Path
) -> None:
    with listening(app_over(tmp_path / "m.mnemic", upstream=Local(folder))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        asked: Any = {"model": "tiny", "messages": [{"role": "user", "content": "a" * 1100}], "max_tokens": 4}
        with pytest.raises(openai.BadRequestError, match="1024"):
            client.chat.completions.create(**asked)
        with pytest.raises(openai.APIError, match="1024"):
            list(client.chat.completions.create(**asked, stream=True))
    with listening(
        app_over(tmp_path / "m.mnemic", upstream=Local(folder, method="streaming", budget="200KiB"))
    ) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        assert client.chat.completions.create(**asked).choices[0].message.content
