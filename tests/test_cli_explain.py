"""`swarm explain`: the story of records that were made here, came, were refused, contradict, or are unknown."""

import json
import sys
from dataclasses import dataclass

import pytest
from samples import make_trial
from small_home import HOSTILE_TITLE, furnish
from small_lab import ALICE, BOB, BRIEF, BRIEF_ID, PeerLog

from gossip.doorkeeper import PeerLists
from gossip.heard import Heard, RefusedRecords, Way
from gossip.identity import load_or_create
from gossip.refusal import Refusal, RefusalReason
from gossip.service import Snapshot
from gossip.traffic import Traffic
from node.cli import main
from node.clock import wall_clock
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.network_file import network_facts, write_network
from node.notebook import Notebook
from swarm.replay import Replay, encode_replay

EVIL = "it says \x1b]0;owned\x07 no"


@dataclass
class Told:
    """A furnished home, and ids of what came to it."""

    home: Home
    finding: str
    replay: str
    contradicting: tuple[str, str]
    refused: str


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Told:
    home = furnish(tmp_path_factory.mktemp("told") / "home")
    journal = Journal(home.journal)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    log = PeerLog(ALICE)
    log.records = [record for record in notebook.journal.records() if record.author == ALICE.peer_id]
    mine = next(e for e in notebook.own() if e.finding.number == 2)
    finding = log.finding(1.95, width=96)
    trial = make_trial(2.004, outcome=None)
    made = Replay(of=mine.id, key=mine.finding.proposal.key, started_at="2026-01-01T00:00:00Z", trial=trial)
    replay = log.sign(encode_replay(made), kind="replay")
    for record in (finding, replay):
        assert notebook.receive(record, Heard(BOB.peer_id, Way.CATCHUP)) is None
    one, other = (PeerLog(BOB).finding(bpb) for bpb in (1.9, 1.8))
    for record in (one, other):
        notebook.receive(record, Heard(BOB.peer_id, Way.BROADCAST))
    journal.close()
    refused = RefusedRecords()
    for at in (100.0, 200.0, 300.0):
        refusal = Refusal(RefusalReason.BAD_SIGNATURE, EVIL)
        refused.note(b"\xff" * 200, Heard(BOB.peer_id, Way.BROADCAST), refusal, at)
    snapshot = Snapshot((), (), (), {}, Traffic())
    write_network(home, BRIEF_ID, network_facts(snapshot, refused, {}, PeerLists(), wall_clock()))
    return Told(home, finding.id, replay.id, (one.id, other.id), next(iter(refused)).id)


@pytest.fixture
def run(monkeypatch, capsys, told):
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["swarm", "explain", "--home", str(told.home.path), *arguments])
        main()
        return capsys.readouterr().out

    return run


def test_an_own_finding_by_its_number_with_the_trials_that_its_standing_rests_on(run):
    facts = json.loads(run("#2", "--json"))
    assert (facts["kept"], facts["record"]["own"], facts["record"]["kind"]) == (True, True, "finding")
    assert (facts["arrival"]["way"], facts["arrival"]["told"], facts["arrival"]["heard_from"]) == ("own", False, None)
    assert facts["says"]["standing"] == "confirmed"
    assert [(one["peer"], one["val_bpb"]) for one in facts["says"]["others"]] == [(ALICE.peer_id, [2.004, 2.005])]
    assert len(facts["says"]["replays"]) == 1
    text = run("2")
    assert "not told to anybody yet" in text
    assert "standing        confirmed" in text
    assert f"trials of       {ALICE.peer_id}: 2.0040, 2.0050" in text


def test_a_peers_finding_says_who_brought_it_and_how(run, told):
    facts = json.loads(run(told.finding[:12], "--json"))
    assert facts["id"] == told.finding
    assert facts["record"]["author"] == ALICE.peer_id
    assert (facts["arrival"]["heard_from"], facts["arrival"]["way"]) == (BOB.peer_id, "catchup")
    assert facts["refused"] == []
    assert f"from {BOB.peer_id} by catchup" in run(told.finding)


def test_a_replay_names_its_finding(run, told):
    facts = json.loads(run(told.replay, "--json"))
    assert facts["record"]["kind"] == "replay"
    assert facts["says"]["standing"] == "confirmed"
    assert facts["says"]["replays"][0]["id"] == told.replay
    assert "replays" in run(told.replay)


def test_what_was_refused_says_by_whom_why_and_how_often_in_harmless_words(run, told):
    facts = json.loads(run(told.refused[:8], "--json"))
    (refused,) = facts["refused"]
    assert (refused["reason"], refused["times"], refused["peer"]) == ("bad_signature", 3, BOB.peer_id)
    assert (facts["kept"], facts["record"], facts["arrival"], facts["says"]) == (False, None, None, None)
    text = run(told.refused)
    assert "refused         bad_signature: it says no; from" in text
    assert "3 times, first at 1970-01-01T00:01:40" in text
    assert "\x1b" not in text


def test_both_halves_of_a_contradiction_can_be_explained(run, told):
    kept, other = told.contradicting
    facts = json.loads(run(other, "--json"))
    assert (facts["kept"], facts["equivocation"]["with"], facts["record"]["author"]) == (False, kept, BOB.peer_id)
    assert "contradicts" in run(kept)
    assert "its author contradicts itself" in run(kept)


def test_a_record_that_says_nothing_valid_is_kept_and_not_believed(run, told):
    journal = Journal(told.home.journal, readonly=True)
    nonsense = next(record for record in journal.of(BRIEF_ID).records() if record.payload == b"nonsense")
    hostile = next(record for record in journal.of(BRIEF_ID).records() if b"wide\x1b" in record.payload)
    journal.close()
    facts = json.loads(run(nonsense.id, "--json"))
    assert facts["kept"]
    assert facts["arrival"]["way"] is None, "it came before that was kept"
    assert facts["says"]["ignored"]
    assert "how is not known" in run(nonsense.id)
    assert HOSTILE_TITLE not in run(hostile.id)
    assert "\x1b" not in run(hostile.id)


@pytest.mark.parametrize("reference", ["99", "abc", "f" * 64, "zzzz"])
def test_what_is_not_here_is_said_in_a_sentence(run, capsys, reference):
    with pytest.raises(SystemExit) as caught:
        run(reference)
    assert caught.value.code == 1
    assert "no record" in capsys.readouterr().err
