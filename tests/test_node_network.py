"""The node's side of gossip, over a network in memory: ticket, addresses, a full disk, and what people are told."""

import json
import socket

import pytest
import trio
from networked_home import running
from small_lab import ALICE, BRIEF, BRIEF_ID, ME, until

from gossip import events as heard
from gossip.interfaces import has_ip6
from gossip.ticket import MAX_ADDRESSES, decode_ticket
from node.events import FindingReceived, Listening, Notice, PeersChanged
from node.network import default_listen, worth_telling

PEER = "12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"


async def test_a_node_says_where_it_listens_with_a_ticket_that_leads_to_it(node, net, tmp_path, autojump_clock):
    here = node(ticket_file=tmp_path / "ticket")
    async with trio.open_nursery() as nursery:
        await running(nursery, here)
        nursery.cancel_scope.cancel()
    (said,) = here.happened(Listening)
    ticket = decode_ticket(said.ticket)
    assert (ticket.topic, ticket.brief, ticket.addresses) == (BRIEF.name, BRIEF_ID, (net.address(ME.peer_id),))
    assert said.port == 10_000
    assert (tmp_path / "ticket").read_text() == said.ticket + "\n"


async def test_a_ticket_file_that_cannot_be_written_is_a_warning(node, tmp_path, autojump_clock):
    here = node(ticket_file=tmp_path / "none" / "ticket")
    async with trio.open_nursery() as nursery:
        await running(nursery, here)
        nursery.cancel_scope.cancel()
    assert here.notices() == [f"cannot write {tmp_path / 'none' / 'ticket'}: No such file or directory"]


async def test_findings_travel_both_ways_and_a_late_joiner_hears_how_many_it_got(node, net, autojump_clock):
    first, second = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    early = [first.find(number) for number in (1, 2, 3)]
    async with trio.open_nursery() as nursery:
        await running(nursery, first)
        await running(nursery, second)
        await until(lambda: len(second.happened(FindingReceived)) == 3)
        fresh = second.find(1)
        await until(lambda: fresh in first.notebook.ledger)
        await until(lambda: not first.notebook.journal.unsent())
        assert first.network.peers == (ALICE.peer_id,)
        nursery.cancel_scope.cancel()
    assert [event.id for event in second.happened(FindingReceived)] == early
    assert any(text.startswith("caught up with ") and text.endswith(": 3 records") for text in second.notices())
    assert second.happened(PeersChanged)[0].peers == (ME.peer_id,)
    saved = json.loads((second.home.path / "peers.json").read_text())
    assert ME.peer_id in json.dumps(saved), "remembered for the next start"


async def test_a_disk_that_is_full_when_a_finding_has_been_told_ends_nothing_and_it_is_told_once(
    node, net, autojump_clock
):
    here, peer = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    told = here.find(1)
    database = here.notebook.journal.journal
    database.execute("CREATE TRIGGER full BEFORE UPDATE ON records BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    async with trio.open_nursery() as nursery:
        await running(nursery, here, peer)
        await until(lambda: told in peer.findings())
        await trio.sleep(60)
        assert here.network.facts()["traffic"]["totals"]["broadcast"]["messages_out"] == 1
        database.execute("DROP TRIGGER full")
        fresh = here.find(2)
        await until(lambda: fresh in peer.findings())
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    rows = database.query("SELECT count(*) FROM records WHERE sent = 0")
    assert rows == [(0,)], "written down as soon as there was room"


async def test_a_full_disk_is_said_once_and_ends_neither_network_nor_catch_up(node, net, autojump_clock):
    here, peer = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    database = here.notebook.journal.journal
    database.execute("CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    async with trio.open_nursery() as nursery:
        await running(nursery, here, peer)
        await until(lambda: here.network.peers)
        for number in (1, 2, 3):
            peer.find(number)
            await trio.sleep(1)
        assert len(here.notebook.ledger) == 0
        complaints = [text for text in here.notices() if "disk is full" in text]
        assert len(complaints) == 1
        assert complaints[0].startswith("findings of peers cannot be kept: journal ")
        database.execute("DROP TRIGGER full")
        await until(lambda: len(here.notebook.ledger) == 3, 3600)
        nursery.cancel_scope.cancel()


async def test_a_network_that_fails_is_a_warning_and_its_return_is_none(node, net, autojump_clock):
    here, peer = node(ME), node(ALICE, bootstrap=[net.address(ME.peer_id)])
    async with trio.open_nursery() as nursery:
        await running(nursery, here, peer)
        await until(lambda: here.network.peers)
        net.break_bus(ME.peer_id)
        await until(lambda: any("runs again" in text for text in here.notices()), 600)
        nursery.cancel_scope.cancel()
    failed, back = [event for event in here.happened(Notice) if event.text.startswith("network")]
    assert failed.warning
    assert not back.warning
    assert () in [event.peers for event in here.happened(PeersChanged)]


async def test_a_dead_bootstrap_is_said_once_with_its_address(node, autojump_clock):
    dead = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}"
    here = node(bootstrap=[dead])
    async with trio.open_nursery() as nursery:
        await running(nursery, here)
        await trio.sleep(3600)
        nursery.cancel_scope.cancel()
    assert [event.text for event in here.happened(Notice)] == [
        f"no answer from bootstrap {dead}: going on without, retrying quietly"
    ]
    assert here.happened(Notice)[0].warning


def test_words_of_peers_in_what_is_told_are_made_harmless(node):
    here = node()
    hostile = "/evil\x1b]0;owned\x07\x1b[2J\n\u202e/1"
    for event in (
        heard.PeerSpeaksAnotherVersion(PEER, (hostile,)),
        heard.CatchupCutOff(PEER, hostile),
        heard.NetworkFailed(hostile * 1000),
        heard.LocalDiscoveryOff(hostile),
        heard.BootstrapUnreachable((hostile,)),
    ):
        here.network._hear(event)
    for notice in here.happened(Notice):
        assert notice.warning
        assert notice.text.isprintable()
        assert "evil" in notice.text
        assert len(notice.text) <= 1000


@pytest.mark.parametrize("kind", heard.GossipEvent.__args__)
def test_every_event_of_gossip_becomes_something_that_is_said(node, kind):
    values = {"addresses": (f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}",), "peer": PEER, "records": 3, "seconds": 1.0}
    values |= {"reason": "too slow", "sentence": "it broke", "protocols": ("/other/1",)}
    here = node()
    here.network._hear(kind(**{name: values[name] for name in kind.__slots__}))
    assert here.said


async def test_flush_waits_for_nobody_when_nobody_is_there(node, autojump_clock):
    here = node()
    here.find(1)
    before = trio.current_time()
    await here.network.flush()
    assert trio.current_time() == before


async def test_flush_ends_though_a_peer_takes_nothing(node, autojump_clock):
    here = node()
    here.find(1)
    here.network._hear(heard.PeerJoined(PEER))
    before = trio.current_time()
    await here.network.flush()
    assert trio.current_time() - before == pytest.approx(3.0)


def at(host: str, port: int = 4001) -> str:
    return f"/ip4/{host}/tcp/{port}/p2p/{PEER}"


def test_a_ticket_names_addresses_of_other_machines_first_and_one_for_this_machine():
    addresses = [at("127.0.0.1"), at("192.0.2.7"), at("127.0.0.2"), f"/ip6/2001:db8::1/tcp/4001/p2p/{PEER}"]
    assert worth_telling(addresses) == (addresses[1], addresses[3], addresses[0])
    assert worth_telling([]) == ()
    assert worth_telling([at("127.0.0.1")]) == (at("127.0.0.1"),)
    many = [at(f"192.0.2.{n}") for n in range(20)] + [at("127.0.0.1")]
    assert len(worth_telling(many)) == MAX_ADDRESSES
    assert worth_telling(many)[-1] == at("127.0.0.1")


@pytest.mark.parametrize("port", [None, True, "4001", -1, 65_536, 10**30, 0, 4001.0, [1]])
def test_a_port_that_is_none_means_any(port):
    assert default_listen(port) == every_interface(0)


def test_a_ticket_names_both_families_and_first_what_is_reachable_from_everywhere():
    addresses = [f"/ip4/10.0.0.{n}/tcp/1/p2p/{PEER}" for n in range(1, 9)] + [
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/ip6/fd00::2/tcp/1/p2p/{PEER}",
        f"/ip6/2a00:1450::1/tcp/1/p2p/{PEER}",
        f"/ip6/::1/tcp/1/p2p/{PEER}",
    ]
    told = worth_telling(addresses)
    assert len(told) == MAX_ADDRESSES
    assert told[0] == f"/ip6/2a00:1450::1/tcp/1/p2p/{PEER}"
    assert f"/ip6/fd00::2/tcp/1/p2p/{PEER}" in told
    assert told[-1] == f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"


def every_interface(port: int) -> tuple[str, ...]:
    return (f"/ip4/0.0.0.0/tcp/{port}", *([f"/ip6/::/tcp/{port}"] if has_ip6() else []))


def test_the_port_used_last_is_used_again_if_it_is_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert default_listen(port) == every_interface(0)
    assert default_listen(port) == every_interface(port)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff", '{"peers": 3}'])
def test_a_damaged_address_book_is_an_empty_one(node, tmp_path, text):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "peers.json").write_text(text)
    assert node().network.peers == ()
