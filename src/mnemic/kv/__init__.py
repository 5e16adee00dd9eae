"""Memory inside attention: a transformers model reads without end in a bounded cache.

cache = attach(model, "streaming", budget="64MiB")
read(model, cache, ids)
generate(model, cache, question, max_new_tokens=64)
"""

from mnemic.kv.attach import attach, detach, generate, policy, read
from mnemic.kv.cache import MemoryCache
from mnemic.kv.files import load, save
from mnemic.kv.policy import Policy

__all__ = ["MemoryCache", "Policy", "attach", "detach", "generate", "load", "policy", "read", "save"]
