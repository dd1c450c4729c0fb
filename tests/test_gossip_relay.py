"""Circuit relay over real libp2p on loopback: the target does not listen at all, so nothing but a relay reaches it."""

import os
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as PbPeer
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg

from gossip import libp2p_relay
from gossip.addresses import parse_dialable
from gossip.bus import PeerUnreachable
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_relay import HOP, RelayRefused
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, identity, until

KEY = bytes(range(32))


class One:
    """A bus with what it does about relays."""

    def __init__(self, bus: Libp2pBus) -> None:
        assert bus._host is not None
        self.bus, self.host = bus, bus._host
        assert bus._relay is not None
        self.relay = bus._relay
        self.id = ID.from_base58(bus.peer_id)


@asynccontextmanager
async def running(number: int, *listen: str, key: bytes | None = None):
    bus = Libp2pBus(
        identity(number), TOPIC, listen, lambda *_: Answer.ACCEPT, lambda _, asked: asked, wall_clock=time.time,
        swarm_key=key,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        yield One(bus)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def around_a_relay(*numbers: int, key: bytes | None = None):
    """A relay that listens, and others that do not, connected to it."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(running(1, "/ip4/127.0.0.1/tcp/0", key=key))
        others = [await stack.enter_async_context(running(number, key=key)) for number in numbers]
        for other in others:
            await other.bus.dial(relay.bus.addresses()[0])
        await until(lambda: all(other.bus.peers() == (relay.bus.peer_id,) for other in others), seconds=10)
        yield relay, *others


async def asked(host: IHost, relay: ID, message: HopMessage) -> int:
    stream = await host.new_stream(relay, [HOP])
    await write_delimited_msg(stream, message)
    said = await read_delimited_msg(stream, HopMessage)
    await stream.reset()
    return said.status


@pytest.mark.parametrize("key", [None, KEY])
async def test_two_that_cannot_be_dialled_meet_through_a_third(key) -> None:
    async with around_a_relay(2, 3, key=key) as (relay, target, source):
        assert target.bus.listening == source.bus.listening == ()
        await target.relay.reserve(relay.id)
        await source.relay.dial(relay.id, target.id)
        await until(lambda: target.bus.peer_id in source.bus.peers(), seconds=5)
        await until(lambda: source.bus.peer_id in target.bus.peers(), seconds=5)
        asked = os.urandom(200_000)
        assert await source.bus.request(target.bus.peer_id, asked) == asked
        assert await target.bus.request(source.bus.peer_id, asked) == asked
        assert relay.bus.statistics()["relayed"] == 1


async def test_two_circuits_of_one_source_do_not_disturb_each_other() -> None:
    async with around_a_relay(2, 3, 4) as (relay, one, two, source):
        for target in (one, two):
            await target.relay.reserve(relay.id)
            await source.relay.dial(relay.id, target.id)
        await until(lambda: len(source.bus.peers()) == 3, seconds=5)
        source.bus.drop(one.bus.peer_id)
        await until(lambda: len(source.bus.connected()) == 2, seconds=5)
        assert await source.bus.request(two.bus.peer_id, b"still there") == b"still there"


async def test_nobody_is_connected_to_who_did_not_ask_for_it() -> None:
    async with around_a_relay(2, 3) as (relay, target, source):
        with pytest.raises(RelayRefused, match="NO_RESERVATION"):
            await source.relay.dial(relay.id, target.id)
        assert target.bus.connected() == (relay.bus.peer_id,)


async def test_nobody_reserves_in_the_name_of_others() -> None:
    async with around_a_relay(2, 3) as (relay, _, stranger):
        for number in range(50, 60):
            other = ID.from_base58(identity(number).peer_id)
            message = HopMessage(type=HopMessage.RESERVE, peer=PbPeer(id=other.to_bytes()))
            assert await asked(stranger.host, relay.id, message) == Status.OK
        assert set(relay.relay._reservations) == {stranger.id}


async def test_a_full_relay_says_so_and_keeps_those_it_has(monkeypatch) -> None:
    monkeypatch.setattr(libp2p_relay, "MAX_RESERVATIONS", 1)
    async with around_a_relay(2, 3) as (relay, first, late):
        await first.relay.reserve(relay.id)
        with pytest.raises(RelayRefused, match="RESERVATION_REFUSED"):
            await late.relay.reserve(relay.id)
        await first.relay.reserve(relay.id)  # refreshed
        assert relay.bus.statistics()["relay_full"] == 1


async def test_a_circuit_carries_no_more_than_its_share(monkeypatch) -> None:
    monkeypatch.setattr(libp2p_relay, "CIRCUIT_BYTES", 300_000)
    async with around_a_relay(2, 3) as (relay, target, source):
        await target.relay.reserve(relay.id)
        await source.relay.dial(relay.id, target.id)
        await until(lambda: target.bus.peer_id in source.bus.peers(), seconds=5)
        with pytest.raises(PeerUnreachable):
            await source.bus.request(target.bus.peer_id, os.urandom(400_000))
        await until(lambda: target.bus.peer_id not in source.bus.connected(), seconds=10)
        await until(lambda: source.bus.peer_id not in target.bus.connected(), seconds=10)
        await until(lambda: relay.relay._circuits.total() == 0, seconds=10)
        assert source.bus.connected() == target.bus.connected() == (relay.bus.peer_id,)


async def test_other_bytes_end_the_stream_and_nothing_else() -> None:
    async with around_a_relay(2) as (relay, stranger):
        for data in (b"", b"\x00", b"\xff" * 40, b"\x05hello", HopMessage(type=HopMessage.STATUS).SerializeToString()):
            stream = await stranger.host.new_stream(relay.id, [HOP])
            await stream.write(data)
            await stream.close()
        message = HopMessage(type=HopMessage.CONNECT, peer=PbPeer(id=b"\x01" * 5))
        assert await asked(stranger.host, relay.id, message) != Status.OK
        assert await stranger.bus.request(relay.bus.peer_id, b"still there") == b"still there"


async def test_a_node_behind_a_nat_gets_a_place_by_itself_and_its_address_leads_to_it(monkeypatch) -> None:
    monkeypatch.setattr("gossip.libp2p_bus._UPKEEP_SECONDS", 0.1)
    async with running(1, "/ip4/127.0.0.1/tcp/0") as relay, running(2) as target, running(3) as source:
        public = relay.bus.listening[0]
        monkeypatch.setattr("gossip.libp2p_bus.everybody_reaches", lambda address: address.transport == public)
        await target.bus.dial(relay.bus.addresses()[0])
        circuit = f"{public}/p2p/{relay.bus.peer_id}/p2p-circuit/p2p/{target.bus.peer_id}"
        await until(lambda: target.bus.addresses() == (circuit,), seconds=5)
        assert parse_dialable(circuit).peer == target.bus.peer_id
        await until(lambda: circuit in relay.bus.peer_addresses(target.bus.peer_id), seconds=5)  # peers are told
        await source.bus.dial(circuit)  # knows nobody; the relay is dialled on the way
        await until(lambda: target.bus.peer_id in source.bus.peers(), seconds=5)
        assert await source.bus.request(target.bus.peer_id, b"hello") == b"hello"
        assert not relay.relay.reserved  # who can be dialled needs no place


async def test_a_circuit_to_who_is_not_there_is_unreachable_and_quick() -> None:
    nobody = identity(9).peer_id
    async with around_a_relay(2) as (relay, source):
        with trio.fail_after(5), pytest.raises(PeerUnreachable, match="NO_RESERVATION"):
            await source.bus.dial(f"{relay.bus.addresses()[0]}/p2p-circuit/p2p/{nobody}")
