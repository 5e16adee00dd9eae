"""From files, texts and conversations to records ready to be stored, in order, with their place.

A file is read whole and checked before its first record is handed out, so a broken file yields nothing.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mnemic.sources.chats import chat, messages
from mnemic.sources.documents import plain_text, text
from mnemic.sources.extract import extract
from mnemic.types import MnemicError, Record

__all__ = ["FORMATS", "files", "messages", "read", "text"]

FORMATS = ("text", "markdown", "html", "pdf", "epub", "chat")

_BY_SUFFIX = {
    ".txt": "text", ".text": "text",
    ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".pdf": "pdf",
    ".epub": "epub",
    ".json": "chat", ".jsonl": "chat", ".ndjson": "chat",
}  # fmt: skip


def files(path: str | Path) -> list[Path]:
    """The files that `read` would read: the path itself, or those of known formats under a folder, sorted.

    Hidden files and folders (".git") are left out.

    Raises:
        MnemicError: there is nothing at the path, or nothing readable in the folder.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise MnemicError(f"there is no file or folder {str(path)!r}")
    found = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in _BY_SUFFIX
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    if not found:
        raise MnemicError(f"{str(path)!r} holds no file in a known format ({', '.join(_BY_SUFFIX)})")
    return found


def read(path: str | Path, kind: str | None = None) -> Iterator[Record]:
    """The records of a file, of every file under a folder, or of standard input ("-"), in order.

    Args:
        kind: how to read it, one of `FORMATS`; None decides by the file name, for standard
            input by its first character.

    Raises:
        MnemicError: a file that is missing, empty, not text, or not what its format says; the message names
            the file and, in a chat, the item and the field.
    """
    if kind is not None and kind not in FORMATS:
        raise MnemicError(f"unknown kind of file {kind!r}; known are {', '.join(FORMATS)}")
    if str(path) == "-":
        content = plain_text(sys.stdin.buffer, "standard input")
        looks_like = "chat" if content.lstrip()[:1] in ("{", "[") else "text"
        yield from _from_text(content, "standard input", kind or looks_like)
        return
    for file in files(path):
        yield from _read_file(file, kind or _BY_SUFFIX.get(file.suffix.lower(), "text"))


def _read_file(file: Path, kind: str) -> Iterator[Record]:
    if kind in ("pdf", "epub", "html"):
        document = extract(file, kind)
        records = text(
            document.text,
            source=str(file),
            title=document.title or file.stem,
            author=document.author,
            markdown=kind != "pdf",
        )
        for record in records:
            page = bisect_right(document.pages, record.start)
            yield replace(record, place=(f"page {page}",)) if page else record
        return
    try:
        with file.open("rb") as stream:
            content = plain_text(stream, str(file))
    except OSError as error:
        raise MnemicError(f"cannot read {str(file)!r}: {error.strerror}") from None
    yield from _from_text(content, str(file), kind)


def _from_text(content: str, source: str, kind: str) -> list[Record]:
    if kind == "chat":
        return chat(content, source)
    return text(content, source=source, title=Path(source).stem, markdown=kind == "markdown")
