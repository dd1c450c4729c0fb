"""`swarm peers`: who is known, who is kept out or ignored, with and without a running node; and nothing is changed."""

import json
import sys

import pytest
from small_home import furnish
from small_lab import ALICE, BOB, BRIEF, BRIEF_ID, PeerLog

from gossip.doorkeeper import PeerLists
from gossip.envelope import seal
from gossip.heard import Heard, RefusedRecords, Way
from gossip.identity import Identity, load_or_create
from gossip.reputation import Reputation
from gossip.service import Snapshot
from gossip.traffic import Kind, Traffic
from node.cli import main
from node.cli.peers import duration
from node.clock import wall_clock
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.network_file import network_facts, write_network
from node.notebook import Notebook
from swarm.words import short

STRANGER = Identity(b"\x0a" * 32).peer_id
EVE = "12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments: str, columns: str = "200") -> str:
        monkeypatch.setattr(sys, "argv", ["swarm", "peers", *arguments])
        monkeypatch.setenv("COLUMNS", columns)
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def home(tmp_path) -> Home:
    """Alice was heard and is all right, BOB told two stories, EVE is banned, and one is denied."""
    home = furnish(tmp_path / "home")
    journal = Journal(home.journal)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    for bpb in (1.9, 1.8):
        notebook.receive(PeerLog(BOB).finding(bpb))
    journal.close()
    reputation = Reputation()
    reputation.strike(EVE, 10.0, "malformed", wall_clock() - 10)
    reputation.strike(ALICE.peer_id, 2.0, "rate_of_asker", wall_clock())
    (home.path / "reputation.json").write_text(reputation.to_json())
    (home.path / "peers.toml").write_text(f'deny = ["{BOB.peer_id}"]\n')
    return home


def test_all_that_is_known_of_peers_as_json(home, run):
    with home.lock():
        facts = json.loads(run("--home", str(home.path), "--json"))
    assert facts["running"]
    assert facts["own_equivocation"] is None
    peers = {peer["peer"]: peer for peer in facts["peers"]}
    assert list(peers) == [ALICE.peer_id, BOB.peer_id, EVE], "who is connected first, then by records"
    alice, bob, eve = peers.values()
    assert (alice["connected"], alice["records"], alice["findings"]) == (True, 4, 3)
    assert alice["strikes"] == pytest.approx(2, abs=0.1)
    assert (alice["ban"], alice["equivocation"], alice["list"]) == (None, None, None)
    assert (bob["findings"], bob["list"]) == (0, "deny")
    assert [record["number"] for record in bob["equivocation"]["records"]] == [1, 1]
    assert 0 < eve["ban"]["seconds_left"] <= 50
    assert eve["ban"]["reason"] == "malformed"


def test_nobody_is_connected_when_no_node_runs(home, run):
    before = {path.name: path.read_bytes() for path in home.path.glob("*.json")}
    facts = json.loads(run("--home", str(home.path), "--json"))
    assert not facts["running"]
    assert not any(peer["connected"] for peer in facts["peers"])
    assert {path.name: path.read_bytes() for path in home.path.glob("*.json")} == before


def test_the_table_says_who_is_ignored_and_kept_out_in_harmless_words(home, run):
    text = run("--home", str(home.path))
    assert "ignored: its records 1 (" in text
    assert "; denied" in text
    assert "banned for" in text
    assert "\x1b]" not in text


def counted(home: Home, lists: PeerLists | None = None) -> None:
    """As a running node writes it: three kilobytes from Alice, and a stranger who was there once."""
    traffic = Traffic()
    traffic.received(ALICE.peer_id, Kind.BLOB, 3000, 1)
    traffic.sent(ALICE.peer_id, Kind.CATCHUP, 45, 2)
    traffic.sent(STRANGER, Kind.BROADCAST, 10, 1)
    snapshot = Snapshot((ALICE.peer_id,), (ALICE.peer_id,), (), {"admission.accepted": 4}, traffic)
    since = {ALICE.peer_id: wall_clock() - 7200}
    write_network(home, BRIEF_ID, network_facts(snapshot, RefusedRecords(), since, lists or PeerLists(), wall_clock()))


def test_traffic_and_since_when_each_is_here(home, run):
    counted(home)
    with home.lock():
        facts = json.loads(run("--home", str(home.path), "--json"))
        text = run("--home", str(home.path))
    peers = {peer["peer"]: peer for peer in facts["peers"]}
    alice = peers[ALICE.peer_id]
    assert alice["traffic"]["blob"] == {"bytes_in": 3000, "bytes_out": 0, "messages_in": 1, "messages_out": 0}
    assert alice["connected_since"].endswith("Z")
    assert peers[STRANGER]["traffic"]["broadcast"]["bytes_out"] == 10
    assert (peers[BOB.peer_id]["traffic"], peers[BOB.peer_id]["connected_since"]) == (None, None)
    assert facts["traffic"]["catchup"]["messages_out"] == 2
    assert facts["counters"] == {"admission.accepted": 4}
    (line,) = [line for line in text.splitlines() if short(ALICE.peer_id) in line]
    assert "2.0 h 3.0 kB 45 B" in " ".join(line.split())
    assert "since the start: broadcast 0 B in, 10 B out; catchup 0 B in, 45 B out; blob 3.0 kB in, 0 B out" in text


def test_the_table_fits_a_narrow_terminal(home, run):
    counted(home)
    with home.lock():
        text = run("--home", str(home.path), columns="80")
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert short(ALICE.peer_id) in text
    assert "3.0 kB" in text


def test_lists_given_to_a_running_node_are_shown_and_those_of_a_stopped_one_are_not(home, run):
    counted(home, PeerLists(deny=frozenset({ALICE.peer_id})))
    with home.lock():
        running = json.loads(run("--home", str(home.path), "--json"))
    stopped = json.loads(run("--home", str(home.path), "--json"))
    of_alice = [next(p["list"] for p in facts["peers"] if p["peer"] == ALICE.peer_id) for facts in (running, stopped)]
    assert of_alice == ["deny", None]


def test_a_clock_that_is_wrong_is_shown(home, run):
    journal = Journal(home.journal)
    late = seal(Identity(b"\x09" * 32), "note", BRIEF_ID, 1, "", int((wall_clock() + 720) * 1000), b"x")
    journal.of(BRIEF_ID).append(late, received=wall_clock(), own=False, heard=Heard(ALICE.peer_id, Way.BROADCAST))
    journal.close()
    facts = json.loads(run("--home", str(home.path), "--json"))
    assert [p["clock_ahead_seconds"] for p in facts["peers"] if p["peer"] == late.author] == [pytest.approx(720, abs=2)]
    assert "clock 12 min ahead" in run("--home", str(home.path))


def test_without_peers_it_says_so(tmp_path, run):
    home = furnish(tmp_path / "home")
    assert run("--home", str(home.path), "--topic", "other").endswith("no peers yet\n")


def test_durations_are_for_people():
    assert [duration(seconds) for seconds in (3, 89, 600, 5399, 86_400)] == [
        "3 s",
        "89 s",
        "10 min",
        "90 min",
        "24.0 h",
    ]
