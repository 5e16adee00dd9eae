"""Gated associative memory: a short convolution, and a softmax over a bank of learnt patterns.

    local = conv(x),   global = softmax(x M^T) M,   y = sigmoid(a) * local + sigmoid(b) * global,   (a, b) = W x

The bank M is a parameter that no token changes: "associative memory" here is looking up what training wrote,
as a feed-forward layer does. What is remembered of a text is the convolution's window alone, so nothing read
before it can be recalled. Acharya 2025, paper 74.
"""

import torch
from torch import Tensor, nn

from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.parts import ShortConv, split_heads
from mnemic.recurrent.engine.state import Tensors
from mnemic.types import Claim

PAPER = 74
CLAIM = Claim(
    says="a bank of learnt patterns reads more tokens a second than attention",
    task="recurrent_speed",
    method="gam",
    baseline="attention",
    sabotage="gam, by token",
    metric="tokens_per_second",
    budget="the same text of 2,048 tokens, the same width",
)


class PatternBank(Layer):
    """Banks side by side, each over its share of the channels."""

    def __init__(self, dim: int, banks: int, slots: int, conv: int) -> None:
        super().__init__("gam", dim)
        if banks < 1 or dim % banks:
            raise ValueError(f"{banks} banks do not divide a width of {dim}")
        if slots < 1 or conv < 1:
            raise ValueError(f"slots {slots} and conv {conv} must be at least 1")
        self.conv, self.shift = ShortConv(dim, conv), nn.Parameter(torch.zeros(dim))
        self.bank = nn.Parameter(torch.empty(banks, slots, dim // banks))
        nn.init.xavier_uniform_(self.bank)
        self.gates = nn.Linear(dim, 2 * dim)

    def initial(self, batch: int) -> Tensors:
        width, channels = self.conv.weight.shape
        return {"past": self.conv.weight.new_zeros(batch, width - 1, channels)}

    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        local, past = self.conv.mix(x, tensors["past"], lengths)
        parts = split_heads(x, self.bank.shape[0])
        found = torch.softmax(parts @ self.bank.mT, -1) @ self.bank
        a, b = torch.sigmoid(self.gates(x)).chunk(2, -1)
        y = a * (local + self.shift) + b * found.transpose(1, 2).flatten(2)
        if lengths is not None:
            y = y * (torch.arange(x.shape[1], device=x.device) < lengths[:, None]).unsqueeze(-1)
        return y, {"past": past}


def layer(dim: int, heads: int = 1, *, slots: int = 512, conv: int = 3) -> PatternBank:
    """A layer.

    Args:
        heads: banks side by side; the paper has one.
        slots: patterns in a bank.
        conv: tokens the convolution sees, the only ones remembered.
    """
    return PatternBank(dim, heads, slots, conv)
