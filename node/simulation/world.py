"""One run of a scenario: makes the members, lets time pass and things go wrong, waits until it is quiet, and looks.

Owns the order of a run. What is measured is node/simulation/figures.py's, what a fault does faults.py's.
"""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from node.proposers.port import Proposer
from node.simulation import media
from node.simulation.campaign import research_space, space_file
from node.simulation.disk import Frames
from node.simulation.faults import Cast, afflict, recruit
from node.simulation.landscape import Landscape, landscape
from node.simulation.member import Member, Surroundings
from node.simulation.observation import Observation
from node.simulation.scenario import Machines, Scenario
from node.simulation.shared_work import shared_work
from node.simulation.virtual_time import run_virtually
from swarm.brief import Brief, Corpus, Shard

TICK_SECONDS = 60.0  # virtual, between two signs of life
Progress = Callable[[float], None]
"""Is told which share of a run is done."""


@dataclass
class Run:
    """What is left of a run when it has ended: for figures."""

    scenario: Scenario
    seed: int
    observation: Observation
    members: list[Member] = field(default_factory=list[Member])

    @property
    def honest(self) -> list[Member]:
        return [member for member in self.members if member.honest]


def simulated_brief() -> Brief:
    """The search space that is shipped. Its code and text are never looked at."""
    shard = Shard(sha256="0" * 64, raw_bytes=1000, tokens=1000)
    file = space_file()
    return Brief(
        name="simulated",
        goal="Lower is better.",
        editable={"train.py": "print('simulated')\n"},
        base_config=file.base,
        space=research_space(),
        corpus=Corpus(documents=1, train=shard, validation=shard, sealed=shard),
    )


def simulate(
    scenario: Scenario,
    seed: int,
    on_progress: Progress = lambda _: None,
    look: Callable[[Run], None] = lambda _: None,
    *,
    on_landscape: Landscape | None = None,
    proposer: Callable[[], Proposer] | None = None,
    connected: bool = True,
    over: media.Name = "memory",
) -> Run:
    """A run of a scenario. `look` is called at its end, before anybody is stopped. Not `connected`: nobody knows of
    anybody. Raises ScenarioError for one that cannot be run `over` that.
    """
    medium = media.medium_of(over, scenario, random.Random(f"{seed} network"))
    ground = on_landscape or landscape(scenario.landscape)
    with tempfile.TemporaryDirectory(prefix="swarm-simulation-") as folder, shared_work():
        world = _World(scenario, seed, ground, Path(folder), on_progress, look, proposer, connected, medium)
        try:
            with medium.repeatable(seed):
                return run_virtually(world.run, seed)
        finally:
            for member in world.made.members:
                member.close()


class _World:
    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        ground: Landscape,
        folder: Path,
        on_progress: Progress,
        look: Callable[[Run], None],
        proposer: Callable[[], Proposer] | None,
        connected: bool,
        medium: media.Medium,
    ) -> None:
        self._connected = connected
        self._scenario, self._on_progress, self._look = scenario, on_progress, look
        self._rng = random.Random(f"{seed} {scenario.name}")
        self.made = Run(scenario, seed, Observation())
        self._around = Surroundings(
            seed=seed,
            folder=folder,
            brief=simulated_brief(),
            medium=medium,
            landscape=ground,
            observation=self.made.observation,
            frames=Frames(),
            proposer=scenario.proposer,
            make_proposer=proposer,
            bootstraps=[],
            research_until=scenario.hours * 3600,
        )
        self._cast = Cast(self._around, self.made.members, self._rng, scenario)

    def _gather(self) -> None:
        scenario, cast = self._scenario, self._cast
        for kind in scenario.machines or (Machines(nodes=scenario.nodes),):
            for _ in range(kind.nodes):
                cast.add(kind)
        if self._connected:
            self._around.bootstraps.extend(member.address for member in cast.members[: scenario.bootstraps])
        recruit(cast, scenario.faults)

    async def run(self) -> Run:
        self._gather()
        async with trio.open_nursery() as nursery:
            self._cast.nursery = nursery
            nursery.start_soon(self._tick)
            async with trio.open_nursery() as troubles:
                for member in list(self.made.members):
                    troubles.start_soon(partial(self._start, member))
                for fault in self._scenario.faults:
                    troubles.start_soon(afflict, self._cast, fault)
                await trio.sleep_until(self._around.research_until)
                troubles.cancel_scope.cancel()
            self._cast.calm()
            await trio.sleep(60 * self._scenario.quiet_minutes)
            self._look(self.made)
            nursery.cancel_scope.cancel()
        return self.made

    async def _start(self, member: Member) -> None:
        if member.number >= self._scenario.bootstraps:
            await trio.sleep(self._rng.uniform(0.0, self._scenario.start_within_seconds))
        self._cast.start(member)

    async def _tick(self) -> None:
        whole = self._around.research_until + 60 * self._scenario.quiet_minutes
        while True:
            self._on_progress(trio.current_time() / whole)
            await trio.sleep(TICK_SECONDS)
