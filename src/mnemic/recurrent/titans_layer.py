"""Titans, memory as a layer: a window of attention reads what a memory of everything made of the text.

    m_t = M(x)_t,   y_t = m_t + A(norm(x_t + m_t))

M is a Titans layer ("titans") and A attention to the last `window` tokens ("sliding-window"), each with
queries, keys, values and a gate of its own. The paper has A(m_t) alone: a token then says nothing of itself but
what the memory makes of it, and a window cannot hand on what the memory does not know. So both add to the
token, as the blocks of a model do.
Structure perceptron; attentional bias squared error; retention scalar gate; learning rule momentum.
Behrouz et al. 2024, paper 35 (MAL).
"""

from __future__ import annotations

from torch import Tensor, nn

from mnemic.recurrent.engine.layer import Layer
from mnemic.recurrent.engine.plastic import Plastic
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.engine.windowed import Windowed
from mnemic.recurrent.titans import layer as titans
from mnemic.types import Claim

PAPER = 35
CLAIM = Claim(
    says="at equal state bytes a window over what a memory says recalls more than a window alone",
    task="recurrent",
    method="titans-layer",
    baseline="sliding-window",
    sabotage="titans-layer-emptied",
    metric="accuracy",
    budget="4,160 to 4,800 bytes of state, the same steps of training",
)


class MemoryAsLayer(Layer):
    """A memory, then a window.

    Args:
        memory, window: the two layers, of one width.
    """

    def __init__(self, memory: Plastic, window: Windowed) -> None:
        super().__init__("titans-layer", memory.dim)
        self.maker += memory.maker.removeprefix(memory.name)
        self.memory, self.window = memory, window
        self.norm = nn.RMSNorm(self.dim)

    def initial(self, batch: int) -> Tensors:
        return _named("memory", self.memory.initial(batch)) | _named("window", self.window.initial(batch))

    def run(self, x: Tensor, tensors: Tensors, lengths: Tensor | None) -> tuple[Tensor, Tensors]:
        said, memory = self.memory.run(x, _of("memory", tensors), lengths)
        seen, window = self.window.run(self.norm(x + said), _of("window", tensors), lengths)
        return said + seen, _named("memory", memory) | _named("window", window)


def _named(part: str, tensors: Tensors) -> Tensors:
    return {f"{part}.{name}": t for name, t in tensors.items()}


def _of(part: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}


def layer(
    dim: int, heads: int = 4, *, window: int = 64, depth: int = 2, expansion: int = 4, chunk: int = 16,
    max_rate: float = 0.4, key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
) -> MemoryAsLayer:  # fmt: skip
    """A layer.

    Args:
        window: tokens the attention sees.
        depth, expansion, chunk, max_rate: of the memory, as in "titans"; the others are of both.
    """
    memory = titans(
        dim, heads, depth=depth, expansion=expansion, chunk=chunk, max_rate=max_rate,
        key_dim=key_dim, value_dim=value_dim, conv=conv,
    )  # fmt: skip
    attention = Windowed(
        "sliding-window", dim, heads, window=window, key_dim=key_dim, value_dim=value_dim, conv=conv
    )
    return MemoryAsLayer(memory, attention)
