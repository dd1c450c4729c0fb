"""A home as a node leaves it, with two topics, findings of two peers and a real results repository. For looking at."""

from pathlib import Path

import trio
from samples import PLENTY, TRACK, make_brief, make_finding, make_trial
from small_lab import ALICE, BRIEF, BRIEF_BYTES, BRIEF_ID, PeerLog

from gossip.identity import load_or_create
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from node.recording import Recorder
from node.results.repository import open_results
from node.trials.trainer import TrialReport
from swarm.brief import brief_id, encode_brief
from swarm.finding import CurvePoint, Track, encode_finding

OTHER = make_brief("print('other')\n").model_copy(update={"name": "other"})
OTHER_BYTES = encode_brief(OTHER)
OTHER_ID = brief_id(OTHER_BYTES)
GPU = Track(hardware_class="cuda-h100", budget_seconds=300.0)
HOSTILE_TITLE = "[bold]wide\x1b[2J\x1b]0;x\x07"


def furnish(path: Path) -> Home:
    """Topic 'other' was worked on first, 'small' last: three own findings in it and four of a peer."""
    home = Home(path)
    home.create()
    trio.run(_furnish, home)
    return home


async def _furnish(home: Home) -> None:
    identity = load_or_create(home.key)
    journal = Journal(home.journal)
    for brief, data, id, numbers in ((OTHER, OTHER_BYTES, OTHER_ID, (1,)), (BRIEF, BRIEF_BYTES, BRIEF_ID, (1, 2, 3))):
        home.save_brief(id, data)
        notebook = Notebook(brief, journal.of(id), identity, Events())
        results = open_results(home.results, identity.peer_id, brief.name, "tester")
        await results.prepare()
        recorder = Recorder(notebook, results, PLENTY, Events())
        curve = (CurvePoint(step=1, seconds=0.5, train_loss=5.5), CurvePoint(step=9, seconds=9.0, train_loss=2.5))
        parent = None
        for number in numbers:
            bpb = (2.2, 2.0, None)[number - 1]
            finding = make_finding(brief, number, bpb, parent, width=64 * number)
            trial = make_trial(bpb).model_copy(update={"curve": curve})
            entry, _ = await recorder.record(
                finding.model_copy(update={"trials": (trial,)}), [TrialReport(trial, curve, "log\n", 9.5)]
            )
            parent = entry if number == 1 else parent
    _hear_alice(Notebook(BRIEF, journal.of(BRIEF_ID), identity, Events()))
    journal.close()
    home.write_state(
        {
            "name": "tester", "peer_id": identity.peer_id, "topic": "small", "brief_id": BRIEF_ID,
            "hardware_class": TRACK.hardware_class, "budget_s": TRACK.budget_seconds, "proposer": "classic",
            "started_at": "2026-01-01T00:00:00Z", "peers": [ALICE.peer_id], "current": {"number": 4, "title": "next"},
            "addresses": ["/ip4/127.0.0.1/tcp/4001"], "ticket": "swarm1abc", "port": 4001, "training_share": 0.97,
        }
    )  # fmt: skip


def _hear_alice(notebook: Notebook) -> None:
    alice = PeerLog(ALICE)
    alice.finding(2.005, width=128)  # the same as our second: confirms it
    hostile = make_finding(BRIEF, 2, 1.9, width=200, norm="rmsnorm")
    proposal = hostile.proposal.model_copy(update={"title": HOSTILE_TITLE})
    alice.sign(encode_finding(hostile.model_copy(update={"proposal": proposal, "node_name": "eve\x1b[31m"})))
    alice.sign(encode_finding(make_finding(BRIEF, 3, 1.2, track=GPU, width=256)))
    alice.sign(b"nonsense")
    for record in alice.records:
        notebook.receive(record)
