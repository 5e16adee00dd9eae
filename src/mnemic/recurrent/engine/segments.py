"""A memory around any Hugging Face causal model: the model reads segment after segment, the memory joins them.

    for every segment:  logits, memory = read(segment, memory)

The model itself sees one segment at a time, so its cost a token does not grow. A segment is counted from the
start of the text; one that is not yet full is kept as ids and read again with what follows, and is remembered
when it is full. So any split of the text gives the same logits, and the same gradients. Hooks are on the model
only while it reads here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.parts import check_mask, pack, reorder
from mnemic.recurrent.engine.state import State, Tensors

Woven = Callable[[Tensor, Tensor], Tensor]
"""(hidden states a layer was given, those it gave) [batch, length, dim] -> what goes on in place of these."""


class Segmented(nn.Module):
    """A causal model with a memory from segment to segment.

    Args:
        base: a Hugging Face causal model; trained along, unless its parameters are frozen.
        segment: tokens the model reads at once.
        depth: segments over which gradients reach back through the memory at most; they stop before every
            depth-th segment of the text.

    Raises:
        ValueError: a segment or depth below 1.
    """

    def __init__(self, name: str, base: Any, *, segment: int, depth: int) -> None:
        super().__init__()
        if segment < 1 or depth < 1:
            raise ValueError(f"segment {segment} and depth {depth}: both are at least 1")
        self.name, self.base, self.segment, self.depth = name, base, segment, depth
        self.dim = int(base.config.hidden_size)  # what layers give; embeddings may be narrower

    @abstractmethod
    def fresh(self, batch: int) -> Tensors:
        """The memory before anything was read: tensors [batch, ...]."""

    @abstractmethod
    def read(self, ids: Tensor, memory: Tensors) -> tuple[Tensor, Tensors]:
        """Read a segment [batch, 1..segment] -> (logits [batch, length, vocab], memory after a whole one)."""

    def initial(self, batch: int) -> Tensors:
        at = {"dtype": torch.int64, "device": self.base.get_input_embeddings().weight.device}
        return self.fresh(batch) | {
            "open": torch.zeros(batch, self.segment, **at),
            "count": torch.zeros(batch, **at),
        }

    def forward(
        self, ids: Tensor, state: State | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read on from a state: ids [batch, length] -> logits [batch, length, vocab] and the state.

        Rows of different lengths, or at different places of a segment, are read one kind after the other.

        Args:
            mask: [batch, length] bool, True where a token is real. The others change nothing, wherever they
                stand, and their logits are zero.

        Raises:
            ValueError: a state of another wrapper, size or batch, or a mask of another shape.
            TypeError: a mask that is not boolean.
        """
        check_mask(mask, ids)
        memory = self.initial(ids.shape[0])
        if state is not None:
            memory = state.accepted(self.name, memory, ids.shape[0])
        if ids.numel() == 0:
            nothing = self.base.get_input_embeddings().weight.new_zeros(*ids.shape, self.base.config.vocab_size)
            return nothing, State(self.name, memory)
        count, period = memory["count"], self.segment * self.depth
        place = torch.where(count < period, count, period + count % period)
        if mask is None and bool((place == place[0]).all()):
            return self.together(ids, memory)
        order, lengths = pack(torch.ones_like(ids, dtype=torch.bool) if mask is None else mask)
        packed = reorder(ids, order)
        kinds: dict[tuple[int, int], list[int]] = {}
        for row, kind in enumerate(zip(place.tolist(), lengths.tolist(), strict=True)):
            kinds.setdefault(kind, []).append(row)
        read, outputs, states = [], [], []
        for (_, length), rows in kinds.items():
            own = torch.tensor(rows, device=ids.device)
            read.append(own)
            logits, after = self(packed[own, :length], State(self.name, memory).rows(own))
            outputs.append(F.pad(logits, (0, 0, 0, ids.shape[1] - length)))
            states.append(after.tensors)
        back = torch.cat(read).argsort()
        joined = {name: torch.cat([tensors[name] for tensors in states]) for name in memory}
        return reorder(torch.cat(outputs)[back], order.argsort(1)), State(self.name, joined).rows(back)

    def together(self, ids: Tensor, memory: Tensors) -> tuple[Tensor, State]:
        """The same for rows at one place of a segment, with the tensors of their state."""
        open, count = memory["open"], memory["count"]
        memory = {name: t for name, t in memory.items() if name not in ("open", "count")}
        first, before = divmod(int(count[0]), self.segment)
        text = torch.cat([open[:, :before], ids], 1)
        outputs = []
        for n, piece in enumerate(torch.split(text, self.segment, 1), first):
            if n and n % self.depth == 0:
                memory = {name: t.detach() for name, t in memory.items()}
            logits, after = self.read(piece, memory)
            outputs.append(logits)
            if piece.shape[1] == self.segment:
                memory = after
        left = text.shape[1] % self.segment
        open = torch.zeros_like(open)
        open[:, :left] = text[:, text.shape[1] - left :]
        memory = memory | {"open": open, "count": count + ids.shape[1]}
        return torch.cat(outputs, 1)[:, before:], State(self.name, memory)

    @torch.no_grad()
    def generate(
        self, ids: Tensor, max_new_tokens: int, state: State | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The likeliest tokens after ids, one by one: ids [batch, max_new_tokens] and the state after all.

        Args:
            mask: as in `forward`; a row goes on from its last real token.

        Raises:
            ValueError: a row without tokens, and what `forward` refuses.
        """
        check_mask(mask, ids)
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        if not real.any(1).all():
            raise ValueError("a row without tokens has none to go on from; keep its last one unread until here")
        end = torch.where(real, torch.arange(ids.shape[1], device=ids.device), -1).amax(1, keepdim=True)
        said = []
        logits, state = self(ids, state, mask)
        logits = reorder(logits, end)
        for _ in range(max_new_tokens):
            said.append(logits.argmax(-1))
            logits, state = self(said[-1], state)
        assert state is not None
        return torch.cat([ids[:, :0], *said], 1), state


def decoder_layers(base: Any) -> list[nn.Module]:
    """The model's layers, whatever they are called.

    Raises:
        ValueError: none are found.
    """
    wanted = base.config.num_hidden_layers
    for module in base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise ValueError(f"no list of {wanted} layers is found in a {type(base).__name__}; use a decoder of layers")


@contextmanager
def woven(layers: Sequence[nn.Module], change: Sequence[Woven]) -> Iterator[None]:
    """Have what every layer gives replaced by what `change` makes of it, inside the `with` block."""

    def hook(weave: Woven) -> Callable[..., Any]:
        def call(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Any) -> Any:
            hidden = given[0] if given else named["hidden_states"]
            if isinstance(result, tuple):
                return weave(hidden, result[0]), *result[1:]
            return weave(hidden, result)

        return call

    with ExitStack() as stack:
        for layer, weave in zip(layers, change, strict=True):
            stack.callback(layer.register_forward_hook(hook(weave), with_kwargs=True).remove)
        yield
