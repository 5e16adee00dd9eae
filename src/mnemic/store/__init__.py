"""Where records live: one durable SQLite file, versioned, tenant-scoped, and honest about what is gone."""

from mnemic.store.log import Change
from mnemic.store.purge import Purge
from mnemic.store.put import UnknownRecord
from mnemic.store.store import Store

__all__ = ["Change", "Purge", "Store", "UnknownRecord"]
