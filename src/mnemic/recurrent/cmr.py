"""Contextual memory reweaving: hidden states of surprising tokens come back, layer by layer, in later segments.

    r_t = softmax((W_q h_t)^T (W_k B_l) / sqrt(d)) W_v B_l          B_l: what layer l kept of earlier segments
    h_t <- h_t + g_t W_d gelu(W_u r_t),   g_t = sigmoid(w.[h_t, r_t] + b)

at a quarter, half and three quarters of the layers; h is normalised before it is compared. Of every segment the
`slots` tokens with the largest surprisal -log p(x_t | x_<t) are kept, the oldest leave; no gradient goes into
what is kept. W_d starts at zero, b at -3: untrained, it is the model.
OUR READING. The paper's abstract says that latent states of several layers are kept, rebuilt layer by layer and
woven into later tokens, most of all rare ones; it does not say which layers, what is stored and how it is
rebuilt. Paper 27.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.segments import Segmented, Woven, decoder_layers, woven
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 27
KIND = "wrapper"
CLAIM = Claim(
    says="hidden states of surprising tokens tell a model what it can no longer see",
    task="recurrent_wrappers",
    method="cmr",
    baseline="alone",
    sabotage="cmr-emptied",
    metric="accuracy",
    budget="the same model, segments and steps of training",
)


class Reweave(nn.Module):
    """Rebuilds from kept hidden states what a layer's output lacks."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.up, self.down = (
            nn.Linear(dim, dim, bias=False) for _ in range(5)
        )
        self.gate = nn.Linear(2 * dim, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.constant_(self.gate.bias, -3.0)

    def forward(self, hidden: Tensor, kept: Tensor, real: Tensor) -> Tensor:
        """hidden [batch, length, dim], kept [batch, slots, dim], real [batch, slots] -> like hidden."""
        h, b = (F.rms_norm(x, x.shape[-1:], eps=1e-6) for x in (hidden, kept))
        scores = self.query(h) @ self.key(b).mT / math.sqrt(h.shape[-1])
        scores = scores.masked_fill(~real[:, None], torch.finfo(scores.dtype).min)
        r = F.softmax(scores, -1) @ self.value(b) * real.any(1)[:, None, None]
        gate = torch.sigmoid(self.gate(torch.cat([h, r], -1)))
        woven_in: Tensor = hidden + gate * self.down(F.gelu(self.up(r)))
        return woven_in


class Reweaving(Segmented):
    """The memory: per chosen layer the kept hidden states, all from the same tokens."""

    def __init__(self, base: Any, *, segment: int, slots: int, segments: int) -> None:
        super().__init__("cmr", base, segment=segment, depth=1)
        if not 1 <= slots <= segment or segments < 1:
            raise ValueError(f"slots {slots}, segments {segments}: at least 1, and at most {segment} slots")
        self.slots, self.segments = slots, segments
        layers = len(decoder_layers(base))
        self.chosen = sorted({layers // 4, layers // 2, 3 * layers // 4})
        self.reweave = nn.ModuleList(Reweave(self.dim) for _ in self.chosen)
        self.reweave.to(base.get_input_embeddings().weight)

    def fresh(self, batch: int) -> Tensors:
        like = self.base.get_input_embeddings().weight
        size = self.slots * self.segments
        kept = {f"layer-{n}": like.new_zeros(batch, size, self.dim) for n in self.chosen}
        return kept | {"held": torch.zeros(batch, dtype=torch.int64, device=like.device)}

    def read(self, ids: Tensor, memory: Tensors) -> tuple[Tensor, Tensors]:
        size = self.slots * self.segments
        place = torch.arange(size, 0, -1, device=ids.device)
        real = place <= memory["held"][:, None]
        outputs: Tensors = {}

        def weave(n: int, module: nn.Module) -> Woven:
            def change(given: Tensor, hidden: Tensor) -> Tensor:
                outputs[f"layer-{n}"] = hidden = module(hidden, memory[f"layer-{n}"], real)
                return hidden

            return change

        layers = decoder_layers(self.base)
        change = [weave(n, module) for n, module in zip(self.chosen, self.reweave, strict=True)]
        with woven([layers[n] for n in self.chosen], change):
            logits = self.base(input_ids=ids, use_cache=False).logits
        count = min(self.slots, ids.shape[1])
        index = surprisal(logits, ids).topk(count, 1).indices.sort(1).values[:, :, None]
        after = {
            name: torch.cat([memory[name], t.gather(1, index.expand(-1, -1, self.dim)).detach()], 1)[:, count:]
            for name, t in outputs.items()
        }
        return logits, after | {"held": (memory["held"] + count).clamp_max(size)}


@torch.no_grad()
def surprisal(logits: Tensor, ids: Tensor) -> Tensor:
    """-log p of every token [batch, length] given those before it; 0 for the first, which nothing foretells."""
    log = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return F.pad(-log, (1, 0))


def wrapper(base: Any, *, segment: int = 256, slots: int = 16, segments: int = 64) -> Reweaving:
    """The memory around a model.

    Args:
        segment: tokens read at once; slots: how many of them are kept.
        segments: how many are remembered; the state holds slots * segments * dim numbers a chosen layer.
    """
    return Reweaving(base, segment=segment, slots=slots, segments=segments)
