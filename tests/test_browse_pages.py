"""Every page and the JSON beside it, over real HTTP: right numbers, hostile findings inert, empty homes, failures."""

import html
import json
import re
import unicodedata

import pytest
from served_page import served
from small_home import furnish
from small_lab import ALICE, BOB, BRIEF, BRIEF_BYTES, BRIEF_ID, PeerLog
from test_hostile_findings import ESCAPES, TAKEN, hostile_replays, packed

from gossip.identity import load_or_create
from node import views
from node.browse import routes
from node.browse.blocks import blocks
from node.browse.column import COLUMNS
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from swarm.words import SwarmError

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "circle", "path"}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """It has heard every hostile finding and replay there is."""
    home = furnish(tmp_path_factory.mktemp("pages") / "home")
    journal, bob = Journal(home.journal), PeerLog(BOB)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    for change in TAKEN.values():
        assert notebook.receive(bob.sign(packed(change))) is None
    for entry in notebook.ledger.entries()[:6]:
        for payload in hostile_replays(entry):
            assert notebook.receive(bob.sign(payload, "replay")) is None
    journal.close()
    state = home.read_state()
    said = [{"at": "2026-01-01T00:00:00Z", "text": ESCAPES, "warning": True}]
    home.write_state(state | {"name": ESCAPES, "notices": said, "current": {"number": 4, "title": ESCAPES}})
    return home


def ids(home: Home) -> list[str]:
    with views.open_archive(home) as archive:
        return [entry.id for entry in archive.ledger.entries()]


def every_address(home: Home) -> list[str]:
    found = ids(home)
    several = "&".join(f"run={id}" for id in found[-8:])
    tracks = {"class": "cpu-x86_64-2", "budget": "10"}
    columns = ",".join([*COLUMNS, "config.norm"])
    found_of_all = [f"/runs/{id}" for id in found] + [f"/lineage?focus={id}" for id in found[-9:]]
    of_nodes = [f"/nodes/{peer}" for peer in (ALICE.peer_id, BOB.peer_id)]
    plain = ["/", "/lineage", "/nodes", "/topic", "/now", "/?topic=other", "/runs?topic=other", "/topic?topic=other"]
    asking = [f"/?class={tracks['class']}&budget={tracks['budget']}", f"/runs?cols={columns}&per=500"]
    return [*plain, *asking, f"/compare?{several}", *found_of_all, *of_nodes]


def tags(text: str) -> set[str]:
    """Names of elements, with a check that they are closed in the order in which they were opened."""
    open_ones: list[str] = []
    for closing, name, ending in re.findall(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)(?:\s[^<>]*?)?(/?)>", text):
        if name in VOID or ending or name == "li" or name == "p":
            continue
        if closing:
            assert open_ones, name
            assert open_ones.pop() == name
        else:
            open_ones.append(name)
    assert open_ones == []
    return {name for _, name, _ in re.findall(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)(\s|>|/)", text)}


async def test_hostile_findings_are_text_on_every_page(home, monkeypatch):
    async with served(home, host="127.0.0.1") as page:
        for address in every_address(home):
            answer = await page.client.get(address)
            assert answer.status_code == 200, (address, answer.text[:600])
            text = answer.text
            assert "script>alert" not in text.replace("&lt;script&gt;", ""), address
            known = {"script"} if address != "/now" else set()
            assert "script" not in tags(text) - known
            assert text.count("<script") == (0 if address == "/now" else 2), address
            strange = {c for c in text if unicodedata.category(c)[0] == "C" and c not in "\n\t"}
            assert strange == set(), (address, strange)


async def test_json_beside_every_page_is_json_and_names_what_the_command_line_names(home):
    async with served(home) as page:
        for address in every_address(home):
            path, _, query = address.partition("?")
            path = "/index.json" if path == "/" else f"{path}.json"
            answer = await page.client.get(f"{path}?{query}" if query else path)
            assert answer.status_code == 200, address
            assert answer.headers["content-type"] == "application/json"
            json.loads(answer.text, parse_constant=pytest.fail)
        asked = await page.client.get("/runs", headers={"accept": "application/json"})
        assert asked.json()["all"] == len(ids(home))


async def test_numbers_are_those_of_the_command_line(home):
    async with served(home) as page:
        with views.open_archive(home) as archive:
            for id in ids(home):
                made, said = (await page.client.get(f"/runs/{id}.json")).json(), views.show(archive, id)
                said = json.loads(json.dumps(said))
                for key in said.keys() - {"config", "changes"}:  # foreign text in these is cleaned on the page
                    assert made[key] == said[key], (id, key)
            overview = (await page.client.get("/index.json")).json()
            assert overview["status"] == json.loads(json.dumps(views.status(archive)))
            board = views.leaderboard(archive, all_tracks=True)["entries"]
        rows = {row["id"]: row for row in (await page.client.get("/runs.json?per=500")).json()["runs"]}
        for entry in board:
            assert rows[entry["id"]]["score"]["mean"] == entry["val_bpb"]
            assert rows[entry["id"]]["standing"] == entry["standing"]


async def test_every_number_of_the_table_is_on_the_page(home):
    async with served(home) as page:
        text = (await page.client.get("/runs?per=500")).text
        for row in (await page.client.get("/runs.json?per=500")).json()["runs"]:
            assert f"/runs/{row['id'][:16]}" in text
            if row["score"]:
                assert f"{row['score']['mean']:.4f}" in text


async def test_what_is_not_there_is_said_in_a_sentence(home):
    async with served(home) as page:
        for path, sentence in (
            ("/runs/ffffffffffff", "no finding"),
            ("/runs/9999", "no finding"),
            ("/nodes/nobody", "nobody called nobody"),
            ("/?topic=nope", "no topic"),
            ("/compare?run=zzzz", "no finding"),
            ("/no/such/page", "There is no such page"),
        ):
            answer = await page.client.get(path)
            assert answer.status_code == 404, path
            assert sentence in html.unescape(answer.text)
            assert "Traceback" not in answer.text
        assert (await page.client.get("/runs/9999.json")).json()["error"].startswith("no finding")
        hostile = await page.client.get("/nodes/%3Cscript%3Ealert(1)%3C%2Fscript%3E%1B%5B31m")
        assert hostile.status_code == 404
        assert "<script>alert" not in hostile.text


async def test_a_bug_in_a_page_is_an_answer_and_the_next_page_comes(home, monkeypatch):
    async with served(home) as page:
        await page.client.get("/")

        def broken(*_: object) -> str:
            raise KeyError("oops")

        with monkeypatch.context() as patched:
            patched.setattr(routes, "html_of", broken)
            answer = await page.client.get("/runs")
            assert answer.status_code == 500
            assert "a bug in research-swarm (KeyError)" in answer.text
            assert "oops" not in answer.text
        assert (await page.client.get("/runs")).status_code == 200


async def test_new_runs_are_on_the_next_page(home, tmp_path):
    async with served(home) as page:
        before = (await page.client.get("/runs.json")).json()["all"]
        journal = Journal(home.journal)
        notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
        log = PeerLog(ALICE)
        log.records = [record for record in journal.of(BRIEF_ID).records() if record.author == ALICE.peer_id]
        assert notebook.receive(log.finding(1.7, width=222)) is None
        journal.close()
        assert (await page.client.get("/runs.json")).json()["all"] == before + 1
        assert "1.7000" in (await page.client.get("/runs?sort=val_bpb")).text


async def test_a_home_where_nothing_has_been_found_says_so_on_every_page(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    load_or_create(home.key)
    Journal(home.journal).close()
    async with served(home) as page:
        answer = await page.client.get("/")
        assert answer.status_code == 404
        assert "no topic has been worked on" in answer.text
        home.save_brief(BRIEF_ID, BRIEF_BYTES)
        for path, words in (
            ("/", "No run yet."),
            ("/runs", "No run yet."),
            ("/lineage", "No run has been kept yet."),
            ("/nodes", "Nobody yet."),
            ("/topic", "There is no ticket"),
            ("/compare", "Nothing is chosen."),
            ("/now", "No node runs in"),
        ):
            answer = await page.client.get(path)
            assert answer.status_code == 200, (path, answer.text[:500])
            assert words in answer.text, path


async def test_a_journal_that_cannot_be_read_is_a_sentence(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    load_or_create(home.key)
    home.journal.write_bytes(b"not a database, but long enough to be looked at" * 40)
    async with served(home) as page:
        answer = await page.client.get("/")
        assert answer.status_code == 503
        assert "check the disk" in answer.text
    assert issubclass(views.NothingFound, SwarmError)


def test_a_goal_is_headings_paragraphs_and_lists():
    text = "# Goal\n\nOne line\ngoes on.\n\n- first\n  and more\n- second\n\n```\ncode  here\n```\n<b>no</b>"
    assert [(one.kind, one.lines) for one in blocks(text)] == [
        ("head", ("Goal",)),
        ("text", ("One line goes on.",)),
        ("list", ("first and more", "second")),
        ("code", ("code  here",)),
        ("text", ("<b>no</b>",)),
    ]
