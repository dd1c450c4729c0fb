"""What every bus promises, checked for the one in memory and the one over libp2p."""

import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio

from gossip.bus import Bus, BusFailed, Deliver, PeerDown, PeerUnreachable, PeerUp, Serve
from gossip.envelope import MAX_FRAME_BYTES
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_memory import in_memory
from gossip.memory_bus import MemoryNetwork
from gossip.memory_cables import CabledNetwork
from gossip.refusal import Answer, RefusalReason, Refused
from tests.simworld.gossip_world import TOPIC, identity, until

MakeBus = Callable[[Identity, str, Deliver, Serve], Bus]


def over_libp2p(who: Identity, topic: str, deliver: Deliver, serve: Serve) -> Bus:
    return Libp2pBus(who, topic, ["/ip4/127.0.0.1/tcp/0"], deliver, serve, wall_clock=time.time)


def over_cables(who: Identity, topic: str, deliver: Deliver, serve: Serve, network: CabledNetwork) -> Bus:
    opens = in_memory(network, who.peer_id)
    return Libp2pBus(who, topic, [], deliver, serve, wall_clock=time.time, open_transport=opens)


@pytest.fixture(params=["memory", "libp2p", "libp2p in memory"])
def make_bus(request: pytest.FixtureRequest) -> MakeBus:
    if request.param == "libp2p":
        return over_libp2p
    if request.param == "libp2p in memory":
        return partial(over_cables, network=CabledNetwork(Random(3)))
    network = MemoryNetwork(Random(3))
    return lambda who, topic, deliver, serve: network.bus(who.peer_id, topic, deliver, serve)


class Member:
    """A bus and what came out of it."""

    def __init__(self, make: MakeBus, number: int, topic: str = TOPIC) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.answer = Answer.ACCEPT
        self.claims: list[tuple[str, bytes]] = []
        self.bus = make(identity(number), topic, self._deliver, self._serve)

    def _deliver(self, forwarder: str, frame: bytes) -> Answer:
        self.heard.append((forwarder, frame))
        return self.answer

    def hear_claims(self) -> "Member":
        def deliver(forwarder: str, frame: bytes) -> Answer:
            self.claims.append((forwarder, frame))
            return self.answer

        self.bus.hear_claims(deliver)
        return self

    def _serve(self, peer: str, message: bytes) -> bytes:
        if message == b"refuse":
            raise Refused(RefusalReason.MALFORMED, "no")
        return peer.encode() + message[::-1]


@asynccontextmanager
async def running(*members: Member):
    async with trio.open_nursery() as nursery:
        for member in members:
            await nursery.start(member.bus.run)
        yield
        nursery.cancel_scope.cancel()


async def meet(one: Member, other: Member) -> None:
    await other.bus.dial(one.bus.addresses()[0])
    await until(lambda: other.bus.peer_id in one.bus.peers() and one.bus.peer_id in other.bus.peers(), seconds=10)
    await trio.sleep(0.05)  # meshes are made by events right after


async def test_frames_reach_the_peer_both_ways(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one, two):
        await meet(one, two)
        await one.bus.publish(b"from one")
        await two.bus.publish(b"from two")
        await until(lambda: one.heard and two.heard, seconds=5)
    assert two.heard == [(one.bus.peer_id, b"from one")]
    assert one.heard == [(two.bus.peer_id, b"from two")]


async def test_accepted_frames_are_passed_on_and_others_not(make_bus: MakeBus) -> None:
    one, middle, end = (Member(make_bus, n) for n in (1, 2, 3))
    async with running(one, middle, end):
        await meet(middle, one)
        await meet(middle, end)
        middle.answer = Answer.REJECT
        await one.bus.publish(b"bad")
        await until(lambda: middle.heard, seconds=5)
        middle.answer = Answer.ACCEPT
        await one.bus.publish(b"good")
        await until(lambda: end.heard, seconds=5)
    assert end.heard == [(middle.bus.peer_id, b"good")]


async def test_claims_go_their_own_way_and_only_to_whoever_hears_them(make_bus: MakeBus) -> None:
    one, middle, end = (Member(make_bus, n).hear_claims() for n in (1, 2, 3))
    deaf = Member(make_bus, 4)
    async with running(one, middle, end, deaf):
        for other in (one, end, deaf):
            await meet(middle, other)
        await one.bus.publish_claim(b"a claim")
        await until(lambda: end.claims, seconds=5)
        await deaf.bus.publish_claim(b"said by who hears none")
        middle.answer = Answer.IGNORE
        await end.bus.publish_claim(b"not passed on")
        await until(lambda: len(middle.claims) == 2, seconds=5)
        await one.bus.publish(b"a record")
        await until(lambda: middle.heard, seconds=5)
    assert middle.claims == [(one.bus.peer_id, b"a claim"), (end.bus.peer_id, b"not passed on")]
    assert end.claims == [(middle.bus.peer_id, b"a claim")]
    assert (one.claims, deaf.claims, deaf.heard) == ([], [], [])


async def test_own_frames_do_not_come_back(make_bus: MakeBus) -> None:
    members = [Member(make_bus, n) for n in (1, 2, 3)]
    async with running(*members):
        await meet(members[0], members[1])
        await meet(members[1], members[2])
        await meet(members[2], members[0])
        await members[0].bus.publish(b"once")
        await until(lambda: members[1].heard and members[2].heard, seconds=5)
        await trio.sleep(0.1)
    assert [len(member.heard) for member in members] == [0, 1, 1]


async def test_a_request_is_answered(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one, two):
        await meet(one, two)
        assert await one.bus.request(two.bus.peer_id, b"abc") == one.bus.peer_id.encode() + b"cba"
        large = bytes(300_000)
        assert len(await two.bus.request(one.bus.peer_id, large)) == len(large) + len(two.bus.peer_id)


async def test_a_refused_request_is_unreachable_and_the_next_one_works(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one, two):
        await meet(one, two)
        with pytest.raises(PeerUnreachable):
            await one.bus.request(two.bus.peer_id, b"refuse")
        assert await one.bus.request(two.bus.peer_id, b"x")


async def test_nobody_there_is_unreachable(make_bus: MakeBus) -> None:
    one, gone = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one):
        for address in (f"/ip4/127.0.0.1/tcp/1/p2p/{gone.bus.peer_id}", "nonsense"):
            with pytest.raises(PeerUnreachable):
                await one.bus.dial(address)
        with pytest.raises(PeerUnreachable):
            await one.bus.request(gone.bus.peer_id, b"x")


async def test_dialling_a_connected_peer_or_oneself_changes_nothing(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one, two):
        await meet(one, two)
        await two.bus.dial(one.bus.addresses()[0])
        await one.bus.dial(one.bus.addresses()[0])
        assert one.bus.connected() == (two.bus.peer_id,)


async def test_coming_and_going_is_told(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one):
        async with running(two):
            await meet(one, two)
            with trio.fail_after(5):
                assert await one.bus.changes.receive() == PeerUp(two.bus.peer_id)
        with trio.fail_after(10):
            assert await one.bus.changes.receive() == PeerDown(two.bus.peer_id)
        await until(lambda: one.bus.peers() == (), seconds=5)


async def test_a_peer_of_another_topic_is_connected_but_no_peer(make_bus: MakeBus) -> None:
    one, other = Member(make_bus, 1), Member(make_bus, 2, topic="/swarm/1/" + "cd" * 32)
    async with running(one, other):
        await other.bus.dial(one.bus.addresses()[0])
        await until(lambda: one.bus.connected(), seconds=5)
        await one.bus.publish(b"not for you")
        await trio.sleep(0.2)
        assert one.bus.peers() == other.bus.peers() == ()
        assert other.heard == []


async def test_peers_say_where_they_listen(make_bus: MakeBus) -> None:
    one, two = Member(make_bus, 1), Member(make_bus, 2)
    async with running(one, two):
        await meet(one, two)
        await until(lambda: one.bus.peer_addresses(two.bus.peer_id) == two.bus.addresses(), seconds=5)
        assert two.bus.addresses()[0].endswith(f"/p2p/{two.bus.peer_id}")
        assert "/tcp/0" not in two.bus.addresses()[0]


async def test_a_stopped_bus_says_so(make_bus: MakeBus) -> None:
    one = Member(make_bus, 1)
    async with running(one):
        pass
    assert one.bus.peers() == one.bus.connected() == ()
    with pytest.raises(BusFailed):
        await one.bus.publish(b"x")


async def test_an_oversized_frame_is_a_mistake_of_ours() -> None:
    one = Member(over_libp2p, 1)
    async with running(one):
        with pytest.raises(ValueError, match="silence"):
            await one.bus.publish(bytes(MAX_FRAME_BYTES + 1))
