"""What goes wrong in a simulated swarm: each fault of a scenario as a task of its own.

Owns how members are added, killed, cut off and misled. All chance comes from the run's own generator.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from gossip.network_model import Line
from node.simulation.adversaries import claims, copies, exaggerates, floods
from node.simulation.member import Member, Role, Surroundings
from node.simulation.scenario import (
    BootstrapDead,
    Churn,
    Clocks,
    Copycats,
    DiskFull,
    Fault,
    Flood,
    Late,
    Liars,
    Links,
    Machines,
    Partition,
    Restarts,
    Scenario,
    Sybils,
)

_LOOK_SECONDS = 5.0  # between two looks at how many findings there are


@dataclass
class Cast:
    """Everybody who is or will be in the swarm."""

    around: Surroundings
    members: list[Member]
    rng: random.Random
    scenario: Scenario
    nursery: trio.Nursery | None = None

    def add(self, machines: Machines | None = None, role: Role = Role.HONEST) -> Member:
        chosen = machines or (self.scenario.machines or (Machines(),))[0]
        member = Member(self.around, len(self.members), chosen, role)
        self.members.append(member)
        return member

    def start(self, member: Member) -> None:
        assert self.nursery is not None
        member.start(self.nursery)

    def pick(self, share: float) -> list[Member]:
        """Honest ones, whom not everybody was told of."""
        others = [m for m in self.members[self.scenario.bootstraps :] if m.honest]
        return self.rng.sample(others, min(len(others), math.ceil(share * len(others))))

    def calm(self) -> None:
        """Whatever went wrong is over: whoever can is back."""
        self.around.network.heal()
        for member in self.members:
            member.disk.full = False
            self.start(member)


def recruit(cast: Cast, faults: Sequence[Fault]) -> None:
    """What is so from the beginning: who else is there, and what some are like."""
    for fault in faults:
        match fault:
            case Liars():
                for _ in range(fault.nodes):
                    member = cast.add(role=Role.LIAR)
                    member.say = exaggerates(cast.around, fault.sigmas)
            case Copycats():
                for _ in range(fault.nodes):
                    copies(cast.add(role=Role.COPYCAT))
            case Links():
                for member in cast.pick(fault.share):
                    line = Line(fault.latency_ms / 1000, fault.loss, 1000 * fault.kilobytes_per_second)
                    cast.around.network.lines[member.peer_id] = line
            case Clocks():
                for member in cast.pick(fault.share):
                    member.clock_ahead_seconds = 60 * cast.rng.uniform(-fault.minutes, fault.minutes)
            case _:
                continue


async def afflict(cast: Cast, fault: Fault) -> None:
    """What happens in the course of a run. Cancelled at its end."""
    match fault:
        case Churn():
            await _churn(cast, fault)
        case Partition():
            await trio.sleep(60 * fault.at_minutes)
            _part(cast, fault.groups)
            await trio.sleep(60 * fault.minutes)
            cast.around.network.heal()
        case Late():
            while len(cast.around.observation.made) < fault.after_findings:  # noqa: ASYNC110 - nobody counts for us
                await trio.sleep(_LOOK_SECONDS)
            for _ in range(fault.nodes):
                cast.start(cast.add())
        case Restarts():
            await _restarts(cast, fault)
        case Flood():
            await trio.sleep(60 * fault.at_minutes)
            flooder = cast.add(role=Role.FLOODER)
            cast.start(flooder)
            with trio.move_on_after(60 * fault.minutes):
                await floods(flooder, fault.records_per_second)
        case Sybils():
            await claims([cast.add(role=Role.SYBIL) for _ in range(fault.identities)], cast.start, fault)
        case BootstrapDead():
            await trio.sleep(60 * fault.at_minutes)
            for member in cast.members[: cast.scenario.bootstraps]:
                member.gone = True
                await member.kill()
        case DiskFull():
            victims = cast.pick(1.0)[: fault.nodes]
            await trio.sleep(60 * fault.at_minutes)
            for member in victims:
                member.disk.full = True
            await trio.sleep(60 * fault.minutes)
            for member in victims:
                member.disk.full = False
        case _:
            return


async def _churn(cast: Cast, fault: Churn) -> None:
    """Deaths come one by one, evenly over time; each of the victims comes back by itself."""

    async def away(member: Member) -> None:
        await member.kill()
        await trio.sleep(cast.rng.expovariate(1 / fault.away_seconds))
        cast.start(member)

    async with trio.open_nursery() as nursery:
        while True:
            each_hour = fault.share_per_hour * len(cast.pick(1.0))
            await trio.sleep(cast.rng.expovariate(each_hour / 3600))
            there = [member for member in cast.pick(1.0) if member.alive]
            if there:
                nursery.start_soon(away, cast.rng.choice(there))


async def _restarts(cast: Cast, fault: Restarts) -> None:
    await trio.sleep(60 * fault.at_minutes)
    for _ in range(fault.times):
        victims = [member for member in cast.pick(fault.share) if member.alive]
        for member in victims:
            await member.kill()
        for member in victims:
            cast.start(member)
        await trio.sleep(fault.every_seconds)


def _part(cast: Cast, groups: int) -> None:
    peers = [member.peer_id for member in cast.members]
    cast.rng.shuffle(peers)
    cast.around.network.partition(*(peers[n::groups] for n in range(groups)))
