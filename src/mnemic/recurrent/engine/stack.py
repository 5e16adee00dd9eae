"""A language model of recurrent layers: tokens in, logits and the layers' states out.

x = embed(ids);   for every block: x = x + layer(norm(x)),  x = x + mlp(norm(x));   logits = head(norm(x))
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.parts import HeadNorm
from mnemic.recurrent.engine.state import State


class SwishMLP(nn.Module):
    """W_3 (silu(W_1 x) * W_2 x), `inner` wide inside."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, 2 * inner, bias=False), nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        y: Tensor = self.down(F.silu(gate) * value)
        return y


class Block(nn.Module):
    def __init__(self, layer: Layer, inner: int) -> None:
        super().__init__()
        self.layer, self.mlp = layer, SwishMLP(layer.dim, inner)
        self.before_layer, self.before_mlp = HeadNorm(layer.dim), HeadNorm(layer.dim)

    def forward(self, x: Tensor, state: State | None, mask: Tensor | None) -> tuple[Tensor, State]:
        y, state = self.layer(self.before_layer(x), state, mask)
        x = x + y
        return x + self.mlp(self.before_mlp(x)), state


class Stack(nn.Module):
    """A causal model of the given layers, one block each; embedding and head share their weights.

    Args:
        inner: width of the MLPs; twice that of the model if not given.
    """

    def __init__(self, vocab: int, layers: Sequence[Layer], *, inner: int | None = None) -> None:
        super().__init__()
        dim = layers[0].dim
        self.embed = nn.Embedding(vocab, dim)
        nn.init.normal_(self.embed.weight, std=dim**-0.5)
        self.blocks = nn.ModuleList(Block(layer, 2 * dim if inner is None else inner) for layer in layers)
        self.norm = HeadNorm(dim)

    def forward(
        self, ids: Tensor, states: Sequence[State] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """ids [batch, length] -> (logits [batch, length, vocab], one state a block)."""
        hidden, kept = self.read(self.embed(ids), states, mask)
        return self.logits(hidden), kept

    def read(
        self,
        x: Tensor,
        states: Sequence[State] | None,
        mask: Tensor | None,
        between: list[Tensor] | None = None,
    ) -> tuple[Tensor, list[State]]:
        """Embeddings [batch, length, dim] -> (what goes into the head, of the same shape, one state a block).

        What goes into every block is appended to `between`.
        """
        kept = []
        for i, block in enumerate(self.blocks):
            if between is not None:
                between.append(x)
            x, state = block(x, None if states is None else states[i], mask)
            kept.append(state)
        hidden: Tensor = self.norm(x)
        return hidden, kept

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)
