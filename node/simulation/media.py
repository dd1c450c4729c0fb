"""What a simulated swarm speaks over: a bus in memory, or libp2p over cables in memory.

Owns the choice, and what each needs so that a run can be repeated. Latency, loss and partitions are the same model in
both (gossip/network_model.py), so a scenario drives either.
"""

import contextlib
from collections.abc import Callable, Generator
from random import Random
from typing import Literal, Protocol

from gossip.blobs import OfferedBlobs
from gossip.bus import BusFactory, Deliver, Serve
from gossip.identity import Identity
from gossip.memory_bus import MemoryBus, MemoryNetwork
from gossip.network_model import NetworkModel
from gossip.refusal import Answer
from node.clock import wall_clock, wall_clock_of
from node.simulation.scenario import NetworkConditions, Scenario, ScenarioError
from node.simulation.virtual_time import library_time

Name = Literal["memory", "libp2p"]
NAMES: tuple[Name, ...] = ("memory", "libp2p")
MAX_HOSTS = 200  # a libp2p host is about 1 MB, and its heartbeat and pings cost computing all night
GRID_SECONDS = 0.01  # what is sent arrives at multiples of it: an error of 5 ms, half the wake-ups
Clock = Callable[[], float]


class Medium(Protocol):
    @property
    def network(self) -> NetworkModel: ...

    def buses(self, identity: Identity, topic: str, clock: Clock) -> BusFactory:
        """For one life of a member, whose wall clock is `clock`."""
        ...

    def repeatable(self, seed: int) -> contextlib.AbstractContextManager[None]:
        """Around a run in virtual time: with the same seed it is the same."""
        ...


def medium_of(name: Name, scenario: Scenario, rng: Random) -> Medium:
    """Raises ScenarioError for a scenario that it cannot carry."""
    if name == "memory":
        return _BusesInMemory(scenario.network, rng)
    if scenario.nodes > MAX_HOSTS:
        many = f"{scenario.name} has {scenario.nodes} nodes, and over libp2p at most {MAX_HOSTS} are run"
        raise ScenarioError(f"{many}; make it smaller with --scale")
    return _Libp2pInMemory(scenario.network, rng)


class _BusesInMemory:
    def __init__(self, conditions: NetworkConditions, rng: Random) -> None:
        self.network = MemoryNetwork(rng, conditions.latency_ms / 1000, conditions.loss, GRID_SECONDS)

    def buses(self, identity: Identity, topic: str, clock: Clock) -> BusFactory:
        self.network.address(identity.peer_id)  # it has one from now on
        return lambda deliver, serve: _ClockedBus(self.network, identity.peer_id, topic, clock, deliver, serve)

    def repeatable(self, seed: int) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - nothing but trio needs it
        return contextlib.nullcontext()


class _Libp2pInMemory:
    """Imported when it is wanted: libp2p takes half a second."""

    def __init__(self, conditions: NetworkConditions, rng: Random) -> None:
        from gossip.memory_cables import CabledNetwork

        self.network = CabledNetwork(rng, conditions.latency_ms / 1000, conditions.loss, GRID_SECONDS)

    def buses(self, identity: Identity, topic: str, clock: Clock) -> BusFactory:  # noqa: ARG002 - the task's own clock is read
        from gossip.libp2p_factory import libp2p_bus_factory
        from gossip.libp2p_memory import in_memory

        opens = in_memory(self.network, identity.peer_id)
        return libp2p_bus_factory(identity, topic, (), wall_clock=wall_clock, open_transport=opens)

    @contextlib.contextmanager
    def repeatable(self, seed: int) -> Generator[None]:
        from gossip.libp2p_memory import peers_in_one_order

        with peers_in_one_order(), library_time(seed):
            yield


class _ClockedBus(MemoryBus):
    """Frames are delivered by whoever sends, in that one's time: here it is the receiver's clock that counts."""

    def __init__(
        self, network: MemoryNetwork, peer_id: str, topic: str, clock: Clock, deliver: Deliver, serve: Serve
    ) -> None:
        self._clock = clock
        super().__init__(network, peer_id, topic, self._clocked(deliver), self._serving(serve), OfferedBlobs())

    def hear_claims(self, deliver: Deliver) -> None:
        super().hear_claims(self._clocked(deliver))

    def _clocked(self, deliver: Deliver) -> Deliver:
        def delivered(forwarder: str, frame: bytes) -> Answer:
            with wall_clock_of(self._clock):
                return deliver(forwarder, frame)

        return delivered

    def _serving(self, serve: Serve) -> Serve:
        def served(peer: str, message: bytes) -> bytes:
            with wall_clock_of(self._clock):
                return serve(peer, message)

        return served
