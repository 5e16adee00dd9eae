"""Synaptic resonance: beside every layer a pathway that grows while it is used and lasts where it resonates.

    rho_t = sigmoid(tau cos(h_t, c_{t-1}) + b),   c_t = 0.9 c_{t-1} + 0.1 h_t       relevance to the context
    R_t = lambda^(1 - kappa rho_t) R_{t-1} + eta rho_t k_t v_t^T                     Hebbian, also in use
    out_t = layer(h)_t + gamma * W_o (lambda^(1 - kappa rho_t) R_{t-1})^T q_t

|q| = |k| = 1. Relevance raises both what is written and what is retained; since kappa < 1 something is always
forgotten, so R stays below a geometric series. gamma starts at zero: untrained, it is the model.
OUR READING. The paper's abstract says that weight matrices of memory pathways are adjusted continuously by
contextual relevance, in training and inference; it gives no equations. The pathway stands beside the whole
layer, not beside its attention alone, because layers are what all models have.
Structure matrix; attentional bias dot product; retention scalar gate; one gradient step. Paper 73.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.linear import chunked
from mnemic.recurrent.engine.parts import split_heads, wide
from mnemic.recurrent.engine.segments import Segmented, Woven, decoder_layers, woven
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 73
KIND = "wrapper"
CLAIM = Claim(
    says="pathways that grow in use tell a model what it can no longer see",
    task="recurrent_wrappers",
    method="synaptic-resonance",
    baseline="alone",
    sabotage="synaptic-resonance-emptied",
    metric="accuracy",
    budget="the same model, segments and steps of training",
)
CONTEXT = 0.9  # share of the context kept at every token


class Pathway(nn.Module):
    """The memory beside one layer."""

    def __init__(self, dim: int, heads: int, key_dim: int, eta: float) -> None:
        super().__init__()
        self.heads, self.key_dim, self.eta = heads, key_dim, eta
        self.project = nn.Linear(dim, 3 * heads * key_dim, bias=False)
        self.output = nn.Linear(heads * key_dim, dim, bias=False)
        self.gamma = nn.Parameter(torch.zeros(dim))
        self.tau, self.shift = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.zeros(heads))
        self.keep = nn.Parameter(torch.full((heads,), math.log(0.99 / 0.01)))  # sigmoid: lambda = 0.99
        self.kappa = nn.Parameter(torch.zeros(heads))  # sigmoid: half of the forgetting undone at rho = 1

    def forward(self, hidden: Tensor, paths: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [batch, length, dim], R [batch, heads, key_dim, key_dim], c [batch, dim] -> read, R, c."""
        h = wide(F.rms_norm(hidden, hidden.shape[-1:], eps=1e-6))
        ones = torch.ones_like(h[..., :1])
        fade = torch.full_like(h[..., 0], math.log(CONTEXT))
        contexts, after = chunked(ones, ones, (1 - CONTEXT) * h, context[:, None], fade)
        before = torch.cat([context[:, None], contexts[:, :-1]], 1)
        alike = F.cosine_similarity(h, before, dim=-1)[:, None]
        rho = torch.sigmoid(
            wide(self.tau)[:, None] * alike + wide(self.shift)[:, None]
        )  # [batch, heads, length]
        log_keep = F.logsigmoid(wide(self.keep))[:, None] * (1 - torch.sigmoid(wide(self.kappa))[:, None] * rho)
        q, k, v = (split_heads(wide(x), self.heads) for x in self.project(h.to(hidden.dtype)).chunk(3, -1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        write = self.eta * rho[..., None] * v
        read, paths = chunked(q, k, write, paths, log_keep)
        read = read - (q * k).sum(-1, keepdim=True) * write
        beside: Tensor = self.gamma * self.output(read.transpose(1, 2).flatten(2).to(hidden.dtype))
        return beside, paths, after[:, 0]


class Resonance(Segmented):
    """A model with a pathway beside every layer."""

    def __init__(
        self, base: Any, *, segment: int, heads: int, key_dim: int | None, eta: float, depth: int
    ) -> None:
        super().__init__("synaptic-resonance", base, segment=segment, depth=depth)
        if heads < 1 or (key_dim is None and self.dim % heads):
            raise ValueError(f"{heads} heads do not divide a width of {self.dim}; give key_dim, or other heads")
        size = self.dim // heads if key_dim is None else key_dim
        self.pathways = nn.ModuleList(Pathway(self.dim, heads, size, eta) for _ in decoder_layers(base))
        self.pathways.to(base.get_input_embeddings().weight)

    def fresh(self, batch: int) -> Tensors:
        like = wide(self.base.get_input_embeddings().weight[:0])
        memory = {}
        for n, path in enumerate(self.pathways):
            assert isinstance(path, Pathway)
            memory[f"paths-{n}"] = like.new_zeros(batch, path.heads, path.key_dim, path.key_dim)
            memory[f"context-{n}"] = like.new_zeros(batch, self.dim)
        return memory

    def read(self, ids: Tensor, memory: Tensors) -> tuple[Tensor, Tensors]:
        after: Tensors = {}

        def beside(n: int, path: nn.Module) -> Woven:
            def change(given: Tensor, hidden: Tensor) -> Tensor:
                read, after[f"paths-{n}"], after[f"context-{n}"] = path(
                    given, memory[f"paths-{n}"], memory[f"context-{n}"]
                )
                both: Tensor = hidden + read
                return both

            return change

        with woven(decoder_layers(self.base), [beside(n, path) for n, path in enumerate(self.pathways)]):
            out = self.base(input_ids=ids, use_cache=False)
            logits: Tensor = out.logits
        return logits, after


def wrapper(
    base: Any,
    *,
    segment: int = 256,
    heads: int = 4,
    key_dim: int | None = None,
    eta: float = 0.1,
    depth: int = 2,
) -> Resonance:
    """The pathways around a model.

    Args:
        segment: tokens the model itself reads at once; depth: segments over which gradients reach back.
        heads, key_dim: pathways beside a layer and their width: heads * key_dim^2 numbers of state a layer.
        eta: size of a Hebbian step.
    """
    return Resonance(base, segment=segment, heads=heads, key_dim=key_dim, eta=eta, depth=depth)
