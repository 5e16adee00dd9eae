"""Keeps text instead of pairs: the sentences that the question's own tokens look at in the last layer.

    A_rt   attention of question token r to token t of the text, last layer, summed over heads
    w_r    attention of r to the question itself, measured once, on the first chunk
    S_t  = sum over r of w_r² · sum of A_ru over u within half a phrase of t
    kept   of what was kept so far and the next chunk: the sentences that hold the `tokens` highest S_t

A text of any length is read chunk by chunk, each chunk behind what is kept and before the question; what is
kept in the end, ids in the order of the text, is read before the question like any prompt:

    kept = keep(model, sentences, question)
    model.generate(torch.cat((*(sentences[i] for i in kept), question))[None])

(Paper 151.)

Departs from the paper: what is kept never exceeds `room` tokens, sentences of the highest S_t first (there it
may outgrow the model's window); the text is given as sentences and the question as tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mnemic.types import Claim, MnemicError

PAPER = 151
KIND = "text"
CLAIM = Claim(
    says="sentences kept by what the question looks at answer where the last ones do not",
    task="kv_beside",
    method="infiniretri",
    baseline="the last sentences",
    sabotage="infiniretri, scrambled",
    metric="needle",
    budget="as many tokens of text kept",
)
LOOKING = "mnemic-looking"


@torch.inference_mode()
def keep(
    model: Any,
    sentences: Sequence[Tensor],
    question: Tensor,
    *,
    chunk: int = 1024,
    room: int = 1024,
    tokens: int = 300,
    phrase: int = 8,
    layer: int = -1,
) -> list[int]:
    """Which sentences stay, in the order of the text.

    Args:
        model: a causal language model of transformers; chunk, room and question together fit its window.
        sentences: ids [n] of each.
        question: ids [m].
        chunk: tokens of text read at a time; room: tokens of text kept at most.
        tokens: how many of the most looked-at tokens keep their sentence.
        phrase: tokens that are looked at together.
        layer: whose attention is asked; the last in the paper, where large models look at answers.

    Raises:
        MnemicError: an empty question, a sentence longer than a chunk, or a chunk, room or phrase of nothing.
    """
    if not len(question):
        raise MnemicError("an empty question looks at nothing; give the tokens of a question")
    if min(chunk, room, tokens, phrase) < 1:
        raise MnemicError(
            f"chunk {chunk}, room {room}, tokens {tokens} and phrase {phrase} are at least 1 each"
        )
    if (longest := max(map(len, sentences), default=0)) > min(chunk, room):
        raise MnemicError(
            f"a sentence of {longest} tokens is longer than the {min(chunk, room)} that are read or kept; "
            "split it, or raise chunk and room"
        )
    kept: list[int] = []
    weights: Tensor | None = None
    for some in _chunks(sentences, chunk):
        here = [*kept, *some]
        text = torch.cat([sentences[i] for i in here])
        looked = looks(model, torch.cat((text, question)), len(question), layer)
        if weights is None:
            weights = looked[:, len(text) :].sum(1).square()
        score = scores(looked[:, : len(text)], weights, phrase)
        kept = _best(here, [len(sentences[i]) for i in here], score, tokens, room)
    return kept


def scores(looked: Tensor, weights: Tensor, phrase: int) -> Tensor:
    """S of each token [n], of attention [m, n] and the weights [m] of the rows."""
    padded = torch.nn.functional.pad(looked * weights[:, None], ((phrase - 1) // 2, phrase // 2))
    return conv1d(padded[:, None], torch.ones(1, 1, phrase, dtype=looked.dtype)).sum((0, 1))


def looks(model: Any, ids: Tensor, count: int, layer: int = -1) -> Tensor:
    """Attention of the last `count` tokens to all [count, n] in one layer, summed over heads, float32."""
    with _looking(model, count, layer) as seen:
        model.base_model(input_ids=ids[None].to(model.device), use_cache=False)
    return seen[0]


def _chunks(sentences: Sequence[Tensor], chunk: int) -> Iterator[list[int]]:
    """As many sentences in a row as fit."""
    some: list[int] = []
    size = 0
    for i, sentence in enumerate(sentences):
        if size + len(sentence) > chunk:
            yield some
            some, size = [], 0
        some.append(i)
        size += len(sentence)
    if some:
        yield some


def _best(here: list[int], lengths: list[int], score: Tensor, tokens: int, room: int) -> list[int]:
    """Of these sentences, those that hold the best tokens, best first while there is room; in their order."""
    of = torch.repeat_interleave(torch.arange(len(here)), torch.tensor(lengths))
    best = score.argsort(descending=True, stable=True)[:tokens]
    stay, left = set[int](), room
    for place in dict.fromkeys(of[best].tolist()):
        if lengths[place] <= left:
            stay.add(place)
            left -= lengths[place]
    return [here[place] for place in sorted(stay)]


@contextmanager
def _looking(model: Any, count: int, layer: int) -> Iterator[list[Tensor]]:
    """While this is open a layer's attention of a pass's last tokens is noted.

    Raises:
        MnemicError: the model has no such layer.
    """
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    if not -layers <= layer < layers:
        raise MnemicError(f"the model has {layers} layers and none of number {layer}")
    seen: list[Tensor] = []

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        out, _ = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
        if module.layer_idx == layer % layers:
            n, scaling = key.shape[2], kwargs.get("scaling")
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
            logits = query[:, :, -count:].float() @ keys.float().transpose(2, 3) * scale
            later = torch.arange(n) > torch.arange(n - count, n)[:, None]
            logits = logits.masked_fill(later.to(logits.device), -torch.inf)
            seen.append(logits.softmax(-1)[0].sum(0).cpu())
        return out, None

    AttentionInterface.register(LOOKING, attention)
    AttentionMaskInterface.register(LOOKING, sdpa_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(LOOKING)
    try:
        yield seen
    finally:
        model.set_attn_implementation(before)
