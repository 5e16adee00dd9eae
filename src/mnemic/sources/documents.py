"""Texts as passages, and files of plain text as texts."""

from __future__ import annotations

from bisect import bisect_right
from typing import BinaryIO

from mnemic.segment.structure import sections
from mnemic.segment.windows import passages
from mnemic.types import Kind, MnemicError, Record, When

PASSAGE_WORDS = 150
LONGEST_LINE = 32 << 20  # bytes; a longer line is a dump of data, not something to remember
_CHUNK = 1 << 20


def text(
    content: str,
    *,
    source: str | None = None,
    title: str | None = None,
    author: str | None = None,
    session: str | None = None,
    when: When | None = None,
    kind: Kind = "text",
    markdown: bool = False,
    words: int = PASSAGE_WORDS,
) -> list[Record]:
    """A text as passages of whole sentences, about 100 to 150 words each, none across a heading.

    `content[record.start : record.end] == record.text` for each of them, and together they hold every
    character that is not white space. Only kind "text" is cut; anything else is one record.

    Args:
        markdown: whether headings are marked as in Markdown; else as books and reports are typeset.
        words: the most words of a passage.

    Raises:
        MnemicError: there is nothing but white space.
    """
    if not content.strip():
        raise MnemicError(f"{source or 'the text'} is empty: there is nothing to remember")
    tiles = sections(content, markdown=markdown) if kind == "text" else []
    starts = [tile.start for tile in tiles]
    spans = (
        [(span.start, span.stop) for span in passages(content, words=words, walls=starts[1:])]
        if kind == "text"
        else [(0, len(content))]
    )
    records: list[Record] = []
    for begin, stop in spans:
        words_of_span = content[begin:stop]
        start = begin + len(words_of_span) - len(words_of_span.lstrip())
        stripped = words_of_span.strip()
        if not stripped:
            continue
        records.append(
            Record(
                text=stripped,
                kind=kind,
                source=source,
                author=author,
                session=session,
                title=title,
                place=tiles[bisect_right(starts, begin) - 1].place if tiles else (),
                order=len(records),
                start=start,
                end=start + len(stripped),
                when=when,
            )
        )
    return records


def plain_text(stream: BinaryIO, name: str) -> str:
    """All of a stream as text: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        MnemicError: empty, binary, in another encoding, or with a line longer than `LONGEST_LINE`.
    """
    content = bytearray()
    line = 0
    while chunk := stream.read(_CHUNK):
        if not content and chunk[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return _decode(chunk + stream.read(), "utf-16", name)
        if b"\0" in chunk:
            raise MnemicError(f"{name} is a binary file, not text")
        first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
        line = line + len(chunk) if first < 0 else len(chunk) - last - 1
        if line > LONGEST_LINE:
            raise MnemicError(
                f"{name} has a line of more than {LONGEST_LINE >> 20} MiB; break it into lines first"
            )
        content += chunk
    if not content.strip():
        raise MnemicError(f"{name} is empty: there is nothing to remember")
    return _decode(content, "utf-8-sig", name)


def _decode(content: bytes | bytearray, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise MnemicError(
            f"{name} is not valid {encoding.removesuffix('-sig').upper()} (byte {error.start}); "
            "convert it, e.g. with: iconv -f LATIN1 -t UTF-8"
        ) from None
