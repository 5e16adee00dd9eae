"""Where a memory lives when no path is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_path() -> Path:
    """`memory.mnemic` in the folder MNEMIC_DATA_DIR, else where the platform keeps the data of programs."""
    if named := os.environ.get("MNEMIC_DATA_DIR"):
        folder = Path(named)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser() / "mnemic"
    elif sys.platform == "darwin":
        folder = Path("~/Library/Application Support/mnemic").expanduser()
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "mnemic"
    return folder / "memory.mnemic"
