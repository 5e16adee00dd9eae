"""What a layer costs: bytes of its state, and operations of a token, counted while they happen."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mnemic.recurrent import Kind, build, names
from mnemic.recurrent.engine.layer import Layer


def priced(name: str, dim: int = 256, heads: int = 4) -> dict[str, Any]:
    """The kind of a method and, if it is a causal layer, its state bytes and operations at this size."""
    if name not in names():
        return {"kind": next(kind for kind in get_args(Kind) if name in names(kind))}
    layer = build(name, dim, heads=heads)
    return {
        "kind": "causal",
        "state_bytes": layer.state_bytes(),
        "grows": bool(layer.growing),
        "operations_per_token": round(operations_per_token(layer)),
    }


@torch.no_grad()
def operations_per_token(layer: Layer, length: int = 256) -> float:
    """Of reading `length` tokens at once: two a term of a matrix product, one for every other number made."""
    x = torch.randn(1, length, layer.dim, device=next(layer.parameters()).device)
    with sdpa_kernel(SDPBackend.MATH), _Count() as count:
        layer(x)
    operations: int = count.operations
    return operations / length


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet, product = func.overloadpacket, flop_registry.get(func.overloadpacket)
        if product is not None:
            self.operations += product(*args, **(kwargs or {}), out_val=out)
        elif packet is torch.ops.aten.linalg_solve_triangular:
            self.operations += args[0].shape[-1] * out.numel()
        elif packet in (torch.ops.aten._fft_r2c, torch.ops.aten._fft_c2r):
            longer = max(args[0].numel(), out.numel())
            self.operations += round(2.5 * longer * math.log2(max(args[0].shape[-1], out.shape[-1])))
        elif not any(result.alias_info for result in func._schema.returns):
            made = (t for t in tree_leaves(out) if isinstance(t, Tensor))
            self.operations += sum(t.numel() for t in made if t.is_floating_point() or t.is_complex())
        return out
