"""Products of bfloat16 numbers as matrix units make them, on processors that have none.

Sums are in float32 and rounded once, in gradients too. Without such units torch's own bfloat16 products take
twenty times as long as those in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_PRODUCTS = frozenset(
    (
        torch.matmul, torch.bmm, torch.mm, torch.baddbmm, torch.addmm, torch.einsum, torch.conv1d, torch.conv2d,
        Tensor.matmul, Tensor.bmm, Tensor.mm, Tensor.__matmul__, Tensor.__rmatmul__, functional.linear,
        functional.scaled_dot_product_attention,
    )
)  # fmt: skip


class Rounded(TorchFunctionMode):
    """While it is on, products of bfloat16 tensors are taken in float32 and rounded."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not any(_narrow(arg) for arg in args):
            return func(*args, **kwargs)
        wide = tree_map_only(Tensor, lambda x: x.float() if _narrow(x) else x, (args, kwargs))
        return func(*wide[0], **wide[1]).bfloat16()


def _narrow(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.bfloat16
