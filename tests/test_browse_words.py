"""What the page says so that nobody is misled: numbers that do not compare, old warnings, words of its own."""

import json
from datetime import UTC, datetime

import pytest
from samples import make_finding
from served_page import served
from small_home import GPU, furnish
from small_lab import BOB, BRIEF, BRIEF_ID, PeerLog

from gossip.identity import load_or_create
from node import views
from node.browse.patches import patch_lines
from node.browse.words import WORDS
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from swarm.brief import source_sha256
from swarm.finding import encode_finding


@pytest.fixture
def home(tmp_path) -> Home:
    return furnish(tmp_path / "home")


def hear(home: Home, *findings) -> list[str]:
    journal, bob = Journal(home.journal), PeerLog(BOB)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    records = [bob.sign(encode_finding(one)) for one in findings]
    for record in records:
        assert notebook.receive(record) is None
    journal.close()
    return [record.id for record in records]


async def test_a_table_sorted_by_number_says_where_classes_are_mixed(home):
    hear(home, make_finding(BRIEF, 1, 1.1, track=GPU, width=99))
    async with served(home) as page:
        said = (await page.client.get("/runs.json?sort=val_bpb")).json()
        assert {one["hardware_class"] for one in said["tracks"]} == {"cpu-x86_64-2", "cuda-h100"}
        assert sum(one["runs"] for one in said["tracks"]) == said["found"]
        text = (await page.client.get("/runs?sort=val_bpb&q=run")).text
        assert "2 hardware classes or budgets are mixed here" in text
        only = "/runs?class=cuda-h100&amp;budget=300&amp;q=run&amp;sort=val_bpb"
        assert only in text
        alone = await page.client.get(only.replace("&amp;", "&"))
        assert "are mixed here" not in alone.text
        assert "are mixed here" not in (await page.client.get("/runs")).text


async def test_every_other_source_is_compared_with_the_first_runs(home):
    found = []
    for number, lines in enumerate(("a = 1\n", "a = 2\n", "a = 2\n", "a = 3\n"), start=1):
        made = make_finding(BRIEF, number, 1.9, width=40 + number)
        change = {"source": lines, "source_sha256": source_sha256(lines)}
        found.append(made.model_copy(update={"proposal": made.proposal.model_copy(update=change)}))
    ids = hear(home, *found)
    async with served(home) as page:
        asked = "&".join(f"run={id}" for id in ids)
        said = (await page.client.get(f"/compare.json?{asked}")).json()
        assert [(one["from"], one["to"]) for one in said["sources"]] == [(ids[0], ids[1]), (ids[0], ids[3])]
        assert said["source"] == said["sources"][0]
        text = (await page.client.get(f"/compare?{asked}")).text
        assert text.count('class="patch scroll"') == 2
        alone = (await page.client.get(f"/compare?run={ids[1]}&run={ids[2]}")).text
        assert "All of them ran the same train.py" in alone


def test_colours_of_a_patch_end_where_they_are_told_to():
    diff = "--- a\n+++ b\n@@ -1 +1,2 @@\n-return 1\n+return 2\n+return 3\n"
    assert sum("<span" in line.html for line in patch_lines(diff).lines) == 3
    assert sum("<span" in line.html for line in patch_lines(diff, coloured_characters=12).lines) == 1


async def test_only_a_warning_since_the_last_run_explains_a_pause(home):
    state = home.read_state()
    with views.open_archive(home) as archive:
        last = max(entry.at_ms for entry in archive.ledger.entries(author=archive.me)) / 1000
    async with served(home) as page:
        with home.lock():
            for at, pause in ((last - 60, "Between two runs"), (last + 60, "the disk is full: waiting")):
                when = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
                said = [{"at": when, "text": "the disk is full: waiting", "warning": True}]
                home.write_state(state | {"current": None, "notices": said})
                now = (await page.client.get("/now.json")).json()["now"]
                assert now["pause"].startswith(pause)
            home.write_state(state | {"current": None, "notices": [{"at": "?", "text": "x", "warning": True}]})
            assert (await page.client.get("/now.json")).json()["now"]["pause"] == "x"


async def test_words_are_explained_where_every_page_leads(home):
    async with served(home) as page:
        assert json.dumps("/topic#words") in (await page.client.get("/runs")).text
        text = (await page.client.get("/topic")).text
        assert 'id="words"' in text
        for word, meaning in WORDS:
            assert f"<dt>{word}</dt>" in text
            assert meaning.endswith(".")
        explained = " ".join(word for word, _ in WORDS)
        for word in ("keep", "discard", "inconclusive", "crash", "censored", "cancelled", "claimed", "confirmed"):
            assert word in explained
