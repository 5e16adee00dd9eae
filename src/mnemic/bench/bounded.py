"""Pages of the tiny language read into a cache of so many bytes, and what is said when they are asked about."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mnemic.types import Ints

LENGTH = 448  # tokens of a page; with its questions it stays inside the reference model's window
SETTINGS = {
    "sinks": 4, "recent": 8, "block": 8, "local": 16, "window": 8, "chosen": 8, "length": 128, "residual": 16,
    "room": 64, "exact": 0, "middle": 16, "last": 8, "vital": 32, "per_fine": 2, "wide": 64,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "sentencekv": {"longest": 8},
    "em-llm": {"window": 128, "shortest": 4, "longest": 16},
}
"""Hyper-parameters for windows of 512 tokens, where a paper's own are for thousands: of all, and of some."""


def pair_nbytes(model: Any) -> int:
    """Bytes of a token in a full cache."""
    config = model.config
    return int(
        2 * model.dtype.itemsize * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    )


def fitted(model: Any, method: str, settings: Mapping[str, Any]) -> Any:
    """The method with those of the settings that it has, prepared for the model."""
    from mnemic import kv

    known = {field.name for field in dataclasses.fields(kv.policy(method))}
    fitting = {key: value for key, value in settings.items() if key in known}
    return kv.policy(method, **fitting).prepared(model)


def read(model: Any, policy: Any, budget: int | None, text: Ints) -> Any:
    """A cache that has read the texts [rows, tokens]."""
    import torch

    from mnemic import kv

    cache = kv.attach(model, policy, budget=budget)
    kv.read(model, cache, torch.from_numpy(text), progress=False)
    return cache


def take_back(cache: Any, count: int) -> None:
    """Forget the last tokens though others were let go since: for methods that always keep the last ones."""
    for layer in cache.layers:
        layer.store.settled = 0
        layer.crop(-count)
    cache.trail = type(cache.trail)()
