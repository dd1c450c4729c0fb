"""One node of a simulated swarm: the real loop, intake, ledger, journal and gossip, with what a machine would give it.

Owns a member's lives: it is started, killed as by SIGKILL, and started again in the same home. What goes wrong, and
when, is node/simulation/faults.py's.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import trio

from gossip.bus import Bus, BusFactory, Deliver, Serve
from gossip.identity import Identity
from gossip.network_model import NetworkModel
from gossip.traffic import Traffic
from node.claims import Claims
from node.clock import wall_clock_of
from node.events import Event, Events, FindingReceived, FindingRecorded, Notice
from node.home import Home
from node.hypothesis import Hypotheses
from node.network import Network, NetworkSettings
from node.notebook import Notebook
from node.proposers.port import Proposer
from node.replays.replayer import Replayer
from node.replays.request import ReplayRequests
from node.research import Lab, research
from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.spec import limits_for
from node.simulation.disk import Disk, Frames, SimulatedJournal, SimulatedRoom
from node.simulation.ideas import proposer_of
from node.simulation.landscape import Landscape
from node.simulation.media import Medium
from node.simulation.observation import Observation
from node.simulation.scenario import Machines
from node.simulation.trials import Say, SimulatedRecorder, SimulatedTrainer, honestly
from node.simulation.virtual_time import virtual_wall_clock
from node.trials.hardware import Hardware
from swarm.brief import Brief, brief_id, encode_brief
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.trial import Track
from swarm.words import FindingId

_LISTEN = "/ip4/127.0.0.1/tcp/0"  # nobody listens there


class Role(StrEnum):
    HONEST = "honest"
    LIAR = "liar"
    COPYCAT = "copycat"
    SYBIL = "sybil"
    FLOODER = "flooder"


@dataclass(frozen=True)
class Surroundings:
    """What all members of a swarm have in common."""

    seed: int
    folder: Path
    brief: Brief
    medium: Medium
    landscape: Landscape
    observation: Observation
    frames: Frames
    proposer: str
    make_proposer: Callable[[], Proposer] | None  # in the place of the scenario's
    bootstraps: list[str]  # addresses
    research_until: float  # virtual seconds

    @property
    def network(self) -> NetworkModel:
        return self.medium.network


class SimulatedNetwork(Network):
    """The node's side of gossip on a network in memory. Its counters stay in memory, too."""

    def __init__(self, member: "Member", settings: NetworkSettings, claims: Claims) -> None:
        self._member = member
        super().__init__(member.home, member.identity, member.notebook, settings, member.events, claims=claims)

    def _bus_factory(self, topic: str, listen: Sequence[str]) -> BusFactory:  # noqa: ARG002 - nobody listens
        member = self._member
        buses = member.around.medium.buses(member.identity, topic, member.clock)

        def make(deliver: Deliver, serve: Serve) -> Bus:
            bus = buses(deliver, serve)
            if not any(bus.traffic is counted for counted in member.traffics):  # a later bus counts on
                member.traffics.append(bus.traffic)
            return bus

        return make

    async def _save_book(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._write_book()
            self._write_reputation()

    async def _write_counters(self) -> None:
        await trio.sleep_forever()

    async def _follow_addresses(self) -> None:
        await trio.sleep_forever()  # they never change

    def announce(self) -> None:
        self._service.announce()

    @property
    def counters(self) -> dict[str, int]:
        return self._service.snapshot().counters


class Member:
    def __init__(self, around: Surroundings, number: int, machines: Machines, role: Role = Role.HONEST) -> None:
        self.around, self.number, self.role, self.machines = around, number, role, machines
        self.say: Say = honestly  # of what its trials came to
        self.identity = Identity(hashlib.sha256(f"{around.seed} {role} {number}".encode()).digest())
        self.peer_id = self.identity.peer_id
        self.home = Home(around.folder / str(number))
        self.home.create()
        self.disk = Disk()
        self.journal = SimulatedJournal(self.disk, around.frames)
        self.track = Track(hardware_class=machines.hardware_class, budget_seconds=machines.budget_seconds)
        self.traffics: list[Traffic] = []
        self.counted: dict[str, int] = {}  # of the lives that have ended
        self.clock_ahead_seconds = 0.0
        self.born_at: float | None = None  # the present life
        self.lived_seconds = 0.0
        self._lives = 0
        self.gone = False  # never comes back
        self.events = Events()
        self.events.listen(self._hear)
        self.on_news: Callable[[Entry], None] = lambda _: None
        self.notebook = self._open()
        self._network: SimulatedNetwork | None = None
        self._scope: trio.CancelScope | None = None
        self._ended = trio.Event()

    @property
    def honest(self) -> bool:
        return self.role is Role.HONEST

    @property
    def address(self) -> str:
        return self.around.network.address(self.peer_id)

    @property
    def alive(self) -> bool:
        return self.born_at is not None

    @property
    def lived_so_far(self) -> float:
        """Seconds, of all lives."""
        return self.lived_seconds + (0.0 if self.born_at is None else trio.current_time() - self.born_at)

    def clock(self) -> float:
        return virtual_wall_clock() + self.clock_ahead_seconds

    def start(self, nursery: trio.Nursery) -> None:
        if self.alive or self.gone:
            return
        self.born_at, self._scope, self._ended = trio.current_time(), trio.CancelScope(), trio.Event()
        self.around.observation.note("start", self.number)
        nursery.start_soon(self._live, self._scope)

    async def kill(self) -> None:
        if self._scope is not None and self.alive:
            self._scope.cancel()
            await self._ended.wait()

    def publish(self, finding: Finding) -> Entry:
        """Sign and tell a finding that no loop of ours has made."""
        with wall_clock_of(self.clock):
            entry = self.notebook.append_own(self.notebook.seal(finding), "0" * 40)
        self._own(entry)
        return entry

    def announce(self) -> None:
        """There is something in the outbox."""
        if self._network is not None:
            self._network.announce()

    def close(self) -> None:
        self.journal.close()

    def count(self) -> dict[str, int]:
        """Counters of all lives."""
        now = self._network.counters if self._network is not None else {}
        return {name: self.counted.get(name, 0) + now.get(name, 0) for name in sorted({*self.counted, *now})}

    def _open(self) -> Notebook:
        with wall_clock_of(self.clock):
            return Notebook(
                self.around.brief,
                self.journal.of(brief_id(encode_brief(self.around.brief))),
                self.identity,
                self.events,
            )

    async def _live(self, scope: trio.CancelScope) -> None:
        assert self.born_at is not None
        self._lives += 1
        if self._lives > 1:
            self.notebook = self._open()
        try:
            with scope, wall_clock_of(self.clock):
                await self._work()
        finally:
            self.lived_seconds += trio.current_time() - self.born_at
            self.counted = self.count()
            self.born_at = self._network = None
            self.around.observation.note("end", self.number)
            self._ended.set()

    async def _work(self) -> None:
        others = tuple(address for address in self.around.bootstraps if address != self.address)
        settings = NetworkSettings(listen=(_LISTEN,), bootstrap=others, mdns=False)
        claims = Claims(self.notebook, self.track)
        self._network = SimulatedNetwork(self, settings, claims)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._network.run)
            if self.role in (Role.HONEST, Role.LIAR):
                with trio.CancelScope(deadline=self.around.research_until):
                    await research(self._lab(claims), self._trainer())
            await trio.sleep_forever()

    def _trainer(self) -> SimulatedTrainer:
        return SimulatedTrainer(self.around.landscape, self.machines.speed, self.say)

    def _lab(self, claims: Claims) -> Lab:
        proposer, max_history = proposer_of(self.around.proposer)
        if self.around.make_proposer is not None:
            proposer, max_history = self.around.make_proposer(), None
        room = SimulatedRoom(self.disk, self.events)
        hardware_class = self.track.hardware_class
        return Lab(
            name=f"{self.role}-{self.number}",
            track=self.track,
            notebook=self.notebook,
            hypotheses=Hypotheses(
                self.notebook, self.track, proposer, proposer, max_history=max_history, claims=claims
            ),
            recorder=SimulatedRecorder(self.notebook, room, self.events),
            room=room,
            events=self.events,
            replays=Replayer(
                f"{self.role}-{self.number}",
                self.notebook,
                hardware_class,
                _held(),
                ReplayRequests(self.home),
                room,
                self.events,
            ),
            reason_to_stop=lambda _: None,
        )

    def _hear(self, event: Event) -> None:
        match event:
            case FindingReceived():
                self._received(FindingId(event.id))
            case FindingRecorded():
                entry = self.notebook.ledger.get(FindingId(event.id))
                assert entry is not None
                self._own(entry)
            case Notice(warning=True) if self.honest:
                self.around.observation.warned(event.text)
            case _:
                return

    def _received(self, id: FindingId) -> None:
        self.around.observation.heard(self.number, id, trio.current_time() if self.born_at is None else self.born_at)
        if self.role in (Role.COPYCAT, Role.SYBIL):
            entry = self.notebook.ledger.get(id)
            assert entry is not None
            self.on_news(entry)

    def _own(self, entry: Entry) -> None:
        truth = self.around.landscape.mean(entry.finding.proposal.config)  # of one machine, to compare all
        self.around.observation.own(self.number, entry, truth, honest=self.honest)


@cache
def _held() -> Confinement:
    """Of a replay's plan; nothing is run here."""
    return unconfined(limits_for(Hardware("cpu", "cpu-simulated-1", "simulated", 1, "cpu")))
