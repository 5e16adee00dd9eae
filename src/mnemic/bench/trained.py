"""What models already trained gave: kept in a folder, and in an archive that goes from machine to machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from mnemic import __version__
from mnemic.bench.written import save
from mnemic.types import MnemicError


class Trained:
    """One JSON file for everything trained, named by a hash of what it was trained on.

    Args:
        folder: where they are kept between runs.
        archive: a zip of such files, read where the folder has none, to which `pack` adds; it need not exist.

    Raises:
        MnemicError: the archive is none.
    """

    def __init__(self, folder: Path, archive: Path | None = None) -> None:
        self.folder, self.archive = folder, archive
        self._archived = _archived(archive) if archive is not None and archive.exists() else {}
        self._used: set[str] = set()

    def of(self, what: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, as JSON: made once for everything that `what` says, and read then."""
        written, name = _named(what)
        path = self.folder / name
        if not path.exists():
            earlier = self._archived.get(name)
            save(json.loads(earlier) if earlier else {"what": json.loads(written), "result": make()}, path)
        self._used.add(name)
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]  # rounded, each time
        return result

    def unfinished(self, what: Mapping[str, Any]) -> Path:
        """Where a training that takes long may keep how far it came."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / _named(what)[1].replace(".json", ".unfinished")

    def pack(self) -> None:
        """Add all that was asked for to the archive, whole or not at all."""
        if self.archive is None or self._used <= self._archived.keys():
            return
        now = _archived(self.archive) if self.archive.exists() else {}
        texts = now | {name: (self.folder / name).read_bytes() for name in self._used}
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        draft = self.archive.with_suffix(self.archive.suffix + ".part")
        with ZipFile(draft, "w") as packed:
            for name in sorted(texts):  # without dates: the same results are the same bytes
                packed.writestr(ZipInfo(name), texts[name], ZIP_DEFLATED)
        draft.replace(self.archive)


def _named(what: Mapping[str, Any]) -> tuple[str, str]:
    """All a result depends on, written down, and the name of its file."""
    written = json.dumps(dict(what) | {"version": __version__}, sort_keys=True)
    return written, f"{hashlib.sha256(written.encode()).hexdigest()[:32]}.json"


def _archived(path: Path) -> dict[str, bytes]:
    try:
        with ZipFile(path) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    except BadZipFile as error:
        raise MnemicError(f"{path} is no archive of trained results: {error}") from None
