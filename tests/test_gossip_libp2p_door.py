"""Throwing a peer out, over real libp2p on loopback."""

import time
from contextlib import suppress

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID

from gossip.catchup import PROTOCOL, Request, encode_request
from gossip.events import PeerBanned
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_factory import libp2p_bus_factory
from gossip.refusal import Answer
from tests.simworld.gossip_world import BRIEF, TOPIC, Node, identity, until

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
EVE = identity(66)


def libp2p_node(number: int, bootstrap: tuple[str, ...] = ()) -> Node:
    who = identity(number)
    make_bus = libp2p_bus_factory(who, TOPIC, [LOOPBACK], wall_clock=time.time)
    return Node(who, make_bus, bootstrap=bootstrap, wall_clock=time.time)


def eves_bus() -> Libp2pBus:
    return Libp2pBus(EVE, TOPIC, [LOOPBACK], lambda *_: Answer.IGNORE, lambda *_: b"", wall_clock=time.time)


async def test_who_sends_garbage_is_disconnected_and_comes_back_in_vain_while_others_go_on() -> None:
    victim, eve = libp2p_node(1), eves_bus()
    async with victim.running(), trio.open_nursery() as nursery:
        await until(lambda: victim.service.snapshot().addresses, seconds=5)
        address = victim.service.snapshot().addresses[0]
        bob = libp2p_node(2, (address,))
        await nursery.start(eve.run)
        async with bob.running():
            await eve.dial(address)
            await until(lambda: len(victim.service.snapshot().peers) == 2, seconds=10)
            await trio.sleep(0.3)
            for n in range(12):
                await eve.publish(b"garbage" + bytes([n]))
            await until(lambda: victim.said(PeerBanned), seconds=10)
            await until(lambda: victim.service.snapshot().peers == (bob.peer_id,), seconds=10)
            await until(lambda: victim.peer_id not in eve.connected(), seconds=10)
            await eve.dial(address)
            await until(lambda: victim.peer_id not in eve.connected(), seconds=10)
            record = bob.write(b"as before")
            await until(lambda: record.id in victim.store.ids(), seconds=10)
        nursery.cancel_scope.cancel()


async def test_streams_that_one_peer_leaves_half_open_keep_nobody_elses_question_waiting() -> None:
    victim, eve = libp2p_node(1), eves_bus()
    victim.write(b"something")
    async with victim.running(), trio.open_nursery() as nursery:
        await until(lambda: victim.service.snapshot().addresses, seconds=5)
        address = victim.service.snapshot().addresses[0]
        await nursery.start(eve.run)
        await eve.dial(address)
        assert eve._host is not None
        for _ in range(40):
            with suppress(StreamFailure, StreamError):  # reset at once: it has too many
                stream = await eve._host.new_stream(ID.from_base58(victim.peer_id), [TProtocol(PROTOCOL)])
                await stream.write(b"\0")
        await until(lambda: victim.service.snapshot().counters.get("bus.requests_refused") == 36, seconds=10)
        bob = Libp2pBus(identity(2), TOPIC, [LOOPBACK], lambda *_: Answer.IGNORE, lambda *_: b"", wall_clock=time.time)
        await nursery.start(bob.run)
        await bob.dial(address)
        with trio.fail_after(5):
            assert await bob.request(victim.peer_id, encode_request(Request(BRIEF, {})))
        nursery.cancel_scope.cancel()
