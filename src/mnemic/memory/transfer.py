"""Files that an export goes to and comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def writing(to: str | Path | TextIO) -> Iterator[TextIO]:
    """A stream to write to; a file gets its name when it is whole, so a failure leaves what was there."""
    if not isinstance(to, str | Path):
        yield to
        return
    path = Path(to)
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def reading(source: str | Path | Iterable[str]) -> Iterator[Iterable[str]]:
    """The lines of a file or stream."""
    if not isinstance(source, str | Path):
        yield source
        return
    with Path(source).open(encoding="utf-8") as lines:
        yield lines
