"""A language model answers from a folder or a server, and every failure says what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mnemic.models import open_language_model
from mnemic.models.openai import TRIES, OpenAIModel
from mnemic.types import Message, MnemicError

ASK = [Message("system", "Be brief."), Message("user", "Who went to sea?")]
REPLY = {"choices": [{"message": {"role": "assistant", "content": "Ishmael."}}]}


class Server:
    """Answers with `replies`, (status, body) in order, the last one for ever; keeps what it was sent."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, Any]] = [(200, REPLY)]
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append((self.path, dict(self.headers.items()), body))
                status, reply = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                data = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_the_server_gets_the_messages_and_the_key_and_its_reply_comes_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    monkeypatch.setenv("OPENAI_MODEL", "small")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    model = open_language_model()
    assert model is not None
    assert model.generate(ASK, max_tokens=7) == "Ishmael."
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "small"
    assert body["max_tokens"] == 7
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who went to sea?"},
    ]


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(server: Server) -> None:
    model = OpenAIModel(server.url, "m", pause=0.001)
    server.replies = [(503, "busy"), (429, "slow down"), (200, REPLY)]
    assert model.generate(ASK) == "Ishmael."
    assert len(server.asked) == 3
    server.replies = [(401, "who are you?")]
    with pytest.raises(MnemicError, match="401: who are you"):
        model.generate(ASK)
    assert len(server.asked) == 4
    server.replies = [(500, "broken")]
    with pytest.raises(MnemicError, match="500: broken"):
        model.generate(ASK)
    assert len(server.asked) == 4 + TRIES


@pytest.mark.parametrize(
    "reply", ["<html>", {"choices": []}, {"choices": [{"message": {"content": None}}]}, []]
)
def test_an_answer_that_is_no_reply_is_refused(server: Server, reply: Any) -> None:
    server.replies = [(200, reply)]
    with pytest.raises(MnemicError, match="answered"):
        OpenAIModel(server.url, "m").generate(ASK)


def test_a_server_that_is_not_there_is_named() -> None:
    server = Server()
    server.close()
    with pytest.raises(MnemicError, match=f"cannot reach {server.url}"):
        OpenAIModel(server.url, "m", pause=0.001).generate(ASK)


def test_a_server_without_a_model_name_says_how_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MnemicError, match="OPENAI_MODEL"):
        open_language_model("http://127.0.0.1:1/v1")
    assert open_language_model(None) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights that reads single characters, and a chat template."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("llama")
    vocabulary = {"<unk>": 0, "</s>": 1, **{chr(c): c - 30 for c in range(32, 127)}, "\n": 97}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=98, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_local_model_writes_the_greedy_continuation_of_its_chat_template(folder: Path) -> None:
    import torch
    import transformers

    model = open_language_model(folder)
    assert model is not None
    reply = model.generate(ASK, max_tokens=12)
    llama = transformers.LlamaForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("[system]Be brief.[user]Who went to sea?[assistant]", add_special_tokens=False).input_ids
    prompt = len(ids)
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(llama(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == 1:
                break
    assert reply == tokenizer.decode(ids[prompt:], skip_special_tokens=True).strip()
    assert reply


def test_a_prompt_that_does_not_fit_is_refused(folder: Path) -> None:
    model = open_language_model(folder)
    assert model is not None
    with pytest.raises(MnemicError, match="128 tokens"):
        model.generate([Message("user", "x" * 120)], max_tokens=20)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(MnemicError, match="no causal language model"):
        open_language_model(tmp_path)
