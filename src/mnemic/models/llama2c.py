"""Reads a Llama in the llama2.c format (a .bin of weights, tok*.bin beside it) as a transformers model.

    weights    seven int32 (width, hidden, layers, heads, key-value heads, vocabulary, window), then float32:
               embedding; for all layers, kind by kind, norm, q, k, v, o, norm, gate, down, up; the last norm;
               two tables of angles nobody needs; the head, if the vocabulary is written negative
    tokens     int32 (longest piece), then per piece: float32 score, int32 length, its bytes

There neighbouring channels are a rotary pair, in transformers the halves of a head: the rows of q and k are
reordered. A pair of pieces is merged by the score of what it makes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from mnemic.types import MnemicError

HEADER = 28  # bytes
UNKNOWN, BEGIN, END = 0, 1, 2


def load_llama2c(folder: str | Path) -> tuple[Any, Any]:
    """The model (LlamaForCausalLM, float32) and tokenizer of a folder with one weights file and one tok*.bin.

    Raises:
        MnemicError: they are not there, or are not what their header says.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.bin"))
    pieces = [file for file in files if file.name.startswith("tok")]
    weights = [file for file in files if file not in pieces]
    if len(weights) != 1 or len(pieces) != 1:
        raise MnemicError(
            f"{folder} holds {len(weights)} weights (NAME.bin) and {len(pieces)} tokenizers (tokNAME.bin); "
            "a folder in the llama2.c format holds one of each"
        )
    model = _model(weights[0])
    return model, _tokenizer(pieces[0], model.config.vocab_size)


def _model(path: Path) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    data = path.read_bytes()
    if len(data) < HEADER:
        raise MnemicError(f"{path} has {len(data)} bytes, fewer than a llama2.c header; fetch it again")
    width, hidden, layers, heads, groups, vocabulary, window = struct.unpack("7i", data[:HEADER])
    tied, vocabulary = vocabulary > 0, abs(vocabulary)
    size = width // max(heads, 1)
    norm, last = (layers, width), (width,)
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens": (vocabulary, width), "input_layernorm": norm,
        "self_attn.q_proj": (layers, heads * size, width), "self_attn.k_proj": (layers, groups * size, width),
        "self_attn.v_proj": (layers, groups * size, width), "self_attn.o_proj": (layers, width, heads * size),
        "post_attention_layernorm": norm, "mlp.gate_proj": (layers, hidden, width),
        "mlp.down_proj": (layers, width, hidden), "mlp.up_proj": (layers, hidden, width), "norm": last,
        "angles": (2, window, size // 2), **({} if tied else {"lm_head": (vocabulary, width)}),
    }  # fmt: skip
    need = HEADER + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if min(width, hidden, layers, heads, groups, vocabulary, window) <= 0 or len(data) != need:
        raise MnemicError(
            f"{path} has {len(data)} bytes where its header means {need}; it is not in the llama2.c format "
            "(version 0), or not whole"
        )
    state, at = {}, HEADER
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensor = torch.from_numpy(np.frombuffer(data, "<f4", count, at).reshape(shape).copy())
        at += 4 * count
        if name in ("self_attn.q_proj", "self_attn.k_proj"):
            pairs = tensor.view(layers, -1, size // 2, 2, width)  # [layers, heads, pairs, 2, width]
            tensor = pairs.transpose(2, 3).reshape(shape)
        if name in ("embed_tokens", "norm"):
            state[f"model.{name}.weight"] = tensor
        elif name == "lm_head":
            state["lm_head.weight"] = tensor
        elif name != "angles":
            state |= {f"model.layers.{i}.{name}.weight": tensor[i] for i in range(layers)}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=groups, max_position_embeddings=window,
            rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=tied, bos_token_id=BEGIN, eos_token_id=END,
        )
    ).eval()  # fmt: skip
    missing, _ = model.load_state_dict(state, strict=False)
    assert set(missing) <= ({"lm_head.weight"} if tied else set()), missing
    return model


def _tokenizer(path: Path, count: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    data, at = path.read_bytes(), 4
    pieces, scores = [], []
    try:
        for _ in range(count):
            score, length = struct.unpack_from("fi", data, at)
            pieces.append(data[at + 8 : at + 8 + length].decode().replace(" ", "▁"))
            scores.append(score)
            at += 8 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise MnemicError(f"{path} does not hold {count} pieces in the llama2.c format: {error}") from error
    pieces[: END + 1] = ["<unk>", "<s>", "</s>"]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    merges = [
        (-scores[token], piece[:cut], piece[cut:])
        for piece, token in vocabulary.items()
        for cut in range(1, len(piece))
        if token > END and piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    merged = [(left, right) for _, left, right in sorted(merges, key=lambda each: each[0])]
    plain = Tokenizer(models.BPE(vocabulary, merged, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    plain.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    plain.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BEGIN)])
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
