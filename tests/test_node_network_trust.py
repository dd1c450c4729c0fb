"""Two stories of one author, a copied home, bans and lists: whole nodes over a network in memory."""

import pytest
import trio
from networked_home import running
from small_lab import ALICE, BOB, ME, PeerLog, until

from gossip.doorkeeper import PeerLists
from node.home import HomeError
from node.network import load_reputation
from node.peer_lists import load_peer_lists

EVE = "12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"


def stories(length: int = 1) -> list[PeerLog]:
    """Two logs of BOB that have nothing in common."""
    logs = [PeerLog(BOB), PeerLog(BOB)]
    for log, bpb in zip(logs, (1.9, 1.5), strict=True):
        for n in range(length):
            log.finding(bpb - n / 100)
    return logs


@pytest.mark.parametrize("lengths", [(1, 1), (3, 3), (1, 4), (4, 1)])
async def test_two_halves_that_heard_different_stories_of_an_author_end_with_the_same_ledger_without_it(
    node, net, autojump_clock, lengths
):
    """Heads may even be equal: then nothing is missing, and only the ids tell."""
    first, second = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    for here, log, length in zip((first, second), stories(4), lengths, strict=True):
        for record in log.records[:length]:
            assert here.notebook.receive(record) is None
    mine, hers = first.find(1), second.find(1)
    async with trio.open_nursery() as nursery:
        await running(nursery, first, second)
        await until(lambda: all(here.notebook.journal.unwanted() for here in (first, second)), 60)
        await until(lambda: set(first.findings()) == set(second.findings()) == {mine, hers})
        nursery.cancel_scope.cancel()
    for here in (first, second):
        assert here.notebook.journal.unwanted() == {BOB.peer_id}
        assert len([text for text in here.warnings() if "contradict each other" in text]) == 1
        assert not [text for text in here.warnings() if "stopped fetching" in text]


async def test_a_late_joiner_gets_the_proof_and_not_the_stories(node, net, autojump_clock):
    first, late = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    one, other = stories(30)
    for record in (*one.records, other.records[7]):
        first.notebook.receive(record)
    mine = first.find(1)
    async with trio.open_nursery() as nursery:
        await running(nursery, first, late)
        await until(lambda: late.notebook.journal.unwanted() and late.findings() == [mine])
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert late.notebook.journal.counts() == {BOB.peer_id: 1, ME.peer_id: 1}
    assert late.network._service.snapshot().counters["catchup.records"] == 2, "not fetched again and again"


async def test_a_copied_home_steps_back_as_soon_as_it_hears_the_other_and_the_swarm_sees_one_story(
    node, net, autojump_clock, monkeypatch
):
    """Two machines with one key; a third one hears both."""
    hub = node(ALICE)
    copies = [node(ME, bootstrap=[hub.address]), node(ME, bootstrap=[hub.address], at=BOB.peer_id)]
    monkeypatch.setattr("node.notebook.wall_clock", lambda: 2e9 + trio.current_time())
    async with trio.open_nursery() as nursery:
        await running(nursery, hub, *copies)
        await until(lambda: len(hub.network.peers) == 2)
        told = [copies[0].find(1)]
        await until(lambda: told[0] in copies[1].notebook.ledger)
        assert ["right now" in text for text in copies[1].warnings()] == [True]
        untold = copies[1].find(2)
        await trio.sleep(30)
        told.append(copies[0].find(2))
        await until(lambda: told[1] in hub.notebook.ledger)
        await until(lambda: any("both have written" in text for text in copies[1].warnings()))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert sorted(hub.findings()) == sorted(told), "of the two, the one that was first is believed"
    assert hub.notebook.journal.unwanted() == set()
    assert copies[0].warnings() == []
    assert untold in copies[1].notebook.ledger, "research goes on"
    assert len(copies[1].warnings()) == 2


async def test_bans_are_kept_in_the_home(node, net, autojump_clock):
    here = node()
    async with trio.open_nursery() as nursery:
        await running(nursery, here)
        for n in range(11):
            here.network._service._intake.deliver(EVE, bytes([n]))
        nursery.cancel_scope.cancel()
    (text,) = here.warnings()
    assert text == f"peer {EVE} is kept out for 60 s: it went on sending what is no good (malformed)"
    (standing,) = load_reputation(here.home)
    assert (standing.peer, standing.bans, standing.reason) == (EVE, 1, "malformed")
    assert not here.network._service.admits(EVE)


async def test_a_denied_peers_findings_do_not_come_through_others(node, net, autojump_clock):
    here = node(ME, lists=PeerLists(deny=frozenset({BOB.peer_id})), bootstrap=[net.address(ALICE.peer_id)])
    alice = node(ALICE)
    for record in stories(3)[0].records:
        alice.notebook.receive(record)
    hers = alice.find(1)
    async with trio.open_nursery() as nursery:
        await running(nursery, alice, here)
        await until(lambda: hers in here.notebook.ledger)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert here.findings() == [hers]
    assert here.network._service.snapshot().counters["admission.author_denied"] == 3, "then not asked for again"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow = 3", "allow must be a list of peer ids"),
        ('deny = ["bob"]', "'bob' in deny is not a peer id"),
        ("deny = [1]", "1 in deny is not a peer id"),
        ("forbid = []", "'forbid', which means nothing"),
        ("deny = [", "mend it or move it away"),
        ("\x00", "mend it or move it away"),
    ],
)
def test_lists_that_cannot_be_read_are_said_in_one_sentence(tmp_path, text, words):
    (tmp_path / "peers.toml").write_text(text)
    with pytest.raises(HomeError, match=words) as caught:
        load_peer_lists(tmp_path)
    assert "\n" not in str(caught.value)


def test_lists_of_the_home_and_of_the_command_line_add_up(tmp_path):
    assert load_peer_lists(tmp_path) == PeerLists()
    (tmp_path / "peers.toml").write_text(f'allow = ["{EVE}"]\n')
    lists = load_peer_lists(tmp_path, [ME.peer_id], [BOB.peer_id])
    assert lists == PeerLists(frozenset({EVE, ME.peer_id}), frozenset({BOB.peer_id}))
