"""A cache on disk: a book read once, opened in seconds.

One safetensors file holds the tensors of every layer's store; its metadata says which format, model and method
they belong to, and what of a store is not a tensor.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mnemic.kv.attach import attach, described, policy
from mnemic.kv.cache import MemoryCache
from mnemic.types import MnemicError

FORMAT = "mnemic-kv-2"
_SHAPE = ("rows", "heads", "groups", "width", "value_width", "scale")


def fingerprint(model: Any) -> str:
    """Changes with the architecture and the weights (64 values of each parameter are looked at)."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, parameter in model.named_parameters():
        digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        digest.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def save(cache: MemoryCache, path: str | Path) -> Path:
    """Write the cache to one file, whole or not at all; returns its path.

    Raises:
        MnemicError: nothing was read yet, or the file cannot be written (a full disk, a missing folder).
    """
    path = Path(path)
    if cache.get_seq_length() == 0:
        raise MnemicError("there is nothing to save: read a text into the cache first")
    tensors: dict[str, torch.Tensor] = {}
    plain = []
    for layer in cache.layers:
        for name, tensor in layer.store.tensors().items():
            tensors[f"{layer.index}.{name}"] = tensor.contiguous()
        for name, tensor in layer.store.offloaded().items():
            tensors[f"{layer.index}.far.{name}"] = tensor.contiguous()
        shape = {name: getattr(layer.shape, name) for name in _SHAPE} | {"dtype": str(layer.shape.dtype)[6:]}
        plain.append({"seen": layer.seen, "settled": layer.store.settled, "shape": shape})
    if cache.pads is not None:
        tensors["pads"] = cache.pads
    if cache.trail.states is not None:
        tensors["trail"] = cache.trail.states
    meta = {
        "format": FORMAT,
        "model": fingerprint(cache.model),
        "policy": json.dumps(described(cache.policy)),
        "budget": json.dumps(cache.budget),
        "layers": json.dumps(plain),
    }
    beside = path.with_name(path.name + ".new")
    try:
        save_file(tensors, beside, metadata=meta)
        os.replace(beside, path)
    except Exception as error:
        beside.unlink(missing_ok=True)
        raise MnemicError(f"could not write {path}: {error}; make room or choose another place") from error
    return path


def load(path: str | Path, model: Any) -> MemoryCache:
    """The cache of that file, and the model attached to it.

    Raises:
        MnemicError: not such a file, of another version, or made with another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise MnemicError(f"{path} cannot be read as a saved cache: {error}") from error
    if meta.get("format") != FORMAT:
        raise MnemicError(
            f"{path} is of format {meta.get('format')!r}, this version reads {FORMAT!r}; "
            "read the text again and save it"
        )
    if meta["model"] != fingerprint(model):
        raise MnemicError(
            f"{path} was made with another model than this {type(model).__name__}; "
            "load that model, or read the text again"
        )
    cache = attach(model, policy(**json.loads(meta["policy"])), budget=json.loads(meta["budget"]))
    cache.pads, cache.trail.states = tensors.pop("pads", None), tensors.pop("trail", None)
    for layer, plain in zip(cache.layers, json.loads(meta["layers"]), strict=True):
        shape = plain["shape"] | {"dtype": getattr(torch, plain["shape"]["dtype"])}
        layer.store = cache.make_store(layer, **shape)
        layer.store.restore(
            {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{layer.index}.")}
        )
        layer.store.settled = plain["settled"]
        layer.seen, layer.is_initialized = plain["seen"], True
    return cache
