"""Headings are found in Markdown and in typeset text, contents pages are not, and sections tile the text."""

from hypothesis import given
from hypothesis import strategies as st

from mnemic.segment.structure import Node, headings, outline, sections

LINE = "The tide had gone out and the boats lay on their sides in the grey mud of the harbour, waiting. "
BODY = LINE * 8


def places(text: str, markdown: bool = False) -> list[tuple[str, ...]]:
    return [section.place for section in sections(text, markdown=markdown)]


def test_a_novel_with_books_chapters_and_contents() -> None:
    contents = "CONTENTS\n\nBOOK ONE\n\nCHAPTER I\n\nCHAPTER II\n\nBOOK TWO\n\nCHAPTER I\n\nEPILOGUE\n\n"
    text = (
        f"THE LAMP\n\nby nobody\n\n{contents}"
        f"BOOK ONE\n\nCHAPTER I\n\n{BODY}\n\nCHAPTER II\n\n{BODY}\n\n"
        f"BOOK TWO\n\nCHAPTER I\n\n{BODY}\n\nEPILOGUE\n\n{BODY}"
    )
    assert places(text)[-4:] == [
        ("BOOK ONE", "CHAPTER I"),
        ("BOOK ONE", "CHAPTER II"),
        ("BOOK TWO", "CHAPTER I"),
        ("EPILOGUE",),
    ]
    titles = [heading.title for heading in headings(text)]
    assert titles.count("CHAPTER II") == titles.count("EPILOGUE") == 1


def test_headings_as_they_are_typeset() -> None:
    for line, title in {
        "CHAPTER IV. The Road Home": "CHAPTER IV. The Road Home",
        "Chapter 12": "Chapter 12",
        "PART THE SECOND": "PART THE SECOND",
        "Book Twenty-one: 1805": "Book Twenty-one: 1805",
        "    II.": "II.",
        "3.2 How it was measured": "3.2 How it was measured",
        "IV. The Bell": "IV. The Bell",
        "THE HARBOUR AT NIGHT": "THE HARBOUR AT NIGHT",
        "CHAPTER I\n\nJournal of the Keeper": "CHAPTER I Journal of the Keeper",
        "3\nThe Black Spot": "3 The Black Spot",
        "Prologue": "Prologue",
    }.items():
        text = f"{LINE}\n\n{line}\n\n{BODY}"
        assert [heading.title for heading in headings(text)] == [title], line


def test_ordinary_lines_are_no_headings() -> None:
    for line in [
        "Chapter 4 describes the harbour.",
        "Part of the plan was simple.",
        "I. am tired of this.",
        "12",
        "3.5 litres of milk, please.",
        "Yes",
        "WHERE ARE YOU?",
        "“MY DEAR FRIEND,--",
        "THE END",
    ]:
        assert headings(f"{LINE}\n\n{line}\n\n{BODY}") == [], line
    assert headings(f"{LINE}\nCHAPTER II\n{LINE}") == []


def test_markdown_headings_but_not_code_or_front_matter() -> None:
    text = (
        "---\ntitle: notes\n---\nintro\n\n# Trip ##\n\ntext\n\n```\n# a comment\n```\n\n"
        "Second day\n----------\nmore\n\n### Deep\n\nend\n"
    )
    assert places(text, markdown=True) == [
        (),
        ("Trip",),
        ("Trip", "Second day"),
        ("Trip", "Second day", "Deep"),
    ]


def test_an_outer_heading_without_text_joins_the_inner_one() -> None:
    text = "# A\n\n## B\n\nwords\n\n## C\n\n## D\n\nwords\n"
    assert places(text, markdown=True) == [("A", "B"), ("A", "C"), ("A", "D")]
    first = sections(text, markdown=True)[0]
    assert text[first.start : first.body] == "# A\n\n## B"


def titles(node: Node) -> object:
    return [(child.title, titles(child)) if child.children else child.title for child in node.children]


def test_lists_hang_under_their_section_by_indentation() -> None:
    text = (
        "- before\n\n# Food\n\n- fruit\n  - apple\n  - pear\n- bread\n\nprose\n\n## Drinks\n\n1. tea\n2. milk\n"
    )
    assert titles(outline(text, markdown=True)) == [
        "before",
        ("Food", [("fruit", ["apple", "pear"]), "bread", ("Drinks", ["tea", "milk"])]),
    ]


LINES = st.lists(
    st.sampled_from(
        ["", "", "# A", "## B", "CHAPTER I", "BOOK ONE", "II.", "- x", "  - y", "Words.", "LOUD", "```", "---"]
    ),
    max_size=25,
)


@given(LINES, st.booleans())
def test_sections_tile_any_text_and_the_tree_nests(lines: list[str], markdown: bool) -> None:
    text = "\n".join(lines)
    assert "".join(text[s.start : s.stop] for s in sections(text, markdown=markdown)) == text
    assert all(s.start <= s.body <= s.stop for s in sections(text, markdown=markdown))

    def check(node: Node) -> None:
        ends = [node.start] + [child.stop for child in node.children]
        for child, earliest in zip(node.children, ends, strict=False):
            assert earliest <= child.start <= child.stop <= node.stop
            check(child)

    check(outline(text, markdown=markdown))
