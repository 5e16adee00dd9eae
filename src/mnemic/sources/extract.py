"""HTML and e-pub as Markdown (headings marked with #, list items with -), PDF as the text of its pages.

Needs the extra `files` (beautifulsoup4, pypdf).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.etree import ElementTree

from mnemic.types import MnemicError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_SILENT = ("script", "style", "noscript", "template", "nav", "svg", "iframe", "head")
_BLOCK = re.compile(
    "p|div|section|article|main|header|footer|aside|blockquote|ul|ol|li|dl|dt|dd|table|tr|figure|figcaption|"
    "h[1-6]|address|details|summary|form|fieldset|body|html"
)
_LARGEST_MEMBER = 256 << 20  # bytes of one file inside an e-pub, unpacked


@dataclass(frozen=True, slots=True)
class Document:
    """What was read out of a file; `pages` are the characters at which its pages start, if it has any."""

    text: str
    title: str | None = None
    author: str | None = None
    pages: tuple[int, ...] = ()


def extract(file: Path, kind: str) -> Document:
    """The text, title and author of an "html", "epub" or "pdf" file.

    Raises:
        MnemicError: the file is broken, locked or holds no text, or the extra `files` is not installed.
    """
    try:
        if kind == "html":
            return _html(file)
        return _epub(file) if kind == "epub" else _pdf(file)
    except ImportError as error:
        raise MnemicError(
            f"reading {kind} needs the package {error.name}; install it with: pip install 'mnemic[files]'"
        ) from None
    except OSError as error:
        raise MnemicError(f"cannot read {str(file)!r}: {error.strerror or error}") from None


# --------------------------------------------------------------------------- HTML


def _html(file: Path) -> Document:
    content = file.read_bytes()
    if b"\0" in content[:4096] and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise MnemicError(f"{str(file)!r} is a binary file, not HTML")
    soup = _soup(content)
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    author = next((str(meta.get("content") or "") for meta in soup.select("meta[name=author]")), None)
    return Document(_markdown(soup), title or None, author or None)


def _soup(content: bytes) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    return BeautifulSoup(content, "html.parser")


def _markdown(soup: BeautifulSoup) -> str:
    """The visible words, blocks apart by blank lines; white space inside a block as a browser shows it."""
    from bs4 import NavigableString, Tag

    for silent in soup.find_all(_SILENT):
        silent.decompose()
    blocks: list[str] = []
    words: list[str] = []

    def close(prefix: str) -> None:
        lines = [" ".join(line.split()) for line in "".join(words).split("\x0b")]
        words.clear()
        if shown := "\n".join(line for line in lines if line):
            blocks.append(prefix + shown)

    def walk(tag: Tag, prefix: str) -> None:
        for child in tag.children:
            if isinstance(child, Tag):
                if child.name in ("br", "hr"):
                    words.append("\x0b")
                elif child.name == "pre":
                    close(prefix)
                    blocks.append(f"```\n{child.get_text().strip(chr(10))}\n```")
                elif _BLOCK.fullmatch(child.name):
                    close(prefix)
                    walk(child, _prefix(child.name))
                    close(_prefix(child.name))
                else:
                    walk(child, prefix)
                    if child.name in ("td", "th"):
                        words.append(" ")
            elif type(child) is NavigableString:
                words.append(child.replace("\x0b", " "))

    walk(soup, "")
    close("")
    return "\n\n".join(blocks)


def _prefix(name: str) -> str:
    if re.fullmatch("h[1-6]", name):
        return "#" * int(name[1]) + " "
    return "- " if name == "li" else ""


# --------------------------------------------------------------------------- e-pub


def _epub(file: Path) -> Document:
    """An e-pub is a zip of XHTML files; `container.xml` names the package, whose spine is their order."""
    try:
        with zipfile.ZipFile(file) as book:
            container = ElementTree.fromstring(_member(book, "META-INF/container.xml"))
            package_path = container.find(".//{*}rootfile").attrib["full-path"]  # type: ignore[union-attr]
            package = ElementTree.fromstring(_member(book, package_path))
            hrefs = {item.attrib["id"]: item.attrib["href"] for item in package.findall("{*}manifest/{*}item")}
            folder = posixpath.dirname(package_path)
            chapters = [
                _markdown(_soup(_member(book, posixpath.normpath(posixpath.join(folder, unquote(hrefs[ref]))))))
                for ref in (item.attrib["idref"] for item in package.findall("{*}spine/{*}itemref"))
            ]
            title, author = (package.findtext(f"{{*}}metadata/{{*}}{name}") for name in ("title", "creator"))
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, AttributeError, RuntimeError) as error:
        raise MnemicError(f"{str(file)!r} is not a readable e-pub: {error}") from None
    return Document("\n\n".join(filter(None, chapters)), title or None, author or None)


def _member(book: zipfile.ZipFile, name: str) -> bytes:
    if book.getinfo(name).file_size > _LARGEST_MEMBER:
        raise MnemicError(f"{book.filename!r} unpacks to more than {_LARGEST_MEMBER >> 20} MiB in {name}")
    return book.read(name)


# --------------------------------------------------------------------------- PDF


def _pdf(file: Path) -> Document:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise MnemicError(f"{str(file)!r} is locked by a password; remember an unlocked copy")
        pages = [page.extract_text().strip() for page in reader.pages]
        about = reader.metadata
    except (PyPdfError, ValueError, KeyError, TypeError) as error:
        raise MnemicError(f"{str(file)!r} is not a readable PDF: {error}") from None
    if not any(pages):
        raise MnemicError(f"{str(file)!r} holds pictures but no text; run it through text recognition first")
    starts = accumulate((len(page) + 1 for page in pages[:-1]), initial=0)
    title, author = (about.title, about.author) if about else (None, None)
    return Document("\n".join(pages), title or None, author or None, tuple(starts))
