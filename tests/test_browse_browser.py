"""The page in a real browser: nothing fails, nothing is asked of the outside, people without a mouse, without scripts,
on a phone or with a screen reader can use it. Skipped where Debian's chromium is not installed.
"""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from made_archive import make_archive
from node_process import SWARM
from playwright.sync_api import Browser, Page, expect, sync_playwright
from small_home import furnish
from small_lab import BOB, BRIEF, BRIEF_ID, PeerLog
from test_hostile_findings import ESCAPES, TAKEN, packed

from gossip.identity import load_or_create
from node import views
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
           "--disable-component-update --disable-sync")  # fmt: skip
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()


class Serving:
    def __init__(self, home: Home) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [*SWARM, "browse", "--home", str(home.path), "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1].rstrip("/")
        urllib.request.urlopen(f"{self.url}/topic.json").close()  # answers once the whole journal has been read

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Serving]:
    home = make_archive(tmp_path_factory.mktemp("browser") / "home", nodes=4, runs=30)
    serving = Serving(home)
    with home.lock():  # as a node that runs would
        yield serving
    serving.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    yield from watched(browser)


def watched(browser: Browser, **options) -> Iterator[Page]:
    """A page that fails the test if anything was said in the console, or asked of anybody else."""
    context = browser.new_context(**options)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.on("request", lambda asked: said.append(asked.url) if urlsplit(asked.url).hostname != "127.0.0.1" else None)
    yield page
    context.close()
    assert said == []


def checked(page: Page, what: str) -> list[str]:
    page.evaluate(f"() => {{ {CHECKS} }}")
    return page.evaluate(f"{what}()")


def paths(home: Home) -> list[str]:
    with views.open_archive(home) as archive:
        entries = archive.ledger.entries()
    changed = next(entry for entry in reversed(entries) if entry.finding.proposal.source)
    compared = "&".join(f"run={entry.id[:16]}" for entry in [*entries[:2], changed])
    return ["/", "/runs", "/runs?status=keep&sort=val_bpb", "/lineage", "/nodes", "/topic", f"/runs/{changed.id}",
            f"/nodes/{entries[0].author}", f"/compare?{compared}"]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_whole_legible_and_named_in_both_themes(browser, served, scheme):
    for page in watched(browser, color_scheme=scheme, viewport={"width": 1280, "height": 800}):
        for path in paths(served.home):
            page.goto(served.url + path, wait_until="load")
            assert checked(page, "contrasts") == [], path
            assert checked(page, "nameless") == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.parametrize("width", [320, 768])
def test_nothing_is_wider_than_a_phone(browser, served, width):
    for page in watched(browser, viewport={"width": width, "height": 640}):
        for path in paths(served.home):
            page.goto(served.url + path, wait_until="load")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


def test_the_table_filters_sorts_and_remembers_in_its_address(page, served):
    page.goto(f"{served.url}/runs")
    rows = page.locator("table.runs tbody tr")
    page.keyboard.press("/")
    page.keyboard.type("tpe")
    expect(page).to_have_url(f"{served.url}/runs?q=tpe")
    expect(page.locator("#table .found")).not_to_contain_text("120 of 120")
    page.locator("#menu-status > summary").click()
    page.get_by_label("keep").check()
    page.keyboard.press("Escape")
    expect(page.locator("#table .tag.s-discard")).to_have_count(0)
    page.get_by_role("link", name="val_bpb").click()
    expect(page.locator("thead th[aria-sort]")).to_have_text("val_bpb ↑")
    page.locator("#menu-cols > summary").click()
    page.get_by_label("learning_rate").check()
    expect(page.locator("thead")).to_contain_text("learning_rate")
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["q"], asked["status"], asked["sort"]) == (["tpe"], ["keep"], ["val_bpb"])
    assert asked["cols"][0].endswith("config.learning_rate")
    before = rows.all_inner_texts()
    page.reload()
    assert [row.split("\t")[1] for row in rows.all_inner_texts()] == [row.split("\t")[1] for row in before]
    assert before
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#table .found")).to_contain_text("120 of 120")


def test_chosen_runs_are_compared(page, served):
    page.goto(f"{served.url}/runs?sort=val_bpb")
    button = page.locator("#compare-button")
    expect(button).to_be_disabled()
    for number in (0, 3, 5):
        page.locator("input[name=run]").nth(number).check()
    expect(button).to_have_text("Compare 3 runs")
    button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 3 runs")
    expect(page.locator(".curve:visible")).to_have_count(3)
    asked = json.loads(page.request.get(page.url.replace("/compare", "/compare.json")).text())
    for values in asked["config"].values():
        assert len(set(map(str, values))) > 1
    page.locator("svg[data-curves]:visible").hover()
    expect(page.locator(".hint")).to_contain_text("at")


def test_the_keyboard_is_enough(page, served):
    page.goto(f"{served.url}/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    page.goto(f"{served.url}/lineage")
    knot = page.locator(".tree a").first
    knot.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs/"))
    page.goto(f"{served.url}/")
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("Enter")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_dot_tells_which_run_it_is(page, served):
    page.goto(f"{served.url}/")
    picture = page.locator("svg[data-progress]:visible")
    step = picture.locator(".step").last.bounding_box()
    with page.expect_response("**/index.json*"):
        page.mouse.move(step["x"] + 4, step["y"] + 4)
    page.mouse.move(step["x"] + 5, step["y"] + 4)
    expect(page.locator(".hint")).to_contain_text("keep")
    page.mouse.click(step["x"] + 4, step["y"] + 4)
    expect(page).to_have_url(re.compile("/runs/"))


def test_an_open_page_follows_what_happens(page, served):
    page.goto(f"{served.url}/")
    expect(page.locator("#live")).to_have_text("live")
    state = served.home.read_state()
    current = state["current"] | {"title": "something new", "curve": [[1.0, 3.0], [2.0, 2.0]]}
    served.home.write_state(state | {"current": current})
    expect(page.locator("#now .lead")).to_contain_text("something new", timeout=30_000)
    said = [{"at": "2026-01-01T00:00:00Z", "warning": True, "text": "the disk is full: waiting"}]
    served.home.write_state(state | {"current": None, "notices": said})
    expect(page.locator("#now .pause")).to_have_text("the disk is full: waiting", timeout=30_000)
    served.home.write_state(state)


def test_new_runs_come_to_an_open_page_and_leave_what_is_in_use_alone(browser, tmp_path):
    home = furnish(tmp_path / "home")
    journal, bob = Journal(home.journal), PeerLog(BOB)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    serving = Serving(home)
    try:
        for page in watched(browser):
            page.goto(serving.url)
            expect(page.locator("#live")).to_have_text("live")
            arms = page.locator("#peers-part a").first
            arms.focus()
            assert notebook.receive(bob.finding(1.777, width=40)) is None
            expect(page.locator("#feed-part")).to_contain_text("1.7770", timeout=30_000)
            expect(arms).to_be_focused()
            page.goto(f"{serving.url}/runs")
            expect(page.locator("#live")).to_have_text("live")
            rows = page.locator("table.runs tbody tr")
            before = rows.count()
            assert notebook.receive(bob.finding(1.666, width=41)) is None
            page.get_by_role("button", name="New runs").click(timeout=30_000)
            expect(rows).to_have_count(before + 1)
            expect(page.locator("table.runs")).to_contain_text("1.6660")
    finally:
        serving.stop()
        journal.close()


def test_the_table_is_sorted_filtered_and_turned_by_keyboard_alone(page, served):
    page.goto(f"{served.url}/runs")
    head = page.locator("thead").get_by_role("link", name="val_bpb")
    head.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # as a person comes there, so that it shows
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("thead th[aria-sort=ascending]")).to_have_text("val_bpb ↑")
    expect(head).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("thead th[aria-sort=descending]")).to_have_text("val_bpb ↓")
    expect(page.locator("#said")).to_have_text("120 of 120 runs")
    menu = page.locator("#menu-status > summary")
    menu.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("status="))
    expect(page.locator("#said")).not_to_have_text("120 of 120 runs")
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(page.locator("#menu-status")).not_to_have_attribute("open", "")
    page.goto(f"{served.url}/runs")
    page.locator(".pager a[rel=next]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".pager")).to_contain_text("page 2 of 3")
    expect(page.locator(".pager a[rel=next]")).to_be_focused()
    assert page.evaluate("scrollY") == 0


def test_everything_is_there_without_scripts(browser, served):
    for page in watched(browser, java_script_enabled=False):
        page.goto(f"{served.url}/")
        expect(page.locator(".step:visible").first).to_be_visible()
        page.goto(f"{served.url}/runs")
        page.locator("input[type=search]").fill("tpe")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("#table .found")).not_to_contain_text("120 of 120")
        boxes = page.locator("input[name=run]")
        boxes.nth(0).check()
        boxes.nth(1).check()
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")


def test_hostile_findings_do_nothing(browser, tmp_path):
    home = furnish(tmp_path / "home")
    journal, bob = Journal(home.journal), PeerLog(BOB)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    for change in TAKEN.values():
        assert notebook.receive(bob.sign(packed(change))) is None
    found = [entry.id for entry in notebook.ledger.entries()]
    journal.close()
    home.write_state(home.read_state() | {"name": ESCAPES, "current": {"number": 1, "title": ESCAPES, "curve": []}})
    serving = Serving(home)
    try:
        with home.lock():
            for page in watched(browser):
                several = "&".join(f"run={id}" for id in found[-8:])
                runs = [f"/runs/{id}" for id in found]
                for path in (
                    "/",
                    "/runs?per=500",
                    "/lineage",
                    "/nodes",
                    f"/nodes/{BOB.peer_id}",
                    f"/compare?{several}",
                    *runs,
                ):
                    page.goto(serving.url + path, wait_until="load")
                    assert page.evaluate("document.scripts.length") == 2, path
                    assert page.evaluate("document.images.length") == 0, path
                    assert checked(page, "nameless") == [], path
    finally:
        serving.stop()
