"""Where records live: one durable SQLite file, versioned, tenant-scoped, and honest about what is gone."""

from mnemic.store.doctor import Report
from mnemic.store.links import Link
from mnemic.store.log import Change
from mnemic.store.purge import Purge
from mnemic.store.queries import UnknownRecord
from mnemic.store.store import Store

__all__ = ["Change", "Link", "Purge", "Report", "Store", "UnknownRecord"]
