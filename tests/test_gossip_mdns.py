import trio

from gossip.events import GossipEvent, LocalDiscoveryOff
from gossip.mdns import LocalDiscovery, announced_brief, service_info
from tests.simworld.gossip_world import BRIEF, identity, until

LOOPBACK = ["127.0.0.1"]


class Listener:
    def __init__(self, number: int, brief: str = BRIEF, interfaces: list[str] | None = None) -> None:
        self.peer_id = identity(number).peer_id
        self.address = f"/ip4/127.0.0.1/tcp/{4000 + number}/p2p/{self.peer_id}"
        self.found: set[str] = set()
        self.events: list[GossipEvent] = []
        self._discovery = LocalDiscovery(self.peer_id, brief, interfaces=interfaces or LOOPBACK)

    async def run(self) -> None:
        await self._discovery.run(lambda: (self.address,), self.found.update, self.events.append)


async def test_nodes_of_one_brief_find_each_other_and_no_others() -> None:
    one, two, other = Listener(1), Listener(2), Listener(3, brief="cd" * 32)
    async with trio.open_nursery() as nursery:
        for listener in (one, two, other):
            nursery.start_soon(listener.run)
        await until(lambda: (one.found and two.found) or one.events, seconds=15)
        nursery.cancel_scope.cancel()
    if one.events:  # a machine without a multicast route: then this is what has to happen
        assert [type(event) for event in one.events] == [LocalDiscoveryOff]
        return
    assert one.found == {two.address}
    assert two.found == {one.address}
    assert other.found == set()


async def test_trouble_is_one_event_and_no_exception() -> None:
    nowhere = Listener(1, interfaces=["203.0.113.1"])
    with trio.fail_after(10):
        await nowhere.run()
    (event,) = nowhere.events
    assert isinstance(event, LocalDiscoveryOff)
    assert "local network" in str(event)


def test_an_announcement_prefers_addresses_that_others_can_reach() -> None:
    peer = identity(1).peer_id
    addresses = (f"/ip4/127.0.0.1/tcp/4001/p2p/{peer}", f"/ip4/192.0.2.5/tcp/4001/p2p/{peer}")
    info = service_info(peer, BRIEF, addresses)
    assert info.parsed_addresses() == ["192.0.2.5"]
    assert info.decoded_properties == {"v": "1", "peer": peer, "brief": BRIEF, "a0": addresses[1]}


async def test_after_a_move_the_new_addresses_are_announced(monkeypatch) -> None:
    monkeypatch.setattr("gossip.mdns._CHECK_SECONDS", 0.2)
    one, two = Listener(1), Listener(2)
    before = one.address
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        nursery.start_soon(two.run)
        await until(lambda: two.found or one.events, seconds=15)
        if not one.events:  # else: a machine without a multicast route
            one.address = before.replace("/tcp/4001/", "/tcp/4009/")
            await until(lambda: one.address in two.found, seconds=15)
        nursery.cancel_scope.cancel()


def test_members_of_a_private_swarm_announce_a_word_of_their_own() -> None:
    key, other = bytes(range(32)), bytes(range(1, 33))
    assert announced_brief(BRIEF, None) == BRIEF
    words = {announced_brief(BRIEF, key), announced_brief(BRIEF, other), announced_brief("cd" * 32, key), BRIEF}
    assert len(words) == 4
    assert announced_brief(BRIEF, key) == announced_brief(BRIEF, key)
    assert announced_brief(BRIEF, key) == "e30c9c650bf5ca88e3f0f4c94fbe80c0f54fd7e59540110f20933ad203159ff5"
