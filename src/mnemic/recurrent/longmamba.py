"""LongMamba: Mamba that, beyond the length it was trained on, lets its far-sighted heads skip weak tokens.

    a head is global if exp(A sum of dt over a trained length) > `far`: it forgets little within that length
    in global heads:  dt_t <- 0 if dt_t <= theta(t),   theta(S): sum of dt over a text of S tokens, those above
                      theta only, is what all tokens of a trained length sum up to

A step of 0 neither decays nor writes: the token is skipped, in that head alone, so that a longer text spends
as much decay as training did. theta comes from the steps of a text of the trained length (`calibrate`), as if
stretched to S tokens; without, all steps are taken to be softplus(b). Nothing is trained.
The paper's code filters a prompt by its whole length, known ahead, and leaves later tokens alone; here theta
follows the tokens read so far (`expected` if that is more), so that a text can be read on.
Ye et al. 2025, paper 165.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnemic.recurrent.engine.parts import wide
from mnemic.recurrent.engine.state import Tensors
from mnemic.recurrent.mamba import Selective
from mnemic.types import Claim

PAPER = 165
CLAIM = Claim(
    says="without training, skipping weak tokens keeps more over 8 times the trained length",
    task="recurrent_length",
    method="longmamba",
    baseline="mamba",
    sabotage="longmamba-emptied",
    metric="far_8x",
    budget="the same trained weights, the same texts",
)


class Enlarged(Selective):
    """A selective state space with token filtering.

    Attributes:
        expected: tokens the whole text will have, if known: filtering as if they had been read.
    """

    profile: Tensor
    """Steps of a text of the trained length, in each head from large to small, [heads, trained]."""

    def __init__(
        self, dim: int, heads: int, *, trained: int, far: float, size: int, expand: int, conv: int, chunk: int
    ) -> None:
        super().__init__(
            "longmamba", dim, heads, size=size, expand=expand, decay="scalar", conv=conv, chunk=chunk
        )
        if trained < 1 or not 0 <= far < 1:
            raise ValueError(f"trained {trained} must be at least 1 token, far {far} in [0, 1)")
        self.define(trained=trained, far=far)
        self.far, self.expected = far, 0
        start = F.softplus(self.step_bias.detach())
        self.register_buffer("profile", start[:, None].repeat(1, trained))

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Take the steps from texts x [batch, trained length, dim], averaged rank by rank."""
        steps = F.softplus(wide(self.steps(x)) + wide(self.step_bias)).transpose(1, 2)
        self.profile = steps.sort(-1, descending=True).values.mean(0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A calibrated layer's profile is as long as the texts it was calibrated on."""
        given = state_dict.get(prefix + "profile")
        if given is not None and given.shape[:-1] == self.profile.shape[:-1]:
            self.profile = self.profile.new_empty(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def thresholds(self, read: Tensor) -> Tensor:
        """Largest step that is skipped when so many tokens [batch, length] are read: [batch, heads, length]."""
        profile = wide(self.profile)
        heads, trained = profile.shape
        spent = profile.cumsum(-1)
        share = (trained / read.clamp_min(self.expected).clamp_min(1)).clamp_max(1)
        allowed = (spent[:, -1:] * share.flatten()).contiguous()  # [heads, batch * length]
        rank = torch.searchsorted(spent, allowed).clamp_max(trained - 1)
        found = profile.gather(1, rank).reshape(heads, *read.shape).transpose(0, 1)
        total = torch.exp(-wide(self.log_speed).exp()[:, 0] * spent[:, -1])
        return found * (share < 1).unsqueeze(1) * (total > self.far)[:, None]

    def initial(self, batch: int) -> Tensors:
        return super().initial(batch) | {"read": torch.zeros(batch, dtype=torch.int64, device=self.skip.device)}

    def remember(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        length = steps.shape[-1]
        read = memory["read"][:, None] + torch.arange(1, length + 1, device=steps.device)
        steps = steps * (steps > self.thresholds(read))
        y, memory = super().remember(q, k, v, steps, memory, lengths)
        return y, memory | {"read": memory["read"] + (length if lengths is None else lengths)}


def layer(
    dim: int, heads: int = 4, *, trained: int = 64, far: float = 0.05, size: int = 64, expand: int = 1,
    conv: int = 4, chunk: int = 64,
) -> Enlarged:  # fmt: skip
    """A layer.

    Args:
        trained: tokens of the texts that the weights were trained on.
        far: a head that keeps more than this share over a trained length is global.
        size, expand, conv, chunk: as in `Selective`.
    """
    return Enlarged(dim, heads, trained=trained, far=far, size=size, expand=expand, conv=conv, chunk=chunk)
