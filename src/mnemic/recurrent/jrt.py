"""Just read twice: a prompt is read ahead, without order, before it is read as ever; the state is no larger.

    A = sum_{j <= M} phi(e_j) [u_j, 1]^T          all M tokens of the prompt, with keys e, values u of their own
    S_t = A + sum_{j <= t} phi(k_j) [v_j, 1]^T,   o_t = (S_t^T phi(q_t))[values] / (S_t^T phi(q_t))[last]

phi are the Taylor features of Based. So the tokens of the prompt see all of it, and what is kept of a token is
chosen knowing what follows; after the prompt the layer goes on as Based, from a state that holds both sums. To
read ahead is to begin from a state: `layer(x, layer.ahead(x))` reads a prompt, every other call is causal.
`prefix` does so through a whole stack; `loss` is the paper's: next token after the prompt, and 0.25 times the
masked tokens of the prompt. Two departures: e and u go through a short convolution of their own, as k and v do
here, and the prompt's last token is never masked, for it says the first token after the prompt. Padding is left
out of both sums (zeroing it before phi would leave phi(0) = [1, 0, ...] in them).
JRT-prompt needs no layer of its own: `repeated` writes the prompt twice, for any causal model.
Arora et al. 2024, paper 54.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.based import taylor
from mnemic.recurrent.engine.matrix import Matrix
from mnemic.recurrent.engine.parts import ShortConv, check_mask, pack, reorder, split_heads, wide
from mnemic.recurrent.engine.stack import Block, Stack
from mnemic.recurrent.engine.state import State
from mnemic.types import Claim

PAPER = 54
KIND = "encoder"
CLAIM = Claim(
    says="at equal state bytes reading ahead finds what two sets share, the large one first, more often",
    task="recurrent",
    options={"task": "disjoint"},
    method="jrt",
    baseline="based",
    sabotage="jrt-emptied",
    metric="accuracy",
    budget="8,960 bytes of state in 2 blocks, the same steps of training",
)


class PrefixLinear(Matrix):
    """Based with a second projection for what is read ahead."""

    def __init__(
        self, dim: int, heads: int, *, key_dim: int, value_dim: int | None, conv: int, chunk: int
    ) -> None:
        super().__init__(
            "jrt", dim, heads, features=taylor, normalised=True,
            key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk,
        )  # fmt: skip
        channels = heads * (self.key_dim + self.value_dim)
        self.project_ahead = nn.Linear(dim, channels, bias=False)
        self.conv_ahead = ShortConv(channels, conv) if conv else None

    def ahead(self, x: Tensor, mask: Tensor | None = None) -> State:
        """The state of one who has read x [batch, length, dim] ahead, mask [batch, length] as in `forward`."""
        check_mask(mask, x)
        if x.numel() == 0:
            return State(self.maker, self.initial(x.shape[0]))
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        order, lengths = pack(mask)
        real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        mixed = self.project_ahead(reorder(x, order).masked_fill(~real.unsqueeze(-1), 0))
        if self.conv_ahead is not None:
            width, channels = self.conv_ahead.weight.shape
            mixed, _ = self.conv_ahead(mixed, mixed.new_zeros(x.shape[0], width - 1, channels), lengths)
        with torch.autocast(x.device.type, enabled=False):
            k, v = mixed.split([self.heads * self.key_dim, self.heads * self.value_dim], -1)
            k, v = taylor(split_heads(wide(k), self.heads)), split_heads(wide(v), self.heads)
            v = torch.cat([v, torch.ones_like(v[..., :1])], -1) * real[:, None, :, None]
            return State(self.maker, self.initial(x.shape[0]) | {"memory": k.mT @ v})


def prefix(stack: Stack, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, list[State]]:
    """Read a prompt ahead and then as ever, block by block: logits [batch, length, vocab] and the states.

    The logits of all but the last token have seen the token they would have to say.

    Raises:
        TypeError: a block whose layer cannot read ahead.
    """
    x, states = stack.embed(ids), []
    for block in cast(Iterable[Block], stack.blocks):
        layer = block.layer
        if not isinstance(layer, PrefixLinear):
            raise TypeError(f"{layer.name!r} cannot read ahead; build the stack of 'jrt' layers")
        x, state = block(x, layer.ahead(block.before_layer(x), mask), mask)
        states.append(state)
    return F.linear(stack.norm(x), stack.embed.weight), states


def loss(
    stack: Stack, ids: Tensor, length: int, mask_id: int, *, mask: Tensor | None = None, masked: float = 0.15,
    weight: float = 0.25, generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """The training loss of texts [batch, n] whose first `length` tokens are the prompt.

    Args:
        mask_id: what stands for a masked token; masked: their share; weight: of the loss on them.
        mask: [batch, n] bool, True where a token is real, wherever it stands.

    Raises:
        ValueError: no token before or after the end of a prompt, or a mask of another shape.
        TypeError: a mask that is not boolean.
    """
    check_mask(mask, ids)
    if not 0 < length < ids.shape[1]:
        raise ValueError(f"a prompt of {length} of {ids.shape[1]} tokens; leave at least one on either side")
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    (first, told), (second, said) = pack(real[:, :length]), pack(real[:, length:])
    if not ((told > 0) & (said > 0)).all():
        raise ValueError("the mask leaves a prompt, or what follows it, without a token; leave that row out")
    prompt, rest = reorder(ids[:, :length], first), reorder(ids[:, length:], second)
    place, last = torch.arange(ids.shape[1], device=ids.device), told[:, None] - 1
    hidden = torch.rand(prompt.shape, generator=generator, device=ids.device) < masked
    hidden &= place[:length] < last
    of_prompt, of_rest = place[:length] <= last, place[: rest.shape[1]] < said[:, None]
    seen, states = prefix(stack, prompt.masked_fill(hidden, mask_id), None if mask is None else of_prompt)
    after, _ = stack(rest[:, :-1], states, None if mask is None else of_rest[:, :-1])
    logits, targets = torch.cat([reorder(seen, last), after], 1), rest.masked_fill(~of_rest, -100)
    following = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    if not hidden.any():
        return following
    return following + weight * F.cross_entropy(seen[hidden], prompt[hidden])


def repeated(ids: Tensor, told: int) -> Tensor:
    """JRT-prompt: ids [batch, n] with their first `told` tokens written twice."""
    return torch.cat([ids[:, :told], ids], 1)


def layer(
    dim: int, heads: int = 4, *, key_dim: int = 8, value_dim: int | None = None, conv: int = 4, chunk: int = 64
) -> PrefixLinear:
    """A layer; its state is that of `based` of the same sizes."""
    return PrefixLinear(dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv, chunk=chunk)
