"""A llama2.c folder becomes a transformers model: the same numbers, the same text."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mnemic.models import load_llama2c
from mnemic.types import MnemicError

WIDTH, HIDDEN, LAYERS, HEADS, GROUPS, COUNT, WINDOW = 16, 12, 2, 4, 2, 11, 20
SIZE = WIDTH // HEADS
PIECES = [("", 0.0)] * 3 + [(" ", -5.0), ("a", -1.0), ("b", -2.0), ("ab", -1.0), (" a", -2.0), ("ba", -3.0)]
STORIES = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


def write(folder: Path, tied: bool = True) -> dict[str, np.ndarray]:
    """A tiny folder, and the weights by name, as the format orders them."""
    rng = np.random.default_rng(0)
    kinds = {
        "embedding": (COUNT, WIDTH), "norm1": (LAYERS, WIDTH), "q": (LAYERS, WIDTH, WIDTH),
        "k": (LAYERS, GROUPS * SIZE, WIDTH), "v": (LAYERS, GROUPS * SIZE, WIDTH), "o": (LAYERS, WIDTH, WIDTH),
        "norm2": (LAYERS, WIDTH), "gate": (LAYERS, HIDDEN, WIDTH), "down": (LAYERS, WIDTH, HIDDEN),
        "up": (LAYERS, HIDDEN, WIDTH), "norm": (WIDTH,), "angles": (2, WINDOW, SIZE // 2),
        "head": (COUNT, WIDTH),
    }  # fmt: skip
    if tied:
        del kinds["head"]
    weights = {name: rng.normal(0, 0.4, shape).astype("<f4") for name, shape in kinds.items()}
    header = struct.pack("7i", WIDTH, HIDDEN, LAYERS, HEADS, GROUPS, COUNT if tied else -COUNT, WINDOW)
    (folder / "tiny.bin").write_bytes(header + b"".join(w.tobytes() for w in weights.values()))
    spelled = [*PIECES, ("<0x43>", 0.0), ("c", -9.0)]
    tokens = b"".join(struct.pack("fi", score, len(text)) + text.encode() for text, score in spelled)
    (folder / "tok11.bin").write_bytes(struct.pack("i", 6) + tokens)
    return weights


def forward(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """What the format's own program computes, one token at a time, in float64."""

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * x / np.sqrt((x * x).mean() + 1e-5)

    def rotated(x: np.ndarray, place: int) -> np.ndarray:
        x = x.copy()
        for i in range(0, len(x), 2):
            angle = place / 10000 ** ((i % SIZE) / SIZE)
            x[i], x[i + 1] = (
                x[i] * np.cos(angle) - x[i + 1] * np.sin(angle),
                x[i] * np.sin(angle) + x[i + 1] * np.cos(angle),
            )
        return x

    w = {name: weight.astype(np.float64) for name, weight in w.items()}
    keys: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]
    values: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]
    for place, token in enumerate(ids):
        x = w["embedding"][token]
        for i in range(LAYERS):
            h = norm(x, w["norm1"][i])
            q = rotated(w["q"][i] @ h, place)
            keys[i].append(rotated(w["k"][i] @ h, place))
            values[i].append(w["v"][i] @ h)
            heads = []
            for head in range(HEADS):
                own = slice(head * SIZE, (head + 1) * SIZE)
                kv = slice(head // 2 * SIZE, (head // 2 + 1) * SIZE)
                score = np.array([q[own] @ k[kv] for k in keys[i]]) / SIZE**0.5
                weight = np.exp(score - score.max())
                weight /= weight.sum()
                heads.append(sum(p * v[kv] for p, v in zip(weight, values[i], strict=True)))
            x = x + w["o"][i] @ np.concatenate(heads)
            h = norm(x, w["norm2"][i])
            gate = w["gate"][i] @ h
            x = x + w["down"][i] @ (gate / (1 + np.exp(-gate)) * (w["up"][i] @ h))
    return w.get("head", w["embedding"]) @ norm(x, w["norm"])


@pytest.mark.parametrize("tied", [True, False])
def test_its_logits_are_those_of_the_plain_loop(tmp_path: Path, tied: bool) -> None:
    weights = write(tmp_path, tied)
    model, _ = load_llama2c(tmp_path)
    ids = [1, 4, 7, 5, 3, 8, 6, 10]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1]
    np.testing.assert_allclose(logits.numpy(), forward(weights, ids), atol=1e-5)


def test_pieces_merge_by_score_and_unknown_letters_become_bytes(tmp_path: Path) -> None:
    write(tmp_path)
    _, tokenizer = load_llama2c(tmp_path)
    assert tokenizer("ab a").input_ids == [1, 3, 6, 7]  # "ab" outranks " a" where both could be
    assert tokenizer("C").input_ids == [1, 3, 9]
    assert tokenizer.decode([6, 7], skip_special_tokens=True) == "ab a"


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match="one of each"):
        load_llama2c(tmp_path)
    write(tmp_path)
    whole = (tmp_path / "tiny.bin").read_bytes()
    (tmp_path / "tiny.bin").write_bytes(whole[:-4])
    with pytest.raises(MnemicError, match=f"has {len(whole) - 4} bytes where its header means {len(whole)}"):
        load_llama2c(tmp_path)


@pytest.mark.skipif("MNEMIC_BENCH_DATA" not in os.environ, reason="MNEMIC_BENCH_DATA is not set")
def test_the_real_stories_model_tells_the_text_documented_beside_it() -> None:
    folder = Path(os.environ["MNEMIC_BENCH_DATA"]) / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    model, tokenizer = load_llama2c(folder)
    out = model.generate(
        torch.tensor([[tokenizer.bos_token_id]]), attention_mask=torch.ones(1, 1).long(),
        max_new_tokens=40, do_sample=False,
    )  # fmt: skip
    text = tokenizer.decode(out[0], skip_special_tokens=True)
    assert text.startswith(STORIES)
    documented = " ".join(next(folder.glob("*.md")).read_text(encoding="utf-8").split())
    assert " ".join(text.split()) in documented
    assert tokenizer.decode(tokenizer(STORIES).input_ids, skip_special_tokens=True) == STORIES
