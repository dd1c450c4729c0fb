"""What only the bus in memory has: frames counted on links, one that comes two ways, one whose link ends under way."""

from random import Random

import trio

from gossip.memory_bus import MemoryBus, MemoryNetwork
from gossip.refusal import Answer
from gossip.traffic import Kind
from tests.simworld.gossip_world import identity

FRAME = b"f" * 100


class Three:
    """Buses 1, 2 and 3; what came to each, and when."""

    def __init__(self, latency_seconds: float = 0.1, *, answer: Answer = Answer.ACCEPT) -> None:
        self.network = MemoryNetwork(Random(5), latency_seconds)
        self.answer = answer
        self.came: dict[int, list[tuple[float, bytes]]] = {1: [], 2: [], 3: []}
        self.claims: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
        self.buses = [self._bus(number) for number in (1, 2, 3)]

    def _bus(self, number: int) -> MemoryBus:
        def deliver(_forwarder: str, frame: bytes) -> Answer:
            self.came[number].append((trio.current_time(), frame))
            return self.answer

        def deliver_claim(_forwarder: str, frame: bytes) -> Answer:
            self.claims[number].append(frame)
            return Answer.ACCEPT

        bus = self.network.bus(identity(number).peer_id, "topic", deliver, lambda _peer, message: message)
        bus.hear_claims(deliver_claim)
        return bus

    def link(self, *pairs: tuple[int, int]) -> None:
        for one, other in pairs:
            self.network.link(self.buses[one - 1].peer_id, self.buses[other - 1].peer_id)


async def test_a_frame_that_comes_two_ways_is_delivered_once_and_counted_twice(autojump_clock, nursery):
    world = Three()
    for bus in world.buses:
        await nursery.start(bus.run)
    world.link((1, 2), (2, 3), (1, 3))
    await world.buses[0].publish(FRAME)
    await trio.sleep(1)
    assert [len(world.came[number]) for number in (1, 2, 3)] == [0, 1, 1]
    copies = [bus.traffic.totals[Kind.BROADCAST].messages_in for bus in world.buses]
    assert copies[0] == 0
    assert sum(copies) == sum(bus.traffic.totals[Kind.BROADCAST].messages_out for bus in world.buses) == 4
    second = world.buses[1].traffic
    assert second.peers[world.buses[0].peer_id][Kind.BROADCAST].bytes_in == len(FRAME)


async def test_what_a_peer_refuses_it_does_not_pass_on(autojump_clock, nursery):
    world = Three(answer=Answer.REJECT)
    for bus in world.buses:
        await nursery.start(bus.run)
    world.link((1, 2), (2, 3))
    await world.buses[0].publish(FRAME)
    await trio.sleep(1)
    assert [len(world.came[number]) for number in (2, 3)] == [1, 0]


async def test_a_frame_whose_link_ends_under_way_is_lost_and_may_come_another_way(autojump_clock, nursery):
    world = Three(latency_seconds=1.0)
    for bus in world.buses:
        await nursery.start(bus.run)
    world.link((1, 2))
    await world.buses[0].publish(FRAME)
    world.network.unlink(world.buses[0].peer_id, world.buses[1].peer_id)
    await trio.sleep(5)
    assert world.came[2] == []
    world.link((3, 2))
    await world.buses[2].publish(FRAME)
    await trio.sleep(5)
    assert [frame for _, frame in world.came[2]] == [FRAME]


async def test_what_was_counted_on_a_link_that_ended_is_not_lost(autojump_clock, nursery):
    world = Three()
    for bus in world.buses:
        await nursery.start(bus.run)
    world.link((1, 2))
    await world.buses[0].publish_claim(b"c" * 30)
    await trio.sleep(1)
    world.network.unlink(world.buses[0].peer_id, world.buses[1].peer_id)
    assert world.claims[2] == [b"c" * 30]
    assert world.buses[0].statistics()["claim_bytes_out"] == world.buses[1].statistics()["claim_bytes_in"] == 30


async def test_what_a_receiver_raises_ends_its_own_bus_and_no_other(autojump_clock):
    world, ended = Three(), dict[int, str]()

    def fails(_forwarder: str, _frame: bytes) -> Answer:
        raise RuntimeError("no room")

    world.buses[1] = world.network.bus(identity(2).peer_id, "topic", fails, lambda _peer, message: message)

    async def run(number: int) -> None:
        try:
            await world.buses[number - 1].run()
        except RuntimeError as error:
            ended[number] = str(error)

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(run, number)
        await trio.sleep(0.1)
        world.link((1, 2), (1, 3))
        await world.buses[0].publish(FRAME)
        await trio.sleep(1)
        assert ended == {2: "no room"}
        assert len(world.came[3]) == 1
        nursery.cancel_scope.cancel()
