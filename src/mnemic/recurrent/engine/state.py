"""A state: the tensors a layer hands on, of a size that does not depend on what was read.

Every tensor has the batch as its first dimension, so rows can be picked, and owns its storage, so
`nbytes` is what the memory really costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
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

    def accepted(self, layer: str, fresh: Tensors, batch: int, growing: Set[str] = frozenset()) -> Tensors:
        """The tensors, for a layer of this name whose fresh state of `batch` rows is `fresh`.

        Raises:
            ValueError: another layer, other options or sizes (the second dimension of what is `growing` may be
                any), or another batch.
        """
        if self.layer != layer:
            raise ValueError(f"this state was made by {self.layer!r}; {layer!r} cannot read on from it")
        if fresh.keys() != self.tensors.keys():
            raise ValueError(
                f"this state holds {sorted(self.tensors)}, but {layer!r} built with these options keeps "
                f"{sorted(fresh)}; use the layer that made it"
            )
        for name, like in fresh.items():
            given = self.tensors[name]
            fixed = slice(2, None) if name in growing else slice(1, None)
            if given.shape[0] != batch:
                raise ValueError(
                    f"this state is of a batch of {given.shape[0]}, but {batch} rows are to be read; "
                    "pick rows with state.rows(index)"
                )
            if given.dim() != like.dim() or given.shape[fixed] != like.shape[fixed]:
                raise ValueError(
                    f"{name} of this state is {list(given.shape)}, but {layer!r} of this size keeps "
                    f"{list(like.shape)}; use a layer of the size that made it"
                )
        return {name: self.tensors[name].to(like.device, like.dtype) for name, like in fresh.items()}

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
