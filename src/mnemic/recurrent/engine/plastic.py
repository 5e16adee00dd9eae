"""A layer whose memory is a network learnt while reading: gates, initial weights and the engine `network`.

    keep_t = 1 - sigmoid(W x + a),  eta_t = sigmoid(W x + b),  theta_t = max_rate sigmoid(W x + c),   per head

and, where the choices ask for them, a token's weight in a window and its threshold. Gates start so that the
memory is kept and momentum is short: with all at one half a memory forgets as fast as it learns, and what is
written of a token lands, by half, after the next. The memory itself starts empty where it can
(`Structure.scales`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnemic.recurrent.engine.associative import Associative
from mnemic.recurrent.engine.network import Gates, Network
from mnemic.recurrent.engine.parts import wide
from mnemic.recurrent.engine.state import Tensors


class Plastic(Associative):
    """A memory that is a network; queries and keys have length 1.

    Args:
        network: the choices that make it.
        max_rate: the largest step a token can ask for, over the structure's gain: 1 mends its whole error.
        thresholds: whether every token sets a threshold for the attentional bias, softplus(W x + 1) per head.
        features: map of normalised queries and keys, [..., key_dim] -> [..., any size]; None: as they are.

    Raises:
        ValueError: sizes that do not fit, or a step that is not above 0.
    """

    def __init__(
        self, name: str, dim: int, heads: int, network: Network, *, max_rate: float = 1.0,
        thresholds: bool = False, features: Callable[[Tensor], Tensor] | None = None,
        key_dim: int | None = None, value_dim: int | None = None, conv: int = 4,
    ) -> None:  # fmt: skip
        super().__init__(name, dim, heads, key_dim=key_dim, value_dim=value_dim, conv=conv)
        if not max_rate > 0:
            raise ValueError(f"a largest step is above 0, not {max_rate}")
        self.define(chunk=network.chunk, max_rate=max_rate)
        self.network, self.features = network, features
        self.feature_dim = self.key_dim if features is None else features(torch.zeros(self.key_dim)).shape[-1]
        self.max_rate = max_rate / network.structure.gain(self.feature_dim)
        starts = {"rate": 0.0, "forget": -5.0}
        starts |= ({"momentum": -3.0} if network.momentum else {}) | ({"threshold": 1.0} if thresholds else {})
        starts |= {"weight": 0.0} if network.window > 1 else {}
        self.gates = nn.ModuleDict({name: nn.Linear(dim, heads) for name in starts})
        for name, start in starts.items():
            nn.init.constant_(self.gates[name].bias, start)  # type: ignore[arg-type]
        self.weights = nn.ParameterList(
            torch.randn(heads, rows, columns) * scale
            for (rows, columns), scale in zip(
                network.structure.shapes(self.feature_dim, self.value_dim),
                network.structure.scales(self.feature_dim, self.value_dim),
                strict=True,
            )
        )

    def fresh(self, batch: int) -> Tensors:
        return self.network.fresh(self.rest(), batch, self.feature_dim, self.value_dim)

    def rest(self) -> list[Tensor]:
        """The weights that every text begins with."""
        return [wide(w) for w in self.weights]

    def remember(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, memory: Tensors, lengths: Tensor | None
    ) -> tuple[Tensor, Tensors]:
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if self.features is not None:
            q, k = self.features(q), self.features(k)
        return self.network.read(q, k, v, self.asked(x), memory, lengths, self.rest())

    def asked(self, x: Tensor) -> Gates:
        """What the tokens [batch, length, dim] ask of the memory."""
        asked = {name: wide(gate(x)).transpose(1, 2) for name, gate in self.gates.items()}
        return Gates(
            rate=self.max_rate * torch.sigmoid(asked["rate"]),
            log_keep=F.logsigmoid(-asked["forget"]),
            log_momentum=F.logsigmoid(asked["momentum"]) if "momentum" in asked else None,
            weight=torch.sigmoid(asked["weight"]) if "weight" in asked else None,
            threshold=F.softplus(asked["threshold"]) if "threshold" in asked else None,
        )
