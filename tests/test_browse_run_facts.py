"""What a run's page says beside its numbers: where its commit is, what it cost; and what this node's owner steers."""

import json

import pytest
import trio
from samples import make_finding
from served_page import served
from small_home import furnish
from small_lab import ALICE, BOB, BRIEF, BRIEF_ID, PeerLog

from gossip.identity import load_or_create
from node import views
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from node.results.finding_commits import FindingCommits
from node.results.repository import Results, branch_name
from node.steering import REMARK
from swarm.finding import encode_finding

NOWHERE = "0123456789" * 4


@pytest.fixture
def home(tmp_path) -> Home:
    return furnish(tmp_path / "home")


def by(home: Home, peer: str) -> list[str]:
    with views.open_archive(home) as archive:
        return [entry.id for entry in archive.ledger.entries(author=peer)]


async def commit(home: Home, peer: str, id: str) -> str:
    results = Results(home.results, branch_name(peer, "small"))
    return await results.commit({"runs/0001-x/config.json": id.encode()}, "run", {"Finding-Id": id}, 1_800_000_000.0)


async def test_a_peers_commit_is_known_once_its_branch_is_here(home):
    me = load_or_create(home.key).peer_id
    own, theirs = by(home, me), by(home, ALICE.peer_id)
    async with served(home) as page:
        before = await page.client.get(f"/runs/{theirs[0]}")
        assert f"swarm fetch {ALICE.peer_id}" in before.text
        first = await commit(home, ALICE.peer_id, theirs[0])
        await commit(home, ALICE.peer_id, own[0])  # whoever says so: it is no branch of ours
        assert (await page.client.get(f"/runs/{theirs[0]}.json")).json()["commit"] == first
        text = (await page.client.get(f"/runs/{theirs[0]}")).text
        assert f"show {first}" in text
        assert "swarm fetch" not in text
        assert (await page.client.get(f"/runs/{theirs[1]}.json")).json()["commit"] is None
        second = await commit(home, ALICE.peer_id, theirs[1])
        assert (await page.client.get(f"/runs/{theirs[1]}.json")).json()["commit"] == second
        with views.open_archive(home) as archive:
            assert (await page.client.get(f"/runs/{own[0]}.json")).json()["commit"] == archive.commits[own[0]]


async def test_a_branch_is_read_once_for_each_of_its_heads(home):
    index = FindingCommits(home.results)
    assert await index.of(BOB.peer_id, "small") == {}
    assert await index.of("--help", "small") == {}
    assert await FindingCommits(home.path / "none").of(BOB.peer_id, "small") == {}
    await commit(home, BOB.peer_id, NOWHERE)
    found = await index.of(BOB.peer_id, "small")
    assert list(found) == [NOWHERE]
    assert await index.of(BOB.peer_id, "small") is found
    await commit(home, BOB.peer_id, NOWHERE)
    again = await index.of(BOB.peer_id, "small")
    assert again is not found
    assert again == found, "the commit that it came with"


def test_the_command_line_knows_it_too(home, run):
    theirs = by(home, ALICE.peer_id)
    made = trio.run(commit, home, ALICE.peer_id, theirs[0])
    status, out, _ = run("show", theirs[0], "--home", home.path, "--json")
    assert (status, json.loads(out)["commit"]) == (0, made)
    _, out, _ = run("log", "--all", "--home", home.path, "--json")
    commits = {one["id"]: one["commit"] for one in json.loads(out)["findings"]}
    assert commits[theirs[0]] == made
    assert commits[theirs[1]] is None
    assert all(commits[id] for id in by(home, load_or_create(home.key).peer_id))


async def test_what_a_run_cost_is_said_as_far_as_it_is_known(home):
    own, theirs = by(home, load_or_create(home.key).peer_id), by(home, ALICE.peer_id)
    journal, bob = Journal(home.journal), PeerLog(BOB)
    made = make_finding(BRIEF, 1, 1.9)
    asked = made.model_copy(update={"proposal": made.proposal.model_copy(update={"proposer": "llm:code/some-model"})})
    record = bob.sign(encode_finding(asked))
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    assert notebook.receive(record) is None
    journal.close()
    lines = [
        {"finding": own[1], "calls": 2, "tokens_in": 3000, "tokens_out": 450, "cost_usd": 0.0123},
        {"finding": own[2], "calls": 1, "tokens_in": 10, "tokens_out": 5, "cost_usd": None},
    ]
    home.spending.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with served(home) as page:

        async def cost(id: str) -> tuple[dict, str]:
            return (await page.client.get(f"/runs/{id}.json")).json()["cost"], (
                await page.client.get(f"/runs/{id}")
            ).text

        said, text = await cost(own[1])
        assert said == {"trials": 1, "training_seconds": 9.5, "training_tokens": 200_000,
                        "model_calls": 2, "model_tokens": 3450, "usd": 0.0123}  # fmt: skip
        assert "2 questions, 3,450 tokens, $0.0123" in text
        said, text = await cost(own[2])
        assert (said["model_tokens"], said["usd"]) == (15, None)
        assert "its price is not known" in text
        said, text = await cost(theirs[0])
        assert (said["model_calls"], said["usd"]) == (0, 0.0)
        assert "none was asked" in text
        said, text = await cost(record.id)
        assert (said["model_calls"], said["usd"]) == (None, None)
        assert "only its own node knows" in text


async def test_what_the_owner_steers_is_on_the_page_while_the_node_runs(home):
    async with served(home) as page:
        plain = (await page.client.get("/topic.json")).json()
        assert plain["steering"]["words"] == []
        assert plain["program"] is None
        assert "No setting is pinned" in (await page.client.get("/topic")).text
        assert "Steered:" not in (await page.client.get("/now")).text
        (home.path / "steering.toml").write_text(
            'ban = ["rope"]\n[pin]\nwidth = 128\n[ban_values]\nnorm = ["layernorm"]\n'
        )
        (home.path / "program.md").write_text(f"{BRIEF.goal}\n- 2026-01-01: try <b>wider</b>\x1b[2J ones\n")
        words = ["width is 128", "rope stays as it is", "norm is never layernorm"]
        for path, part in (("/topic.json", None), ("/now.json", "now"), ("/index.json", "now")):
            said = (await page.client.get(path)).json()
            assert (said[part] if part else said)["steering"]["words"] == words
        text = (await page.client.get("/topic")).text
        added = "2026-01-01: try &lt;b&gt;wider&lt;/b&gt; ones"
        assert f'<p class="added"><span class="sr">Added: </span>{added}</p>' in text
        assert 'class="removed"' not in text
        assert f"<p>{BRIEF.goal}</p>" in text
        now = (await page.client.get("/now")).text
        assert "width is 128; rope stays as it is; norm is never layernorm; program.md is edited" in now
        (home.path / "steering.toml").write_text("[pin]\nwidth = 7777\n")
        assert "steering.toml: width = " in (await page.client.get("/now")).text
        assert "steering.toml: width = " in (await page.client.get("/topic")).text


async def test_a_journal_says_where_the_steering_changed(home):
    journal, bob = Journal(home.journal), PeerLog(BOB)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    for number, said in enumerate(("", "pinned width = 128", "pinned width = 128", "banned <i>rope"), start=1):
        made = make_finding(BRIEF, number, 1.9, width=32 + number)
        rationale = f"It is cheap. {REMARK}{said}." if said else "It is cheap."
        proposal = made.proposal.model_copy(update={"rationale": rationale})
        assert notebook.receive(bob.sign(encode_finding(made.model_copy(update={"proposal": proposal})))) is None
    journal.close()
    async with served(home) as page:
        said = (await page.client.get(f"/nodes/{BOB.peer_id}.json")).json()["journal"]
        assert [one["steered"] for one in said] == ["banned <i>rope", "pinned width = 128", "pinned width = 128", ""]
        text = (await page.client.get(f"/nodes/{BOB.peer_id}")).text
        assert text.count("Steered from here on:") == 2
        assert "banned &lt;i&gt;rope" in text
        found = (await page.client.get("/runs.json", params={"q": "steered by the node's owner"})).json()["found"]
        assert found == 3
