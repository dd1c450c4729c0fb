"""Who is let in, who is thrown out, and that one who floods delays nobody: over a network in memory."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import pytest
import trio

from gossip import catchup
from gossip.admission import Admission
from gossip.bus import Bus, PeerUnreachable
from gossip.doorkeeper import Doorkeeper, PeerLists
from gossip.envelope import seal
from gossip.events import PeerBanned, PeerJoined
from gossip.identity import Identity
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Refused
from gossip.reputation import Reputation
from gossip.service import GossipService
from tests.simworld.gossip_world import BRIEF, TOPIC, Node, identity, memory_node, until

EVE = identity(66)


class Guarded(Node):
    """A node with a doorkeeper of its own, which survives a restart of the service as its file would."""

    door = Doorkeeper()

    def fresh_service(self) -> GossipService:
        self.service = GossipService(
            bus_factory=self._bus_factory,
            store=self.store,
            admission=Admission(BRIEF, refuse_author=self.door.refuse_author),
            address_book=self.book,
            bootstrap=self._bootstrap,
            on_record=self.keep,
            wall_clock=self._wall_clock,
            on_event=self.events.append,
            doorkeeper=self.door,
        )
        return self.service


def guarded(network: MemoryNetwork, number: int, lists: PeerLists | None = None, bootstrap: tuple[str, ...] = ()):
    who = identity(number)
    node = Guarded(who, lambda deliver, serve: network.bus(who.peer_id, TOPIC, deliver, serve), bootstrap=bootstrap)
    node.door = Doorkeeper(who.peer_id, lists, Reputation())
    node.fresh_service()
    return node


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork(Random(7))


def garbage() -> Iterator[bytes]:
    rng = Random(3)
    while True:
        yield rng.randbytes(200)


def duplicates_of(frame: bytes) -> Iterator[bytes]:
    """The body is the same, the bytes are not: a broadcast network does not see that it has been there."""
    rng = Random(3)
    while True:
        yield rng.randbytes(64) + frame[64:]


def own_records(who: Identity) -> Iterator[bytes]:
    seq, prev = 1, ""
    while True:
        record = seal(who, "finding", BRIEF, seq, prev, 0, b"x")
        yield record.frame
        seq, prev = seq + 1, record.id


async def flood(bus: Bus, victim: str, frames: Iterator[bytes], per_second: int) -> None:
    """Also after it was thrown out: it comes back and goes on."""
    while True:
        with suppress(PeerUnreachable):
            await bus.dial(victim)
        for _ in range(per_second // 10):
            await bus.publish(next(frames))
        await trio.sleep(0.1)


@pytest.mark.parametrize(
    ("make", "per_second", "is_banned_for"),
    [
        (lambda _: garbage(), 1000, "malformed"),
        (duplicates_of, 1000, "rate_of_forwarder"),
        (lambda _: own_records(EVE), 150, "rate_of_author"),
    ],
    ids=["garbage", "duplicates", "its own records"],
)
async def test_one_who_floods_delays_nobody_and_is_thrown_out(
    network: MemoryNetwork,
    autojump_clock: trio.testing.MockClock,
    make: Callable[[bytes], Iterator[bytes]],
    per_second: int,
    is_banned_for: str,
) -> None:
    victim, bob = guarded(network, 1), memory_node(network, 2, bootstrap=[network.address(identity(1).peer_id)])
    eve = network.bus(EVE.peer_id, TOPIC, lambda *_: None, lambda *_: b"")  # type: ignore[arg-type,return-value]
    async with trio.open_nursery() as nursery, victim.running(), bob.running():
        await until(lambda: bob.peer_id in victim.service.snapshot().peers)
        await trio.sleep(1)
        first = bob.write(b"first")
        await nursery.start(eve.run)
        nursery.start_soon(flood, eve, network.address(victim.peer_id), make(first.frame), per_second)
        for n in range(30):
            await trio.sleep(1)
            record, written_at = bob.write(bytes([n])), trio.current_time()
            await until(lambda record=record: record.id in victim.store.ids())
            assert trio.current_time() - written_at < 0.1
        nursery.cancel_scope.cancel()
    (banned,) = {(event.peer, event.reason) for event in victim.said(PeerBanned)}  # type: ignore[attr-defined]
    assert banned == (EVE.peer_id, is_banned_for)
    assert victim.service.snapshot().counters["door.dropped"] > 0
    assert victim.peer_id not in {event.peer for event in bob.said(PeerBanned)}  # type: ignore[attr-defined]


async def test_a_ban_lasts_over_a_restart_and_ends(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    victim = guarded(network, 1)
    eve = memory_node(network, 66, bootstrap=[network.address(victim.peer_id)])
    victim.door.reputation.strike(EVE.peer_id, 10.0, "malformed", 0.0)
    async with victim.running(), eve.running():
        await trio.sleep(50)
        assert victim.service.snapshot().peers == ()
        assert not victim.said(PeerJoined)
        assert EVE.peer_id not in victim.service.snapshot().connected
        await until(lambda: victim.service.snapshot().peers == (EVE.peer_id,))
        assert trio.current_time() > 59


@pytest.mark.parametrize(
    "lists", [PeerLists(deny=frozenset({EVE.peer_id})), PeerLists(allow=frozenset({identity(2).peer_id}))]
)
async def test_whom_a_person_keeps_out_is_not_dialled_not_answered_and_not_believed_through_others(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock, lists: PeerLists
) -> None:
    home = [network.address(identity(2).peer_id), network.address(EVE.peer_id)]
    victim = guarded(network, 1, lists, tuple(home))
    bob, eve = memory_node(network, 2), memory_node(network, 66, bootstrap=[*home, network.address(victim.peer_id)])
    async with victim.running(), bob.running(), eve.running():
        await until(lambda: bob.peer_id in victim.service.snapshot().peers)
        hers, his = eve.write(b"eve's"), bob.write(b"bob's")
        await until(lambda: hers.id in bob.store.ids() and his.id in victim.store.ids())
        await trio.sleep(60)
        assert victim.store.ids() == {his.id}
        assert victim.service.snapshot().peers == (bob.peer_id,)
        assert EVE.peer_id not in victim.service._dialling
        counters = victim.service.snapshot().counters
        reason = "author_denied" if lists.deny else "author_not_allowed"
        assert 0 < counters[f"admission.{reason}"] <= 2, "by broadcast and by catch-up, and then not asked for again"
    with pytest.raises(Refused, match="denied, not allowed or banned"):
        victim.service._intake.serve(EVE.peer_id, catchup.encode_request(catchup.Request(BRIEF, {})))


async def test_one_who_asks_in_a_loop_is_answered_less_and_less_and_the_others_as_before(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    victim = guarded(network, 1)
    victim.write(b"something")
    question = catchup.encode_request(catchup.Request(BRIEF, {}))
    served = refused = 0
    for _ in range(2000):
        try:
            victim.service._intake.serve(EVE.peer_id, question)
            served += 1
        except Refused:
            refused += 1
    assert served == 200
    assert victim.service._intake.serve(identity(2).peer_id, question)
    assert refused == 1800
    assert [event.reason for event in victim.said(PeerBanned)] == ["rate_of_asker"]  # type: ignore[attr-defined]


async def test_a_question_of_another_topic_is_no_offence_and_one_that_is_none_is(network: MemoryNetwork) -> None:
    victim = guarded(network, 1)
    for message, strikes in ((catchup.encode_request(catchup.Request("cd" * 32, {})), 0), (b"garbage", 1)):
        with pytest.raises(Refused):
            victim.service._intake.serve(EVE.peer_id, message)
        assert victim.door.statistics().get("strikes", 0) == strikes


async def test_very_many_bans_do_not_fill_a_screen(network: MemoryNetwork) -> None:
    victim = guarded(network, 1)
    for number in range(100, 150):
        for _ in range(11):
            victim.service._intake.deliver(identity(number).peer_id, b"garbage")
    assert victim.door.statistics()["bans"] == 50
    assert len(victim.said(PeerBanned)) == 10
