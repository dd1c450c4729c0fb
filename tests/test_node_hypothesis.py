"""What a proposer is told of peers: numbers of the same track with how far they stand, of others only the change."""

import pytest
from samples import TRACK, make_finding
from small_lab import ALICE, BOB, BRIEF, PeerLog, Scripted, make_world

from node.proposers.moves import find_sources
from node.proposers.observations import observations
from node.research import research
from swarm.finding import encode_finding
from swarm.trial import Track
from swarm.words import Standing

GPU = Track(hardware_class="cuda-h100", budget_seconds=300.0)
LONGER = TRACK.model_copy(update={"budget_seconds": 60.0})


@pytest.fixture
async def told(tmp_path, autojump_clock):
    """The first request of a short night in which peers were heard: on this track, on a GPU, with a longer budget."""
    proposer = Scripted([{"learning_rate": 1e-3 + n / 1e5} for n in range(1, 20)])
    world = make_world(tmp_path, proposer, experiments=3)
    alice, bob = PeerLog(ALICE), PeerLog(BOB)
    for number, track in enumerate((TRACK, GPU, LONGER), start=1):
        alice.sign(encode_finding(make_finding(BRIEF, number, 1.0 + number / 10, track=track, width=100 + number)))
    bob.finding(1.105, width=101)  # Alice's first, measured by somebody else
    bob.finding(2.1, width=77)
    for record in (*alice.records, *bob.records):
        assert world.notebook.receive(record) is None
    await research(world.lab, world.trainer)
    yield proposer.requests[0], world.notebook
    world.close()


async def test_only_this_track_is_history_and_other_tracks_are_apart(told, autojump_clock):
    request, notebook = told
    assert {entry.finding.track for entry in request.history} == {TRACK}
    assert {entry.finding.track for entry in request.other_tracks} == {GPU, LONGER}
    assert notebook.me in {entry.author for entry in request.history}


async def test_a_peers_number_is_believed_as_it_stands_when_somebody_else_has_measured_it(told, autojump_clock):
    request, _ = told
    seen = {(one.entry.author, one.entry.finding.proposal.config["width"]): one for one in observations(request)}
    confirmed, claimed = seen[ALICE.peer_id, 101], seen[BOB.peer_id, 77]
    assert request.standings[confirmed.entry.id] is Standing.CONFIRMED
    assert confirmed.value == confirmed.entry.val_bpb
    assert request.standings[claimed.entry.id] is Standing.CLAIMED
    assert claimed.value != claimed.entry.val_bpb
    assert not {102, 103} & {width for _, width in seen}, "a number of another track is never an observation"


async def test_a_finding_of_another_track_never_leads_however_good_its_number(told, autojump_clock):
    request, _ = told
    leading = [source.entry for source in find_sources(request) if source.leads]
    assert leading
    assert {entry.finding.track for entry in leading} == {TRACK}
