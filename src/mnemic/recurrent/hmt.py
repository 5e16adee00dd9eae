"""Hierarchical memory: a model around which segments leave memories, recalled by what the next one is about.

    sensory     the last tokens of the segment before, read again in front of the segment
    short-term  m_{s-1}, the memory the segment before left behind
    long-term   the queue of the last N memories; what is recalled of it is
                p = softmax((W_q c)^T (W_k M) / sqrt(h)) M,   c: the model's summary of [T, first half, T]

    the model reads   [m_{s-1}, sensory, first half, p, second half, p]   and m_s is what it says of the last p

Memories are read as input embeddings, so they are brought to the embeddings' length first. T, W_q, W_k and the
memory before the first segment are learnt, with or without the model. Departure: in the paper p stands in front
of the whole segment, whose first half is then predicted with a summary of itself; here p follows that half.
He et al. 2024, paper 65.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.parts import wide
from mnemic.recurrent.engine.segments import Segmented
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 65
KIND = "wrapper"
CLAIM = Claim(
    says="memories of segments tell a model what it can no longer see",
    task="recurrent_wrappers",
    method="hmt",
    baseline="alone",
    sabotage="hmt-emptied",
    metric="accuracy",
    budget="the same model, segments and steps of training",
)


class Hierarchical(Segmented):
    """The memory; `memories` 0 leaves the model alone with its sensory tokens."""

    def __init__(
        self, base: Any, *, segment: int, sensory: int, memories: int, width: int | None, depth: int
    ) -> None:
        super().__init__("hmt", base, segment=segment, depth=depth)
        if sensory < 0 or memories < 0 or sensory > segment:
            raise ValueError(
                f"sensory {sensory}, memories {memories}: at least 0, and no more sensory tokens than "
                f"the {segment} of a segment"
            )
        self.sensory, self.memories = sensory, memories
        table = base.get_input_embeddings().weight.detach()
        self.length = float(table.float().square().mean().sqrt())
        self.dim = int(table.shape[1])  # memories are read as embeddings
        width = self.dim if width is None else width
        like = {"device": table.device, "dtype": table.dtype}
        self.query, self.key = (nn.Linear(self.dim, width, bias=False, **like) for _ in range(2))
        self.topic = nn.Parameter(self.length * torch.randn(self.dim, **like))
        self.first = nn.Parameter(self.length * torch.randn(self.dim, **like))

    def fresh(self, batch: int) -> Tensors:
        queue = self.first.new_zeros(batch, self.memories, self.dim)
        held = torch.zeros(batch, dtype=torch.int64, device=queue.device)
        if self.memories:
            queue = torch.cat([queue[:, 1:], self.first.expand(batch, 1, -1)], 1)
            held = held + 1
        return {
            "queue": queue,
            "held": held,
            "sensory": torch.zeros(batch, self.sensory, dtype=torch.int64, device=queue.device),
            "seen": torch.zeros_like(held),
        }

    def read(self, ids: Tensor, memory: Tensors) -> tuple[Tensor, Tensors]:
        embed = self.base.get_input_embeddings()
        seen = int(memory["seen"].max())
        sensory = memory["sensory"][:, self.sensory - seen :]
        half = (self.segment + 1) // 2
        tokens = embed(ids)
        parts, recalled = [embed(sensory), tokens], None
        if self.memories:
            parts = [self.scaled(memory["queue"][:, -1:]), embed(sensory), tokens[:, :half]]
            if ids.shape[1] >= half:
                recalled = self.recalled(tokens[:, :half], memory)
                parts += [recalled, tokens[:, half:], recalled]
        logits, hidden = self.said(torch.cat(parts, 1))
        start = parts[0].shape[1] + sensory.shape[1] if self.memories else sensory.shape[1]
        logits = logits[:, start:]
        if recalled is not None:
            logits = torch.cat([logits[:, :half], logits[:, half + 1 : -1]], 1)
        after = dict(memory)
        if self.memories:
            after["queue"] = torch.cat([memory["queue"][:, 1:], hidden[:, -1:]], 1)
            after["held"] = (memory["held"] + 1).clamp_max(self.memories)
        if self.sensory:
            after["sensory"] = torch.cat([memory["sensory"], ids], 1)[:, -self.sensory :]
            after["seen"] = (memory["seen"] + ids.shape[1]).clamp_max(self.sensory)
        return logits, after

    def recalled(self, half: Tensor, memory: Tensors) -> Tensor:
        """[batch, 1, dim]: what the queue holds on the topic of half a segment [batch, length, dim]."""
        topic = self.topic.expand(half.shape[0], 1, -1)
        _, hidden = self.said(torch.cat([topic, half, topic], 1))
        queue = memory["queue"]
        scores = self.query(hidden[:, -1:]) @ self.key(queue).mT / math.sqrt(self.query.out_features)
        place = torch.arange(self.memories, 0, -1, device=queue.device)
        scores = scores.masked_fill(place > memory["held"][:, None, None], -torch.inf)
        return self.scaled(F.softmax(wide(scores), -1).to(queue.dtype) @ queue)

    def said(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and last hidden states of the model."""
        out = self.base(inputs_embeds=embeddings, use_cache=False, output_hidden_states=True)
        return out.logits, out.hidden_states[-1]

    def scaled(self, memories: Tensor) -> Tensor:
        return self.length * F.rms_norm(memories, memories.shape[-1:], eps=1e-6)


def wrapper(
    base: Any, *, segment: int = 256, sensory: int = 32, memories: int = 100, width: int | None = None,
    depth: int = 2,
) -> Hierarchical:  # fmt: skip
    """The memory around a model.

    Args:
        segment, sensory: tokens read at once, and of the segment before again.
        memories: length N of the queue; the state holds N * dim numbers.
        width: channels h in which memories are compared; the model's own if not given.
        depth: segments over which gradients reach back.
    """
    return Hierarchical(base, segment=segment, sensory=sensory, memories=memories, width=width, depth=depth)
