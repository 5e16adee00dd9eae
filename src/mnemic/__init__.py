"""A memory with a budget for language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemic.aio import AsyncMemory
    from mnemic.memory import Memory
    from mnemic.serve.client import AsyncClient, Client
    from mnemic.types import Answer, Budget, Hit, MnemicError, Order, Recall, Record, When

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncMemory",
    "Budget",
    "Client",
    "Hit",
    "Memory",
    "MnemicError",
    "Order",
    "Recall",
    "Record",
    "When",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used, so that `import mnemic` costs nothing."""
    from importlib import import_module

    client = "mnemic.serve.client"
    homes = {
        "AsyncClient": client,
        "AsyncMemory": "mnemic.aio",
        "Client": client,
        "Memory": "mnemic.memory",
    }
    if name not in __all__:
        raise AttributeError(f"module 'mnemic' has no attribute {name!r}")
    return getattr(import_module(homes.get(name, "mnemic.types")), name)
