"""Bytes and messages by peer and kind: bounded memory, and the same on both sides of a real connection."""

import time
from random import Random

import pytest
import trio

from gossip.blobs import BlobRequest, OfferedBlobs
from gossip.bus import PeerUnreachable
from gossip.libp2p_bus import Libp2pBus
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Answer
from gossip.traffic import Kind, Traffic
from tests.simworld.gossip_world import TOPIC, identity, memory_node, until

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
BLOB = bytes(range(256)) * 1000
SHA256 = "ab" * 32


def test_of_very_many_peers_the_most_silent_are_forgotten_and_the_totals_stay():
    traffic = Traffic(max_peers=3)
    for number in range(100):
        traffic.received("regular", Kind.BLOB, 1, 1)
        traffic.sent(f"peer {number}", Kind.BROADCAST, 10, 1)
    assert list(traffic.peers) == ["peer 98", "regular", "peer 99"]
    assert traffic.peers["regular"][Kind.BLOB].bytes_in == 100
    assert traffic.totals[Kind.BROADCAST].bytes_out == 1000
    assert traffic.totals[Kind.BROADCAST].messages_out == 100


async def test_a_swarm_in_memory_counts_what_it_says(autojump_clock):
    network = MemoryNetwork(Random(1))
    one = memory_node(network, 1)
    two = memory_node(network, 2, bootstrap=[network.address(one.peer_id)])
    async with one.running(), two.running():
        await until(lambda: two.service.snapshot().peers)
        record = two.write(b"x" * 500)
        await until(lambda: record.id in one.store.ids())
        here, there = one.service.snapshot().traffic, two.service.snapshot().traffic
        assert here.peers[two.peer_id][Kind.BROADCAST].bytes_in == len(record.frame)
        assert there.peers[one.peer_id][Kind.BROADCAST].messages_out == 1
        assert here.totals[Kind.CATCHUP].bytes_out == there.totals[Kind.CATCHUP].bytes_in > 0


def bus_of(number: int, serve=lambda _peer, message: message * 3, **options) -> Libp2pBus:
    return Libp2pBus(
        identity(number), TOPIC, [LOOPBACK], lambda *_: Answer.ACCEPT, serve, wall_clock=time.time, **options
    )


async def test_both_sides_of_a_connection_count_the_same():
    one, two = bus_of(1, blobs=OfferedBlobs({SHA256: BLOB})), bus_of(2)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await two.dial(one.addresses()[0])
        await until(lambda: one.peers() and two.peers(), 10)
        await trio.sleep(0.3)
        await two.publish(b"f" * 2000)
        await two.request(one.peer_id, b"r" * 10)

        async def keep(_piece: bytes) -> None:
            return

        await two.fetch(one.peer_id, BlobRequest(SHA256), len(BLOB), keep)
        here, there = one.traffic.peers[two.peer_id], two.traffic.peers[one.peer_id]
        await until(lambda: here[Kind.BROADCAST].messages_in == 1, 10)
        assert 2000 < here[Kind.BROADCAST].bytes_in <= there[Kind.BROADCAST].bytes_out + 8 * 20
        assert there[Kind.BROADCAST].messages_out == 1
        catchup, served = there[Kind.CATCHUP], here[Kind.CATCHUP]
        assert (catchup.bytes_out, catchup.bytes_in, catchup.messages_in) == (14, 34, 1)
        assert (served.bytes_in, served.bytes_out, served.messages_out) == (14, 34, 1)
        await until(lambda: here[Kind.BLOB].messages_out == 1, 10)
        assert here[Kind.BLOB].bytes_out == there[Kind.BLOB].bytes_in == len(BLOB)
        assert one.statistics()["accepted_loopback"] == 1
        nursery.cancel_scope.cancel()


async def test_who_is_not_let_in_gets_no_blob_and_is_asked_for_none():
    guarded = bus_of(1, blobs=OfferedBlobs({SHA256: BLOB}), admits=lambda peer: peer != identity(2).peer_id)
    eve, bob = bus_of(2, blobs=OfferedBlobs({SHA256: BLOB})), bus_of(3)

    async def keep(_piece: bytes) -> None:
        return

    async with trio.open_nursery() as nursery:
        for bus in (guarded, eve, bob):
            await nursery.start(bus.run)
        for bus in (eve, bob):
            await bus.dial(guarded.addresses()[0])
        await until(lambda: len(guarded.connected()) == 2, 10)
        with pytest.raises(PeerUnreachable, match=r"broke off|no stream"):
            await eve.fetch(guarded.peer_id, BlobRequest(SHA256), len(BLOB), keep)
        with pytest.raises(PeerUnreachable, match="not asked"):
            await guarded.fetch(eve.peer_id, BlobRequest(SHA256), len(BLOB), keep)
        assert await bob.fetch(guarded.peer_id, BlobRequest(SHA256), len(BLOB), keep) == len(BLOB)
        assert guarded.statistics()["blobs_barred"] == 1
        nursery.cancel_scope.cancel()
