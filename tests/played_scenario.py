"""Plays a fault plan with peers that are processes, waits until it is quiet, and says what arrived, how soon, and what
did not.

Refuses to know how a plan is made (fault_plan.py). Peers do not train: their findings say what a number would.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.fault_plan import Deed, Plan, Step
from tests.lossy_network import Line
from tests.swarm_of_processes import Peer, ProcessSwarm, each, process_swarm

SMALL_DISK_BYTES = 24 << 20  # of a peer whose disk fills up
QUIET_SECONDS = 120.0  # at most, for everything to be everywhere
FLOODER = "flooder"


@dataclass
class Played:
    """What is left of a run."""

    everything: set[str]  # findings that anybody has who is there at the end, or had who is there
    improved: set[str]
    missing: int  # of them, summed over peers
    ledgers: int  # different ones
    delays: list[float]  # seconds from one journal to another, of all that was there to hear; sorted
    news_delays: list[float]  # of improvements
    unkept: int  # findings that full disks did not take
    states: dict[str, dict[str, Any]]
    notices: list[str]

    @property
    def holds(self) -> bool:
        return self.missing == 0 and self.ledgers == 1


def quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


@asynccontextmanager
async def swarm_for(plan: Plan, folder: Path, *, network: bool | None = None) -> AsyncGenerator[ProcessSwarm]:
    """`network`: namespaces and what a plan says of lines; by default where it needs them. Raises NoNetwork."""
    network = plan.parts or bool(plan.worse) if network is None else network
    disks = {str(node): SMALL_DISK_BYTES for node in plan.small_disks}
    async with process_swarm(folder, hosts=plan.places if network else 0, disks=disks) as swarm:
        yield swarm


@dataclass
class Player:
    swarm: ProcessSwarm
    plan: Plan
    settle_seconds: float = 0.0  # between the start of all and the plan's, for who measures
    lives: list[Peer] = field(default_factory=list[Peer])
    _line: Line = field(default_factory=Line)

    async def play(self) -> Played:
        if self.swarm.hosts:
            one_way = self.plan.latency_ms / 1000
            await self._set(Line(one_way, self.plan.loss, worse=self.plan.worse))
        first = [step for step in self.plan.steps if step.deed is Deed.START and step.at_seconds == 0]
        for step in first:
            await self._do(step)
        await each(self.swarm.running(), lambda p: len(p.peers) >= min(2, len(first) - 1), "peers")
        await trio.sleep(self.settle_seconds)
        began_at = trio.current_time()
        for step in self.plan.steps[len(first) :]:
            await trio.sleep_until(began_at + step.at_seconds)  # later if what came before took longer
            await self._do(step)
        await trio.sleep_until(began_at + self.plan.seconds)
        await self._calm()
        everything = await self._quiet()
        return await self._look(everything)

    async def _set(self, line: Line) -> None:
        self._line = line
        await self.swarm.line(line)

    async def _do(self, step: Step) -> None:
        match step.deed:
            case Deed.START:
                await self._start(str(step.node), step.node)
            case Deed.PART:
                groups = [list(group) for group in step.groups]
                await self._set(Line(self._line.delay_seconds, self._line.loss, groups, worse=self._line.worse))
            case Deed.HEAL:
                await self._heal()
            case Deed.FLOOD:
                if FLOODER not in self.swarm.peers:
                    await self._start(FLOODER, self.plan.nodes)
                await self.swarm.peers[FLOODER].tell(f"flood {step.count}")
            case _:
                await self._do_to(self.swarm.peers[str(step.node)], step.deed)

    async def _do_to(self, peer: Peer, deed: Deed) -> None:
        match deed:
            case Deed.KILL:
                await peer.kill()
            case Deed.LEAVE:
                await peer.leave()
            case Deed.PAUSE:
                peer.pause()
            case Deed.RESUME:
                peer.resume()
            case Deed.FILL | Deed.EMPTY:
                await peer.set_disk(full=deed is Deed.FILL)
            case _:
                await peer.tell("improve" if deed is Deed.IMPROVE else "publish 1")

    async def _start(self, name: str, host: int) -> None:
        known = [self.swarm.peers[str(n)].address for n in range(self.plan.bootstraps) if str(n) in self.swarm.peers]
        ahead = self.plan.ahead_seconds.get(host, 0.0)
        self.lives.append(await self.swarm.start(name, known, wrong_by=ahead, host=host))

    async def _heal(self) -> None:
        await self._set(Line(self._line.delay_seconds, self._line.loss, worse=self._line.worse))

    async def _calm(self) -> None:
        """Whoever can is back."""
        if self.swarm.hosts:
            await self._heal()
        if FLOODER in self.swarm.peers:
            await self.swarm.peers[FLOODER].kill()
        for node in range(self.plan.nodes):
            if node not in self.plan.gone and not self.swarm.peers[str(node)].alive:
                await self._start(str(node), node)
        for peer in self.swarm.running():
            await peer.state()  # its orders until now are carried out

    async def _quiet(self) -> set[str]:
        names = {peer.name for peer in self.swarm.running()}
        everything = {id for life in self.lives if life.name in names for id in life.kept}
        for peer in self.swarm.running():
            everything |= set((await peer.state())["findings"])
        with trio.move_on_after(QUIET_SECONDS):
            for peer in self.swarm.running():
                while not peer.ids >= everything:
                    await peer.changed.wait()
        return everything

    async def _look(self, everything: set[str]) -> Played:
        states = {peer.name: await peer.state() for peer in self.swarm.running()}
        improved = {id for life in self.lives for id in life.improved}
        heard = [
            (id, hearer.got[id] - at)
            for life in self.lives
            for id, at in life.kept.items()
            for hearer in self.lives
            if id in hearer.got and hearer.met_at is not None and hearer.met_at <= at
        ]
        return Played(
            everything=everything,
            improved=improved,
            missing=sum(len(everything - set(state["findings"])) for state in states.values()),
            ledgers=len({state["ledger"] for state in states.values()}),
            delays=sorted(seconds for _, seconds in heard),
            news_delays=sorted(seconds for id, seconds in heard if id in improved),
            unkept=sum(life.unkept for life in self.lives),
            states=states,
            notices=[text for life in self.lives for text in life.notices],
        )
