"""The front door of a memory; see `mnemic.memory.memory`."""

from mnemic.memory.forget import Forgotten
from mnemic.memory.memory import Memory
from mnemic.memory.place import default_path

__all__ = ["Forgotten", "Memory", "default_path"]
