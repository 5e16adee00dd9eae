"""Memory inside attention: a transformers model reads without end in a bounded cache.

cache = attach(model, "streaming", budget="64MiB")
read(model, cache, ids)
generate(model, cache, question, max_new_tokens=64)

A method's file says by `KIND` how it is used: "cache" (as above, and where nothing is said) or in a way of its
own, which the file shows: "chunks" (pairs of pieces of text, put together to a cache), "datastore" (states of a
text beside the model), "text" (sentences that are read again).
"""

from typing import Literal, get_args

from mnemic import recipes
from mnemic.kv.attach import attach, detach, generate, policy, read
from mnemic.kv.cache import MemoryCache
from mnemic.kv.files import load, save
from mnemic.kv.policy import Policy

__all__ = ["MemoryCache", "Policy", "attach", "detach", "generate", "load", "names", "policy", "read", "save"]

Kind = Literal["cache", "chunks", "datastore", "text"]


def names(kind: Kind = "cache") -> list[str]:
    """Names of all methods of a kind.

    Raises:
        MnemicError: no such kind.
    """
    return recipes.of_kind("kv", kind, get_args(Kind))
