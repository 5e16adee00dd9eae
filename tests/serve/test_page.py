"""The web page without a browser: what it shows, that it escapes, whom it lets change what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from starlette.testclient import TestClient

from hash_embedder import HashEmbedder
from mnemic.memory import Memory
from mnemic.serve.app import create_app
from mnemic.serve.guard import SECURITY
from mnemic.serve.keys import Keys
from mnemic.serve.page import plots, results, show
from mnemic.serve.page.episodes import GAP, Episodes, end_of
from mnemic.types import Budget, Filter, Record, When
from mnemic.worlds.chat import Chat

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \'"'


@pytest.fixture
def memory(tmp_path: Path, embedder: HashEmbedder) -> Memory:
    return Memory.open(tmp_path / "life.mnemic", embedder, durability="normal")


@pytest.fixture
def client(memory: Memory) -> Iterator[TestClient]:
    with TestClient(create_app(memory), base_url="http://localhost", follow_redirects=False) as client:
        yield client


class Reader(HTMLParser):
    """The elements of a page, the text they hold, and what of it a strict policy would refuse."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.marks: list[str] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in.append(tag)
        if tag == "mark":
            self.marks.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in and self._in[-1] == "mark":
            self.marks[-1] += data


def read(client: TestClient, address: str, status: int = 200) -> Reader:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-security-policy"] == SECURITY["Content-Security-Policy"]
    return Reader(answer.text)


def post(client: TestClient, address: str, **fields: str) -> str:
    """Where the browser is sent after a form."""
    answer = client.post(address, data={"back": "", **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


# ------------------------------------------------------------------------------- what it shows


def test_the_timeline_shows_episodes_newest_first(memory: Memory, client: TestClient) -> None:
    memory.remember("The ice broke.", when="1851-03-02", source="log")
    memory.remember("We sailed.", when="1851-10-18", source="log")
    text = read(client, "/").text
    assert text.index("18 October 1851") < text.index("2 March 1851")
    assert text.index("We sailed.") < text.index("The ice broke.")


def test_an_empty_memory_says_how_to_fill_it(client: TestClient) -> None:
    assert "mnemic remember" in read(client, "/").text


def test_a_search_shows_why_and_marks_the_words(memory: Memory, client: TestClient) -> None:
    memory.remember("Ishmael sailed to Nantucket.", when="1851-10-18", kind="turn", author="me")
    page = read(client, "/search?q=sailing")
    assert page.marks == ["sailed"]
    assert "words: sailed" in page.text
    part = read(client, "/search?q=sailing&part=1")
    assert "html" not in [tag for tag, _ in part.tags]
    assert part.marks == ["sailed"]


def test_an_answer_marks_what_it_rests_on(memory: Memory, client: TestClient) -> None:
    memory.remember("Ada keeps the lighthouse at Corle.", kind="turn", author="me")
    page = read(client, "/ask?q=Who+keeps+the+lighthouse+at+Corle%3F")
    assert "Ada" in page.marks
    assert "#1" in page.text


def test_a_record_shows_versions_links_neighbours_and_history(memory: Memory, client: TestClient) -> None:
    for n, text in enumerate(("Ann went first.", "Ben went second.", "Cleo went third.")):
        memory.remember(text, kind="turn", session="s", when=f"2024-05-01T10:0{n}")
    memory.store.link(2, 3, "tells the same", 1.0)
    new = memory.supersede(2, "Ben went last.", when="2024-05-02")
    page = read(client, f"/records/{new.id}")
    for said in ("Ben went second.", "put in the place of another", "2 May 2024"):
        assert said in page.text
    old = read(client, "/records/2").text
    assert "superseded" in old
    assert "Ben went last." in old
    first = read(client, "/records/1").text
    assert "Cleo went third." in first
    memory.store.link(1, 3, "tells the same", 1.0)
    assert "tells the same" in read(client, "/records/1").text


def test_spaces_show_sizes_and_budgets(memory: Memory, client: TestClient) -> None:
    memory.remember("The kettle sings.", space="kitchen")
    memory.budget("kitchen", Budget(nbytes=5000, records=7))
    page = read(client, "/spaces")
    assert "5.0 kB, 7 records, by decay" in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 2


def test_results_of_the_checkout_are_shown_with_their_claims(client: TestClient) -> None:
    if results.folder() is None:
        pytest.skip("no results beside this package")
    page = read(client, "/results")
    claims = results.claims()
    assert all(claim["says"] in page.text for claim in claims)
    for name in results.names():
        result = results.bench(name)
        if result is not None:
            shown = read(client, f"/results/{name}").text
            assert all(system in shown for system in result["systems"])
    assert client.get("/results/..%2Fclaims").status_code == 404
    assert client.get("/results/nothing").status_code == 404


def test_without_results_the_page_says_how_to_make_them(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "CHECKOUT", tmp_path / "none")
    assert "mnemic bench" in read(client, "/results").text


# ------------------------------------------------------------------------------- what it escapes


def test_stored_markup_is_text_everywhere(memory: Memory, client: TestClient) -> None:
    memory.remember(
        [{"role": "user", "content": f"hostile words {HOSTILE}", "created_at": "2024-05-01", "name": HOSTILE}],
        source=HOSTILE, session=HOSTILE, title=HOSTILE,
    )  # fmt: skip
    memory.remember(f"Always {HOSTILE}", kind="profile")
    memory.remember("in a strange space", space=HOSTILE)
    memory.store.link(1, memory.remember("another", kind="turn")[0].id, HOSTILE)
    memory.forget([1])
    memory.undo()
    for address in (
        "/", "/search?q=hostile", "/search?q=hostile&part=1", "/ask?q=What+hostile+words%3F", "/records/1",
        "/episodes/1", "/profile", "/spaces", f"/search?q={HOSTILE}", f"/ask?q={HOSTILE}", f"/?space={HOSTILE}",
        f"/?done={HOSTILE}", f"/?until={HOSTILE}",
    ):  # fmt: skip
        page = Reader(client.get(address).text)
        scripts = [given for tag, given in page.tags if tag == "script"]
        assert all(given.get("src") == "/static/page.js" for given in scripts), address
        assert "img" not in [tag for tag, _ in page.tags], address
        assert not any(name.startswith("on") or name == "style" for _, given in page.tags for name in given)


def test_no_address_puts_words_on_the_page(client: TestClient) -> None:
    assert "pay here" not in client.get("/?done=pay+here").text


def test_every_form_field_has_a_label_and_every_page_a_heading(memory: Memory, client: TestClient) -> None:
    memory.remember("Ada keeps the lighthouse.", kind="turn")
    memory.remember("Give distances in kilometres.", kind="profile")
    for address in ("/", "/ask", "/records/1", "/profile", "/spaces", "/results", "/search?q=Ada"):
        page = read(client, address)
        labelled = {given.get("for") for tag, given in page.tags if tag == "label"}
        for tag, given in page.tags:
            if tag in ("input", "textarea", "select") and given.get("type") not in ("hidden", "checkbox"):
                assert given["id"] in labelled, (address, given)
        assert "h1" in [tag for tag, _ in page.tags], address
        ids = [given["id"] for _, given in page.tags if "id" in given]
        assert len(ids) == len(set(ids)), address


# ------------------------------------------------------------------------------- what it changes


def test_forget_and_undo(memory: Memory, client: TestClient) -> None:
    memory.remember("Ada keeps the lighthouse.", kind="turn")
    assert post(client, "/records/1/forget") == "/?done=forgotten"
    assert "Undo" in read(client, "/?done=forgotten").text
    assert "Ada" not in read(client, "/").text
    assert "forgotten" in read(client, "/records/1").text
    assert post(client, "/undo") == "/?done=undone"
    assert "Ada keeps the lighthouse." in read(client, "/").text


def test_a_purge_leaves_nothing(memory: Memory, client: TestClient) -> None:
    memory.remember("The xylem key lies under the mat.", kind="turn")
    assert post(client, "/records/1/forget", purge="yes") == "/?done=purged"
    assert client.get("/records/1").status_code == 404
    assert b"xylem" not in memory.store.path.read_bytes()


def test_words_are_changed_and_the_profile_edited(memory: Memory, client: TestClient) -> None:
    memory.remember("Ada keeps the lighthouse.", kind="turn", when="2024-05-01")
    assert (
        post(client, "/records/1/supersede", text="Ben keeps it.", when="2024-06-01")
        == "/records/2?done=changed"
    )
    assert post(client, "/profile", text="Answer in verse.") == "/profile?done=added"
    assert "Answer in verse." in read(client, "/profile").text
    assert (
        post(client, "/records/3/supersede", text="Answer in prose.", back="profile") == "/profile?done=changed"
    )
    assert [it.text for it in memory.profile()] == ["Answer in prose."]
    assert post(client, "/records/4/forget", back="profile") == "/profile?done=forgotten"
    assert memory.profile() == ()


def test_something_is_remembered_with_its_date(memory: Memory, client: TestClient) -> None:
    assert post(client, "/remember", text="The ice broke.", when="1851-03-02") == "/?done=remembered"
    (record,) = memory.timeline()
    assert (record.text, str(record.when)) == ("The ice broke.", "1851-03-02")


@pytest.mark.parametrize(
    ("address", "fields", "status"),
    [
        ("/records/9/forget", {}, 404),
        ("/records/x/forget", {}, 404),
        ("/records/1/supersede", {"text": " "}, 409),
        ("/records/1/supersede", {"text": "new", "when": "no time at all"}, 422),
        ("/remember", {}, 409),
        ("/profile", {"text": ""}, 409),
    ],
)
def test_what_cannot_be_done_is_said_on_a_page(
    memory: Memory, client: TestClient, address: str, fields: dict[str, str], status: int
) -> None:
    memory.remember("Ada keeps the lighthouse.", kind="turn")
    answer = client.post(address, data={"back": "", **fields})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert len(list(memory.store.scan(Filter()))) == 1


def test_only_forms_of_this_page_change_anything(memory: Memory, client: TestClient) -> None:
    memory.remember("Ada keeps the lighthouse.", kind="turn")
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/records/1/forget", headers=headers).status_code == 403
    assert client.post("/records/1/forget", json={}).status_code == 415
    assert client.get("/records/1/forget").status_code == 405
    assert memory.show(1).state == "live"


def test_what_is_not_there_is_a_page_too(client: TestClient) -> None:
    for address in (
        "/records/7",
        "/episodes/7",
        "/records/%00",
        "/records/" + "9" * 30,
        "/static/..%2Fviews.py",
    ):
        assert client.get(address).status_code == 404, address
    assert client.get("/?until=soon").status_code == 422


# ------------------------------------------------------------------------------- whom it lets in


@pytest.fixture
def keyed(memory: Memory) -> Iterator[tuple[TestClient, Keys]]:
    keys = Keys(memory.store.path)
    app = create_app(memory, keys=keys)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client, keys


def test_a_key_comes_in_by_a_form_and_goes_out_again(keyed: tuple[TestClient, Keys]) -> None:
    client, keys = keyed
    token = keys.add(None, writes=True)
    assert client.get("/").status_code == 401
    assert client.get("/", headers={"sec-fetch-mode": "navigate"}).headers["location"] == "/login"
    assert read(client, "/login").tags
    assert client.post("/login", data={"key": "mnemic_no_key"}).status_code == 401
    answer = client.post("/login", data={"key": token})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/").status_code == 200
    assert client.post("/logout").headers["location"] == "/login"
    assert client.get("/").status_code == 401


def test_a_key_for_one_space_sees_and_changes_no_other(memory: Memory, keyed: tuple[TestClient, Keys]) -> None:
    client, keys = keyed
    memory.remember("Ada keeps the lighthouse.", kind="turn", space="ann")
    memory.remember("Ben hides the xylem key.", kind="turn", space="ben")
    memory.remember("Never mention xylem.", kind="profile", space="ben")
    client.cookies.set("mnemic_key", keys.add(["ann"], writes=True))
    for address in (
        "/", "/search?q=xylem", "/ask?q=Who+hides+the+xylem+key", "/records/1", "/episodes/1", "/profile",
        "/spaces",
    ):  # fmt: skip
        page = client.get(address)
        assert page.status_code == 200, address
        assert "Ben" not in page.text, address
        assert ">ben<" not in page.text, address
        assert client.get(address, params={"space": "ben"}).status_code == 403 or "?" in address
    assert client.get("/search?q=xylem&space=ben").status_code == 403
    assert client.get("/ask?q=xylem&space=ben").status_code == 403
    assert client.get("/records/2").status_code == 404
    for address in ("/records/2/forget", "/records/2/supersede", "/undo", "/profile", "/remember"):
        assert client.post(address, data={"space": "ben", "text": "x"}).status_code == 403, address
    assert client.post("/records/2/forget", data={"back": ""}).status_code == 404
    assert memory.show(2, space="ben").state == "live"


def test_a_key_that_may_only_read_is_shown_no_forms(memory: Memory, keyed: tuple[TestClient, Keys]) -> None:
    client, keys = keyed
    memory.remember("Ada keeps the lighthouse.", kind="turn", space="ann")
    memory.remember("Answer in verse.", kind="profile", space="ann")
    client.cookies.set("mnemic_key", keys.add(["ann"], writes=False))
    for address in ("/", "/records/1", "/profile"):
        forms = [given["action"] for tag, given in read(client, address).tags if tag == "form"]
        assert set(forms) <= {"/search", "/ask", "/logout"}
    assert client.post("/records/1/forget", data={"back": ""}).status_code == 403


# ------------------------------------------------------------------------------- its parts


def plainly(records: list[Record]) -> list[list[int]]:
    """Episodes by a plain loop: sorted within what belongs together, cut where time leaps; newest first."""
    groups: dict[object, list[tuple[float, int, int]]] = {}
    for it in records:
        key = (it.source, it.session) if it.session else it.source
        groups.setdefault(key, []).append((it.when.start if it.when else it.written, it.order, it.id))
    found: list[list[tuple[float, int, int]]] = []
    for group in groups.values():
        group.sort()
        for n, one in enumerate(group):
            if n == 0 or one[0] - group[n - 1][0] > GAP:
                found.append([])
            found[-1].append(one)
    found.sort(key=lambda it: it[0][0], reverse=True)
    return [[id for _, _, id in it] for it in found]


def test_episodes_are_what_a_plain_loop_finds(memory: Memory) -> None:
    days = ("2024-05-01T09:00", "2024-05-01T12:00", "2024-05-04T09:00")
    log = [Record(text=f"at {day}", source="log", when=When.parse(day)) for day in days]
    stored = memory.store.put([*Chat(2, 20).entries, *log, Record(text="undated")])
    memory.mirror.refresh()
    episodes = Episodes(memory.mirror, "default")
    found = episodes.page(memory.store, 0, 1000)
    wanted = plainly(stored)
    assert sorted(it.name for it in found) == sorted(ids[0] for ids in wanted)
    assert [it.start for it in found] == sorted((it.start for it in found), reverse=True)
    for ids in wanted:
        whole = episodes.holding(memory.store, ids[-1], 1000)
        assert whole is not None
        assert [it.id for it in whole.records] == ids
    assert sum(count for _, count in episodes.overview()) == len(stored)
    assert episodes.page(memory.store, 2, 3) == found[2:5]
    until = float(np.median([it.start for it in found]))
    assert episodes.page(memory.store, 0, 1000, until) == [it for it in found if it.start < until]


def test_a_month_ends_where_the_next_begins() -> None:
    assert end_of("2023-12") == end_of("2023") == When.parse("2024-01-01").start
    assert end_of("2024-02") == When.parse("2024-03-01").start
    for wrong in ("2023-13", "x", "2023-1-1", "0"):
        with pytest.raises(ValueError):
            end_of(wrong)


def test_marks_are_escaped_and_never_change_the_words() -> None:
    text = "a <b> & c, a"
    marked = show.marked(text, [(0, 1), (0, 5), (2, 99), (4, 2)])
    assert Reader(str(marked)).text == text
    assert re.sub("</?mark>", "", str(marked)) == "a &lt;b&gt; &amp; c, a"


def test_plots_are_well_formed_and_say_what_they_show() -> None:
    counts = [("2023-01", 3), *[(f"2023-{n:02d}", 0) for n in range(2, 9)], ("2023-09", 1)]
    drawn = [
        plots.months(counts, ["/?until=" + name for name, _ in counts]),
        plots.bars("Bytes & <sizes>", [plots.Bar("<b>", (1.0, 2.0), 9.0), plots.Bar("none", (0.0, 0.0))]),
        plots.bars("Nothing", []),
        plots.interval(0.1, 0.2, 0.3, 0.0, 1.0, 0.0),
        plots.interval(0.0, 0.0, 0.0, 0.0, 0.0),
    ]
    for one in drawn:
        assert ElementTree.fromstring(str(one)).attrib["aria-label"]
    assert str(drawn[0]).count("<a ") == 2
    assert str(drawn[0]).count("…") == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("1851", "1851"),
        ("1851-10", "October 1851"),
        ("about 1851-10-18", "about 18 October 1851"),
        ("2023-04-25T04:07:00+02:00", "25 April 2023, 04:07"),
    ],
)
def test_a_date_is_written_as_exactly_as_it_was_said(said: str, shown: str) -> None:
    assert Reader(str(show.said(When.parse(said)))).text == shown
