"""Rotary positions, taken off keys and put on again with the model's own parameters.

A rotary embedding turns the pair (x_i, x_{i + r/2}) of a query or key at position p by the angle p·f_i and
scales it by s (s is 1 but for YaRN and its kin):

    R_p x = s (x cos(pf) + rotate_half(x) sin(pf)),        <R_p q, R_n k> depends on p - n only.

A key with its position taken off can be placed anywhere: at its rank in a cache (streaming, paper 0), or at
a distance no larger than the model was trained on (LM-Infinite 170, InfLLM 68, EM-LLM 60).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnemic.types import MnemicError


@dataclass(frozen=True)
class Rotary:
    """The rotary embedding of one attention layer.

    Attributes:
        module: the model's own rotary module; dynamic scaling changes its frequencies as the text grows.
        prefix: of the attribute names there, for models whose layers differ ("sliding_attention_"), else "".
    """

    module: Any
    prefix: str = ""

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [..., n, r] of positions [..., n], computed as the model computes them; unscaled."""
        frequency = getattr(self.module, self.prefix + "inv_freq").float()
        angle = positions[..., None].float() * frequency.to(positions.device)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)

    @property
    def scale(self) -> float:
        return float(getattr(self.module, self.prefix + "attention_scaling", 1.0))

    def place(self, x: Tensor, positions: Tensor) -> Tensor:
        """R_p x: x [b, h, n, d] at positions, broadcast to [b, h, n]."""
        return self._turn(x, positions, forward=True)

    def lift(self, x: Tensor, positions: Tensor) -> Tensor:
        """R_p^-1 x: takes the positions off again."""
        return self._turn(x, positions, forward=False)

    def _turn(self, x: Tensor, positions: Tensor, forward: bool) -> Tensor:
        cos, sin = self.angles(positions)
        turned, rest = x[..., : cos.shape[-1]].float(), x[..., cos.shape[-1] :]
        one, two = turned.chunk(2, dim=-1)
        half = torch.cat((-two, one), dim=-1)
        if forward:
            turned = (turned * cos + half * sin) * self.scale
        else:
            turned = (turned * cos - half * sin) / self.scale
        turned = turned.to(x.dtype)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def rotary_of(model: Any, layer_type: str | None = None) -> Rotary:
    """The rotary embedding of a model's layers of that type.

    Raises:
        MnemicError: the model has none, or turns other pairs of channels than i and i + r/2.
    """
    for module in model.modules():
        prefix = f"{layer_type}_" if hasattr(module, f"{layer_type}_inv_freq") else ""
        if hasattr(module, prefix + "inv_freq"):
            rotary = Rotary(module, prefix)
            _check_layout(model, rotary)
            return rotary
    raise MnemicError(
        f"{type(model).__name__} has no rotary positions, so its keys cannot be placed elsewhere; "
        "choose a method that keeps true positions, such as full, h2o or snapkv"
    )


def _check_layout(model: Any, rotary: Rotary) -> None:
    """Compare with the function the model itself rotates by."""
    attention = next((m for m in model.modules() if hasattr(m, "layer_idx") and hasattr(m, "scaling")), None)
    own = getattr(sys.modules.get(type(attention).__module__), "apply_rotary_pos_emb", None)
    if attention is None or own is None:
        raise MnemicError(
            f"cannot see how {type(model).__name__} applies its rotary positions; "
            "choose a method that keeps true positions, such as full, h2o or snapkv"
        )
    width = int(getattr(attention, "head_dim", None) or attention.head_size)
    probe = torch.randn(1, 1, 3, width, generator=torch.Generator().manual_seed(0))
    probe = probe.to(getattr(rotary.module, rotary.prefix + "inv_freq").device)
    positions = torch.tensor([[1, 5, 9]], device=probe.device)
    cos, sin = (part * rotary.scale for part in rotary.angles(positions))
    theirs = own(probe, probe, cos, sin)[0]
    ours = rotary.place(probe, positions[:, None])
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, atol=1e-5):
        raise MnemicError(
            f"{type(model).__name__} rotates other channel pairs than i and i + r/2, which is not supported "
            "for moving keys; choose a method that keeps true positions, such as full, h2o or snapkv"
        )
