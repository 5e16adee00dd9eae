"""Reuses the keys and values of a chunk of text at any place of a prompt, and recomputes a few tokens of each.

    inter(i, t)  attention that token t of chunk i gives to the chunks before it;  inter(i, j): i to chunk j
    CCI   = 1 / (1 + e^(-a/b)),   a = mean over layers of sum_j inter(i, j) / (|i||j|),
                                  b = mean over layers of intra(i) / |i|²          how much i depends on others
    beta  = sum over j before i then and now of inter(i, j) / sum over j before i then     1: none was, none is
    beta' = beta · (1 - gamma),   gamma: share of the pairs of common chunks that have changed places (Kendall)
    CFO   = min(1, alpha · CCI · (1 - beta'))
    recomputed of chunk i: its ceil(CFO·|i|) tokens of largest inter(i, t)

`keep` reads a prompt once and keeps each chunk's keys, with their positions taken off, and values; `place`
puts chunks side by side, keys at their new positions, and runs the tokens to be recomputed through the model,
layer by layer, each seeing everything before it, old pairs and new ones. It gives a cache to go on from:

    start, one, two = keep(model, [start, one, two])
    cache, again = place(model, [start, two, one])         # `again` tokens went through the model
    mnemic.kv.generate(model, cache, question)

(Paper 224; alpha is tuned there for the quality wanted.)

Departs from the paper: attention is the mean over heads; the start that all prompts share (a system prompt) is
in none of the sums, as nothing changes there; a chunk kept without others before it has beta = 0 among others;
no chunk stops being recomputed half-way for the question not looking at it; where chunks are kept is the
caller's. Where all that stood before a chunk does so in the same order, with something new in between, the
equation recomputes nothing, though its neighbour has changed: that is where facts across a border stay lost.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, get_layer_types_and_kwargs

from mnemic.attention.positions import Rotary, rotary_of
from mnemic.kv.attach import attach
from mnemic.kv.cache import MemoryCache
from mnemic.types import Claim, MnemicError

PAPER = 224
KIND = "chunks"
CLAIM = Claim(
    says="a few tokens of reused chunks, chosen by what they looked at before, mend more than as many by lot",
    task="kv_beside",
    method="cachecraft",
    baseline="cachecraft, scrambled",
    sabotage="chunks reused",
    metric="across",
    budget="as many tokens computed again; mere reuse none",
)


@dataclass(frozen=True)
class Chunk:
    """A piece of a prompt as the model read it then.

    Attributes:
        ids: its tokens [n].
        keys: of each layer [g, n, d], positions taken off; values [g, n, dv].
        inter: [n] attention each token gave to the chunks before it, over all layers.
        before: those chunks by name, in order, with the attention the chunk gave each; None: it is the start.
        cci: how much it depends on others, from 0.5 to 1.
        start: name of what started the prompt.
    """

    ids: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    inter: Tensor
    before: dict[str, float] | None
    cci: float
    start: str

    @property
    def name(self) -> str:
        """The same for the same tokens."""
        return _name(self.ids)

    @property
    def nbytes(self) -> int:
        return sum(t.untyped_storage().nbytes() for t in (self.ids, *self.keys, *self.values, self.inter))

    def overlap(self, before: Sequence[str]) -> float:
        """beta' with these chunks before it, start left out; 1: nothing has changed, 0: everything."""
        old = self.before or {}
        if not old:
            return 0.0 if before else 1.0
        common = [name for name in old if name in before]
        total = sum(old.values())
        beta = sum(old[name] for name in common) / total if total else 0.0
        pairs = list(combinations(common, 2))
        turned = sum(before.index(one) > before.index(two) for one, two in pairs)
        return beta * (1 - turned / max(1, len(pairs)))

    def fix(self, before: Sequence[str], alpha: float) -> Tensor:
        """Which of its tokens are to be recomputed with these chunks before it: [m] in order."""
        cfo = min(1.0, alpha * self.cci * (1 - self.overlap(before)))
        count = math.ceil(cfo * len(self.ids))
        return self.inter.argsort(descending=True, stable=True)[:count].sort().values


@torch.inference_mode()
def keep(model: Any, pieces: Sequence[Tensor]) -> list[Chunk]:
    """Read a prompt and keep each of its pieces, the first of which is the start that all prompts share.

    Attention is looked at as a whole: this needs memory for tokens² numbers in each head of every layer.

    Args:
        pieces: tokens [n] each, at least one in each.

    Raises:
        MnemicError: the model has no rotary positions, or layers with a sliding window.
        ValueError: a piece is empty.
    """
    rotary = _rotary(model)
    if not pieces or any(len(piece) == 0 for piece in pieces):
        raise ValueError("every piece of a prompt needs a token, and a prompt its start")
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        out = model.base_model(
            input_ids=torch.cat([*pieces])[None], past_key_values=DynamicCache(config=model.config),
            use_cache=True, output_attentions=True,
        )  # fmt: skip
    finally:
        model.set_attn_implementation(before)
    given = torch.stack([layer[0].float().mean(0) for layer in out.attentions])  # [layers, n, n]
    ends = list(accumulate(len(piece) for piece in pieces))
    spans = [slice(end - len(piece), end) for end, piece in zip(ends, pieces, strict=True)]
    names = [_name(piece) for piece in pieces]
    positions = torch.arange(ends[-1], device=given.device)
    pairs = [(rotary.lift(layer.keys, positions)[0], layer.values[0]) for layer in out.past_key_values.layers]
    chunks = []
    for i, (piece, span) in enumerate(zip(pieces, spans, strict=True)):
        inter = [float(given[:, span, spans[j]].sum()) for j in range(1, i)]
        mass = dict.fromkeys(names[1:i], 0.0)
        for name, one in zip(names[1:i], inter, strict=True):
            mass[name] += one  # the same chunk may stand there twice
        a = sum(one / len(pieces[j]) for j, one in enumerate(inter, 1)) / len(piece)
        b = float(given[:, span, span].sum()) / len(piece) ** 2
        chunks.append(
            Chunk(
                ids=piece.clone(),
                keys=tuple(keys[:, span].clone() for keys, _ in pairs),
                values=tuple(values[:, span].clone() for _, values in pairs),
                inter=given[:, span, ends[0] : span.start].sum((0, 2)) if i else given.new_zeros(len(piece)),
                before=mass if i else None,
                cci=1 / (1 + math.exp(-a / b)),
                start=names[0],
            )
        )
    return chunks


@torch.inference_mode()
def place(model: Any, chunks: Sequence[Chunk], *, alpha: float = 0.25) -> tuple[MemoryCache, int]:
    """The cache of a prompt made of kept chunks, the start first; and how many tokens were recomputed for it.

    Args:
        chunks: in their new order, each kept after the same start.
        alpha: how much is recomputed: 0 nothing, from 2 on all of a chunk that has nothing left around it.

    Raises:
        ValueError: the first did not start a prompt, or others were kept after another start.
        MnemicError: the model has no rotary positions, or layers with a sliding window.
    """
    rotary = _rotary(model)
    if not chunks or chunks[0].before is not None:
        raise ValueError("the first chunk must be one that started the prompt it was kept from; put it first")
    if odd := [i for i, c in enumerate(chunks) if i and (c.before is None or c.start != chunks[0].start)]:
        raise ValueError(
            f"chunks {odd} were kept after another start than the one given, or are a start themselves; "
            "keep them after this start"
        )
    names = [chunk.name for chunk in chunks]
    fixed, at = [], 0
    for i, chunk in enumerate(chunks):
        fixed.append(at + chunk.fix(names[1:i], alpha) if i else chunk.ids[:0])
        at += len(chunk.ids)
    ids, again = torch.cat([chunk.ids for chunk in chunks]), torch.cat(fixed)
    columns = torch.arange(at, device=ids.device)
    keys = [torch.cat(layer, 1)[None] for layer in zip(*(chunk.keys for chunk in chunks), strict=True)]
    values = [torch.cat(layer, 1)[None] for layer in zip(*(chunk.values for chunk in chunks), strict=True)]
    pairs = _Placed([rotary.place(layer, columns) for layer in keys], values, again)
    cache = attach(model, "full")
    if len(again):
        model.base_model(
            input_ids=ids[again][None], position_ids=again[None], past_key_values=pairs, use_cache=True,
            attention_mask=(columns <= again[:, None])[None, None],
        )  # fmt: skip
    config = model.config.get_text_config(decoder=True)
    scale = next(module.scaling for module in cache.modules if hasattr(module, "scaling"))
    for layer, key, value in zip(cache.layers, pairs.keys, pairs.values, strict=True):
        layer.store = cache.make_store(
            layer, rows=1, heads=config.num_attention_heads, groups=key.shape[1], width=key.shape[3],
            value_width=value.shape[3], dtype=key.dtype, scale=scale,
        )  # fmt: skip
        layer.store.restore({"keys": key, "values": value, "columns": columns.int()[None, None]})
        layer.seen, layer.is_initialized = at, True
    return cache, len(again)


class _Placed(Cache):  # type: ignore[misc]
    """Pairs of every layer [1, g, n, d]; what a pass computes takes the places `again` [m]."""

    def __init__(self, keys: list[Tensor], values: list[Tensor], again: Tensor) -> None:
        super().__init__(layers=[])
        self.keys, self.values, self.again = keys, values, again

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys[layer_idx][:, :, self.again] = keys
        self.values[layer_idx][:, :, self.again] = values
        return self.keys[layer_idx], self.values[layer_idx]


def _name(ids: Tensor) -> str:
    return hashlib.sha256(ids.cpu().numpy().astype("int64").tobytes()).hexdigest()[:16]


def _rotary(model: Any) -> Rotary:
    """The model's rotary embedding.

    Raises:
        MnemicError: it has none, or a layer does not attend to everything.
    """
    kinds, _ = get_layer_types_and_kwargs(model.config.get_text_config(decoder=True))
    if odd := sorted({kind for kind in kinds if kind != "full_attention"}):
        raise MnemicError(
            f"{type(model).__name__} has layers of type {', '.join(odd)}; chunks can be moved only where every "
            "layer attends to everything before it"
        )
    return rotary_of(model, "full_attention")
