"""The web page in Chromium: searching, opening, forgetting, undoing, by mouse, by keys, without a script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import app_over, listening

from hash_embedder import HashEmbedder
from mnemic.memory import Memory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server over a small memory, with a hostile record in it."""
    path = tmp_path / "life.mnemic"
    with Memory.open(path, HashEmbedder(), durability="normal") as memory:
        for n, text in enumerate(("Ada keeps the lighthouse.", "It was built of slate.", "Gulls nest on it.")):
            memory.remember(
                text, kind="turn", author="me", session="walk", title="A walk", when=f"2024-05-0{n + 1}"
            )
        memory.remember(
            "<script>document.title = 'taken'</script> in the slate", when="2023-01-01", source="web"
        )
        memory.remember("Give distances in kilometres.", kind="profile")
        memory.remember("A kettle sings.", space="kitchen")
    with listening(app_over(path)) as address:
        yield address


class Visit:
    """One tab, and everything that went wrong in it."""

    def __init__(self, browser: Any, address: str, **how: Any) -> None:
        self.context = browser.new_context(base_url=address, **how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a busy machine is not a broken page
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def test_search_as_you_type_open_forget_and_undo(browser: Any, address: str) -> None:
    with Visit(browser, address) as visit:
        page = visit.page
        page.goto("/")
        assert page.get_by_role("heading", name="A walk").count() == 3
        page.get_by_label("Search what is remembered").press_sequentially("slate")
        page.wait_for_selector(".hits mark")
        assert page.url.endswith("/search?q=slate")
        assert page.locator(".hits mark").first.text_content() == "slate"
        assert page.locator(".why").first.text_content().strip()
        page.get_by_role("link", name="It was built of slate.").click()
        page.get_by_role("heading", name="Record 2").wait_for()
        page.get_by_role("button", name="Forget record 2").click()
        page.get_by_role("status").get_by_text("Forgotten").wait_for()
        page.get_by_text("It was built of slate.").wait_for(state="detached")
        page.get_by_role("status").get_by_role("button", name="Undo").click()
        page.get_by_role("status").get_by_text("Undone").wait_for()
        page.get_by_text("It was built of slate.").wait_for()
        assert page.title() != "taken"
        assert visit.wrong == []
        assert all(url.startswith((address, "data:")) for url in visit.asked)


def test_keys_alone_reach_everything(browser: Any, address: str) -> None:
    with Visit(browser, address) as visit:
        page = visit.page
        page.goto("/")
        page.keyboard.press("Tab")
        skip = page.locator(":focus")
        assert skip.text_content() == "Skip to the content"
        assert skip.bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "q"
        page.keyboard.type("lighthouse")
        page.wait_for_selector(".hits mark")
        page.keyboard.press("ArrowDown")
        seen = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert seen == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url("**/records/1")
        page.go_back()
        page.get_by_label("Search what is remembered").focus()
        page.keyboard.press("Escape")
        page.wait_for_url(f"{address}/")
        assert visit.wrong == []


def test_without_a_script_it_works_as_well(browser: Any, address: str) -> None:
    with Visit(browser, address, java_script_enabled=False) as visit:
        page = visit.page
        page.goto("/")
        page.get_by_label("Search what is remembered").fill("lighthouse")
        page.get_by_role("button", name="Search").click()
        assert page.locator(".hits mark").first.text_content() == "lighthouse"
        page.goto("/records/1")
        page.get_by_text("Change what it says").click()
        page.get_by_label("What stands for it").fill("Ben keeps the lighthouse.")
        page.get_by_role("button", name="Change", exact=True).click()
        page.get_by_text("Ben keeps the lighthouse.").first.wait_for()
        page.get_by_role("status").get_by_role("button", name="Undo").click()
        page.get_by_label("Space").select_option("kitchen")
        page.get_by_role("button", name="Go").click()
        page.get_by_text("A kettle sings.").wait_for()
        assert not page.get_by_text("lighthouse").count()


def test_the_profile_is_edited_in_place(browser: Any, address: str) -> None:
    with Visit(browser, address) as visit:
        page = visit.page
        page.goto("/profile")
        page.get_by_label("Entry 5").fill("Give distances in miles.")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Changed.").wait_for()
        assert page.locator("textarea").first.input_value() == "Give distances in miles."
        page.get_by_label("What should always").fill("Answer in verse.")
        page.get_by_role("button", name="Add").click()
        page.get_by_text("Added to the profile.").wait_for()
        assert page.locator("textarea").count() == 2
        assert visit.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_a_phone_and_reads_in_light_and_dark(browser: Any, address: str, scheme: str) -> None:
    with Visit(browser, address, viewport={"width": 375, "height": 812}, color_scheme=scheme) as visit:
        page = visit.page
        for view in (
            "/", "/search?q=slate", "/ask?q=Who+keeps+the+lighthouse%3F", "/records/2", "/episodes/1",
            "/profile", "/spaces", "/results", "/results/nothing",
        ):  # fmt: skip
            page.goto(view)
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, view
            assert page.evaluate(CONTRAST) >= 4.5, view
        assert [it for it in visit.wrong if "404" not in it] == []


CONTRAST = """() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((it) => it / 255);
    const linear = parts.map((it) => (it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if (!/, 0\\)$/.test(colour) && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 21;
  for (const it of document.querySelectorAll("main *, header *, footer *")) {
    const text = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || it.closest("svg, option, .sr") || !it.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(it).color), light(behind(it))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}"""
