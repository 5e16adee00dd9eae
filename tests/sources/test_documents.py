"""Passages hold every word of a file, at the character they stand at, and never cross a heading."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemic import sources
from mnemic.sources import documents
from mnemic.types import MnemicError, When

PROSE = "The keeper lit the lamp at dusk. Nobody came that night. " * 20


@given(
    st.lists(
        st.sampled_from(["CHAPTER I", "Some words here.", "", "No mark", "今天。", "x " * 200]), max_size=30
    )
)
def test_a_passage_stands_where_it_says_and_no_word_is_lost(lines: list[str]) -> None:
    content = "\n".join([*lines, "end"])
    records = sources.text(content, source="s", words=40)
    assert [content[record.start : record.end] for record in records] == [record.text for record in records]
    assert "".join("".join(record.text for record in records).split()) == "".join(content.split())
    assert [record.order for record in records] == list(range(len(records)))


def test_a_novel_becomes_passages_of_whole_sentences_under_their_headings(tmp_path: Path) -> None:
    file = tmp_path / "lamp.txt"
    file.write_text(f"THE LAMP\n\nCHAPTER I\n\n{PROSE}\n\nCHAPTER II\n\n{PROSE}\n", encoding="utf-8")
    records = list(sources.read(file))
    assert [record.text for record in records if record.place == ("THE LAMP",)] == ["THE LAMP"]
    assert {record.place for record in records[1:]} == {("CHAPTER I",), ("CHAPTER II",)}
    assert all(record.text.endswith(".") and 70 <= len(record.text.split()) <= 150 for record in records[1:])
    assert {(record.source, record.title, record.kind) for record in records} == {(str(file), "lamp", "text")}
    assert not any("CHAPTER I\n" in record.text and "CHAPTER II" in record.text for record in records)


def test_markdown_headings_become_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Garden\n\nPeas.\n\n## Tools\n\nA spade.\n", encoding="utf-8")
    assert [record.place for record in sources.read(tmp_path / "a.md")] == [("Garden",), ("Garden", "Tools")]


def test_fields_that_are_given_are_on_every_record() -> None:
    when = When.parse("2023-04")
    records = sources.text(PROSE * 3, author="me", session="s", title="t", when=when)
    assert len(records) > 1
    assert {(it.author, it.session, it.title, it.when) for it in records} == {("me", "s", "t", when)}


def test_only_texts_are_cut() -> None:
    assert len(sources.text(PROSE * 3, kind="turn")) == 1


def test_a_folder_is_read_in_order_without_hidden_and_unknown_files(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.md", "a/.hidden.txt", ".git/c.txt", "picture.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Words of {name}.", encoding="utf-8")
    assert [record.text for record in sources.read(tmp_path)] == ["Words of a/z.md.", "Words of b.txt."]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b" \n\t\n", "empty"),
        ("binary.txt", b"abc\0def", "binary"),
        ("latin.txt", "café".encode("latin-1"), r"UTF-8 \(byte 3\)"),
        ("broken.pdf", b"%PDF-1.4 nonsense", "not a readable PDF"),
        ("broken.epub", b"PK nonsense", "not a readable e-pub"),
        ("binary.html", b"\0\1\2", "binary"),
        ("empty.html", b"<p> </p>", "empty"),
        ("chat.json", b"{", "not JSON"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MnemicError, match=reason) as error:
        next(sources.read(tmp_path / name))
    assert name in str(error.value)


def test_a_missing_file_and_a_folder_of_nothing_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MnemicError, match="no file or folder"):
        list(sources.read(tmp_path / "nowhere"))
    with pytest.raises(MnemicError, match="no file in a known format"):
        list(sources.read(tmp_path))
    with pytest.raises(MnemicError, match="unknown kind of file 'doc'"):
        list(sources.read(tmp_path, kind="doc"))


def test_an_endless_line_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST_LINE", 3 << 20)

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            self.taken += size
            assert self.taken < 8 << 20
            return b"x" * size

    with pytest.raises(MnemicError, match="line of more than 3 MiB"):
        documents.plain_text(Endless(), "it")  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_and_line_ends_are_read(encoding: str) -> None:
    assert documents.plain_text(io.BytesIO("né\r\nto\rso".encode(encoding)), "it") == "né\nto\nso"


def test_html_becomes_its_visible_words_with_headings(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<html><head><title>Log </title><meta name=author content='Ada'><style>p{}</style></head><body>"
        "<h1>Day <b>one</b></h1><p>It  rained\n hard.<br>Then not.</p><script>x</script>"
        "<ul><li>tea<li>milk</ul>"
        "<h2>Night</h2><pre># code\n  kept</pre><table><tr><td>1</td><td>2</td></tr></table></body></html>",
        encoding="utf-8",
    )
    first, second = sources.read(tmp_path / "a.html")
    assert first.text == "# Day one\n\nIt rained hard.\nThen not.\n\n- tea\n\n- milk".replace(
        " hard.\n", " hard.\n"
    )
    assert second.text == "## Night\n\n```\n# code\n  kept\n```\n\n1 2"
    assert (first.title, first.author, second.place) == ("Log", "Ada", ("Day one", "Night"))


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    package = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
    <metadata><dc:title>The Lamp</dc:title><dc:creator>Ada</dc:creator></metadata>
    <manifest><item id="b" href="text/b%20c.xhtml"/><item id="a" href="text/a.xhtml"/></manifest>
    <spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
    container = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
    <rootfile full-path="OEBPS/p.opf"/></rootfiles></container>"""
    with zipfile.ZipFile(tmp_path / "lamp.epub", "w") as book:
        book.writestr("META-INF/container.xml", container)
        book.writestr("OEBPS/p.opf", package)
        book.writestr("OEBPS/text/a.xhtml", "<html><body><h1>One</h1><p>First words.</p></body></html>")
        book.writestr("OEBPS/text/b c.xhtml", "<html><body><h1>Two</h1><p>Last words.</p></body></html>")
    records = list(sources.read(tmp_path / "lamp.epub"))
    assert [record.text for record in records] == ["# One\n\nFirst words.", "# Two\n\nLast words."]
    assert [record.place for record in records] == [("One",), ("Two",)]
    assert {(record.title, record.author) for record in records} == {("The Lamp", "Ada")}


def pdf(pages: list[str]) -> bytes:
    """A PDF of one line a page, written by hand."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({page}) Tj ET"
        objects += [
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {5 + 2 * i} 0 R>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj{body}endobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start = len(out)
    return (
        out
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF"
        ).encode()
    )


def test_a_pdf_knows_its_pages(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["The ship left port.", "", "word " * 149 + "back."]))
    first, second = sources.read(tmp_path / "a.pdf")
    assert first.text.startswith("The ship left port.")
    assert (first.place, second.place) == (("page 1",), ("page 3",))
    (tmp_path / "scan.pdf").write_bytes(pdf(["", ""]))
    with pytest.raises(MnemicError, match="no text"):
        list(sources.read(tmp_path / "scan.pdf"))
