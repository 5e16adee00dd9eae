"""A method of cache memory whose choices are drawn by lot: the twin that must fail where the method does not.

As many tokens stay, the same bytes are taken, in the same places; only what decides is shuffled:

    which slots stay           their scores, among the slots that may go
    what merges into what      the targets, among the slots that leave
    what is recalled           the scores of units; the channels that clusters are asked with
    which heads remember all   as many others
    what is kept in few bytes  the keys of a block, among its tokens
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mnemic.kv.clustered import Clustered
from mnemic.kv.heads import Headwise
from mnemic.kv.merged import Classes, Merged
from mnemic.kv.mikv import Balanced
from mnemic.kv.minicache import Half
from mnemic.kv.packed import Packed
from mnemic.kv.policy import Layer, Policy, Store
from mnemic.kv.slots import PAD, Slots
from mnemic.kv.task_kv import Parted
from mnemic.kv.tiered import Tiered


def scrambled(policy: Policy, model: Any, seed: int = 0) -> Policy:
    """The twin of a policy that is prepared for the model."""
    if isinstance(policy, Headwise):
        return replace(policy, retrieval=_other_heads(policy.retrieval or (), model, seed))
    return Scrambled(over=policy, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Scrambled(Policy):
    """`over` with the choices of its stores shuffled, by `seed` and layer."""

    over: Policy
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("block", "observes", "together", "look"):
            object.__setattr__(self, name, getattr(self.over, name))

    def allocate(self, layer: Layer, nbytes: int) -> int:
        return self.over.allocate(layer, nbytes)

    def store(self, layer: Layer, nbytes: int | None) -> Store:
        store = self.over.store(layer, nbytes)
        _shuffle(store, torch.Generator().manual_seed(1000 * self.seed + layer.index))
        return store


def _shuffle(store: Any, lot: torch.Generator) -> None:
    """Put a lottery where this store decides.

    Raises:
        TypeError: it is not known how it does.
    """
    match store:
        case Tiered():
            decided = store.scored
            vars(store)["scored"] = lambda *asked: _permuted(decided(*asked), lot)
        case Clustered():
            recall = store.choose
            vars(store)["choose"] = lambda query: recall(_permuted(query, lot))
        case Parted():
            far = store.far
            store.far = lambda slots: _permuted(far(slots), lot)
            _shuffle(store.parts["rest"], lot)
        case Packed(codec=Balanced()):
            _shuffle(store.near, lot)
        case Packed():
            store.codec = _Mixed(store.codec, lot)
        case Half():
            _mix_merged(store, lot)
        case Slots(score=score) if score is not None:
            store.score = lambda slots: shuffled(score(slots), slots.columns, lot)
            if isinstance(store, Merged):
                _mix_classes(store, lot)
        case _:
            raise TypeError(f"{type(store).__name__} decides in a way that nothing is known to shuffle")


def shuffled(scores: Tensor, columns: Tensor, lot: torch.Generator) -> Tensor:
    """Scores [b, g or 1, n] dealt anew among the slots that are neither padding nor certain to stay."""
    free = (scores < torch.inf) & (columns > PAD)
    drawn = torch.rand(scores.shape, generator=lot).masked_fill(~free, 2.0).argsort(dim=-1, stable=True)
    places = (~free).int().argsort(dim=-1, stable=True)
    return scores.scatter(-1, places, scores.gather(-1, drawn))


def _permuted(x: Tensor, lot: torch.Generator) -> Tensor:
    """The last dimension in another order."""
    return x[..., torch.randperm(x.shape[-1], generator=lot)]


def _mix_classes(store: Merged, lot: torch.Generator) -> None:
    decided: Callable[[Merged, Tensor, int], Classes] = store.classes

    def classes(slots: Merged, scores: Tensor, count: int) -> Classes:
        stay, into = decided(slots, scores, count)
        leaving = torch.ones_like(into, dtype=torch.bool).scatter(2, stay, False)
        drawn = torch.randint(count, into.shape, generator=lot)
        return stay, torch.where(leaving & (into >= 0), drawn, into)

    store.classes = classes


@dataclass(frozen=True)
class _Mixed:
    """A codec whose keys come back in the places of others."""

    over: Any
    lot: torch.Generator

    def pack(self, keys: Tensor, values: Tensor, columns: Tensor, near: Slots) -> dict[str, Tensor]:
        packed: dict[str, Tensor] = self.over.pack(_among(keys, self.lot), values, columns, near)
        return packed

    def unpack(self, codes: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.over.unpack(codes, dtype)
        return found


def _mix_merged(store: Half, lot: torch.Generator) -> None:
    """Let the keys of both layers leave in the places of others."""
    settle = store.settle

    def mixed(seen: int) -> None:
        if store.lower is not None and len(store.near) > store.merging.residual:
            for near in (store.lower.near, store.near):
                old = near.keys[:, :, : store.block]
                near.keys = torch.cat((_among(old, lot), near.keys[:, :, store.block :]), 2)
        settle(seen)

    vars(store)["settle"] = mixed


def _among(keys: Tensor, lot: torch.Generator) -> Tensor:
    """Keys [b, g, m, d] in another order of their m tokens."""
    return keys[:, :, torch.randperm(keys.shape[2], generator=lot)]


def _other_heads(chosen: tuple[tuple[int, int], ...], model: Any, seed: int) -> tuple[tuple[int, int], ...]:
    """As many heads as were chosen, others where there are enough of them."""
    config = model.config.get_text_config(decoder=True)
    every = [(i, j) for i in range(config.num_hidden_layers) for j in range(config.num_key_value_heads)]
    drawn = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed)).tolist()
    ranked = sorted((every[i] for i in drawn), key=lambda head: head in chosen)
    return tuple(sorted(ranked[: len(chosen)]))
