"""A state: the tensors a layer hands on, of a size that does not depend on what was read.

Every tensor has the batch as its first dimension, so rows can be picked, and owns its storage, so
`nbytes` is what the memory really costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mnemic.types import MnemicError

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class State:
    """What a layer remembers of what it read.

    Attributes:
        layer: name of the layer that made it, with options that its shapes do not show; only such a layer
            accepts it.
        tensors: name to tensor [batch, ...].
    """

    layer: str
    tensors: Mapping[str, Tensor]

    @property
    def batch(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all storages held, for the whole batch."""
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in self.tensors.values()}
        return sum(storage.nbytes() for storage in storages.values())

    def rows(self, index: Tensor) -> State:
        """The state of some rows of the batch, in the order of `index` (beam search, a new batch)."""
        return State(self.layer, {name: t.index_select(0, index) for name, t in self.tensors.items()})

    def detach(self) -> State:
        """The same memory without its history: gradients stop here."""
        return State(self.layer, {name: t.detach() for name, t in self.tensors.items()})

    def to(self, device: torch.device | str) -> State:
        return State(self.layer, {name: t.to(device) for name, t in self.tensors.items()})

    def save(self, path: str | Path) -> None:
        """Write the state to one safetensors file, of the same size however much was read."""
        from safetensors.torch import save_file

        tensors = {name: t.detach().contiguous() for name, t in self.tensors.items()}
        save_file(tensors, str(path), metadata={"layer": self.layer})

    @classmethod
    def load(cls, path: str | Path) -> State:
        """Read a state that `save` wrote.

        Raises:
            MnemicError: the file holds no state.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                layer = (file.metadata() or {}).get("layer")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise MnemicError(f"{path} cannot be read as a state: {error}; write one with state.save") from None
        if layer is None or not tensors:
            raise MnemicError(f"{path} holds tensors but no state of a layer; write one with state.save")
        return cls(layer, tensors)
