"""How often nodes of a swarm run the same thing by accident, with claims and without.

    python tests/bench/bench_duplicates.py [--nodes N] [--experiments N] [--seeds N] [--budget SECONDS]
                                           [--proposer ARM] [--latency SECONDS]

Everything is the node's own but training, git and the network's cables: loop, hypotheses, proposers, journals, gossip
service and claims run in virtual time on a network in memory, and a trial's score comes from the made-up surface of
tests/surrogate.py. All nodes start at once, on one track, from the naive base config, which is where they think alike.
Two problems: the real search space, and (`_options`) only its settings with a list of options.

A duplicate is an experiment whose proposal, by its canonical key, somebody else's experiment had begun before and
another node could have known of: baselines, repeats that the acceptance rule asks for and replays are none. Near ones
are those that lie as close to an experiment that was under way as screening calls one and the same. The last line is
one JSON object.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio
import trio.testing

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402
from samples import PLENTY  # noqa: E402
from small_lab import HELD, JournalRecorder, notebook_at  # noqa: E402

from gossip.bus import BusFactory  # noqa: E402
from gossip.identity import Identity  # noqa: E402
from gossip.memory_bus import MemoryNetwork  # noqa: E402
from node.claims import Claims  # noqa: E402
from node.events import Events  # noqa: E402
from node.home import Home  # noqa: E402
from node.hypothesis import Hypotheses  # noqa: E402
from node.network import Network, NetworkSettings  # noqa: E402
from node.proposers.arms import ARMS, Arm  # noqa: E402
from node.proposers.classic import propose_now  # noqa: E402
from node.proposers.port import Request  # noqa: E402
from node.proposers.unit_cube import Points, coordinate  # noqa: E402
from node.replays.replayer import Replayer  # noqa: E402
from node.replays.request import ReplayRequests  # noqa: E402
from node.research import Lab, research  # noqa: E402
from node.simulation.campaign import Surface, research_space, space_file, surface_brief  # noqa: E402
from node.simulation.made_up import MadeUp  # noqa: E402
from node.trials.trainer import Job, TrialReport, Watcher  # noqa: E402
from swarm.finding import Proposal  # noqa: E402
from swarm.program import canonical_key  # noqa: E402
from swarm.space import ChoiceParameter, SearchSpace  # noqa: E402
from swarm.trial import Track, Trial  # noqa: E402
from swarm.words import Config, Value  # noqa: E402

GOALS = {"duplicate_share": ("<=", 0.02), "duplicate_share_options": ("<=", 0.02)}
SPACE, BASE = research_space(), space_file().base
OUTSIDE_SECONDS = 4.0  # of an experiment that is not training: evaluation, commit


class OptionsOnly(MadeUp):
    """The same with every number fixed at the start: a few dozen steps from anywhere, so that nodes meet often."""

    def __init__(self, variant: int = 0) -> None:
        super().__init__(variant)
        fixed = {name: ChoiceParameter(options=(value,)) for name, value in BASE.items()}
        choices = {name: p for name, p in SPACE.parameters.items() if isinstance(p, ChoiceParameter)}
        self.space = SearchSpace(parameters={name: choices.get(name, fixed[name]) for name in SPACE.parameters})

    def _unit(self, config: Mapping[str, Value]) -> dict[str, float]:
        return {name: coordinate(parameter, config[name]) for name, parameter in SPACE.parameters.items()}


@dataclass(frozen=True)
class Begun:
    """An experiment that a node began."""

    node: int
    key: str
    config: Config
    at: float


@dataclass
class Proposers:
    """The classic ones, in no virtual time. `arms`: all, or one."""

    arms: Sequence[Arm]
    name: str = "classic"

    async def propose(self, request: Request) -> Proposal:
        await trio.lowlevel.checkpoint()
        return propose_now(request, self.arms)


class Noting(Hypotheses):
    """Writes down what is taken to be trained."""

    taken: list[Begun]
    number: int

    async def take(self) -> Proposal:
        proposal = await super().take()
        if proposal.parent is not None:
            key = canonical_key(self._notebook.brief, proposal.config, proposal.source)
            self.taken.append(Begun(self.number, key, proposal.config, trio.current_time()))
        return proposal


@dataclass
class SurrogateTrainer:
    surface: Surface
    rng: Random

    async def run(self) -> None:
        await trio.sleep_forever()

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        watcher.training()
        seconds = job.track.budget_seconds
        await trio.sleep(seconds + OUTSIDE_SECONDS * self.rng.uniform(0.5, 1.5))
        watcher.trained()
        outcome, bpb = self.surface.trial(job.config, self.rng)
        trial = Trial(outcome=outcome, track=job.track, seed=job.seed, seconds=seconds, val_bpb=bpb, steps=100)
        return TrialReport(trial, (), "", seconds)


class InMemory(Network):
    net: MemoryNetwork

    def _bus_factory(self, topic: str, listen: Sequence[str]) -> BusFactory:
        return lambda deliver, serve: self.net.bus(self._identity.peer_id, topic, deliver, serve)


@dataclass(frozen=True)
class Setting:
    nodes: int
    experiments: int
    budget_seconds: float
    latency_seconds: float
    arms: Sequence[Arm]
    claims: bool
    seed: int
    problem: type[MadeUp] = MadeUp


async def night(setting: Setting, folder: Path) -> list[Begun]:
    """What every node began, in order."""
    surface = setting.problem(setting.seed)
    net = MemoryNetwork(Random(setting.seed), latency_seconds=setting.latency_seconds)
    begun: list[Begun] = []
    with ExitStack() as stack:
        nodes = [Participant(setting, folder / str(n), n, surface, net, begun) for n in range(setting.nodes)]
        for one in nodes:
            stack.callback(one.lab.notebook.journal.journal.close)
        async with trio.open_nursery() as networks:
            for one in nodes:
                networks.start_soon(one.network.run)
            await trio.sleep(5)  # everybody has met
            async with trio.open_nursery() as working:
                for one in nodes:
                    working.start_soon(research, one.lab, one.trainer)
            networks.cancel_scope.cancel()
    return begun


class Participant:
    """A node in a home of its own."""

    def __init__(
        self, setting: Setting, folder: Path, number: int, surface: Surface, net: MemoryNetwork, begun: list[Begun]
    ) -> None:
        folder.mkdir()
        brief, identity, home, events = surface_brief(surface), identity_of(setting, number), Home(folder), Events()
        track = Track(hardware_class="cpu-simulated-2", budget_seconds=setting.budget_seconds)
        notebook = notebook_at(folder / "journal.sqlite", events, brief, identity)
        claims = Claims(notebook, track)
        hypotheses = Noting(notebook, track, Proposers(setting.arms), Proposers(setting.arms), claims=claims)
        hypotheses.taken, hypotheses.number = begun, number
        known = tuple(net.address(identity_of(setting, other).peer_id) for other in range(number))
        settings = NetworkSettings(listen=(), bootstrap=known, mdns=False)
        heard = claims if setting.claims else None
        self.network = InMemory(home, identity, notebook, settings, events, claims=heard)
        self.network.net = net
        self.trainer = SurrogateTrainer(surface, Random(f"{setting.seed}/{number}"))
        requests = ReplayRequests(Home(folder / "requests"))
        self.lab = Lab(
            name=f"node {number}",
            track=track,
            notebook=notebook,
            hypotheses=hypotheses,
            recorder=JournalRecorder(notebook),
            room=PLENTY,
            events=events,
            replays=Replayer("node", notebook, track.hardware_class, HELD, requests, PLENTY, events),
            reason_to_stop=lambda done: "enough" if done >= setting.experiments else None,
        )


def identity_of(setting: Setting, number: int) -> Identity:
    return Identity(bytes([number + 1, setting.seed + 1]) * 16)


def tally(begun: Sequence[Begun], space: SearchSpace, budget_seconds: float) -> dict[str, float]:
    """Of the experiments of a night, those that somebody else's came before."""
    same = near = beside = 0
    for n, one in enumerate(begun):
        others = [other for other in begun[:n] if other.node != one.node]
        same += any(other.key == one.key for other in others)
        beside += any(other.key == one.key and one.at - other.at < budget_seconds for other in others)
        running = [other.config for other in others if one.at - other.at < budget_seconds]
        near += Points(space, running).near(one.config)
    return {"experiments": len(begun), "same": same, "beside": beside, "near": near}


def run(arguments: argparse.Namespace, seed: int, problem: type[MadeUp], *, claims: bool) -> dict[str, float]:
    arms = [arm for arm in ARMS if arguments.proposer in ("classic", arm.name)]
    latency, budget = arguments.latency, arguments.budget
    setting = Setting(arguments.nodes, arguments.experiments, budget, latency, arms, claims, seed, problem)
    clock = trio.testing.MockClock(autojump_threshold=0)
    with tempfile.TemporaryDirectory() as folder:
        begun = trio.run(night, setting, Path(folder), clock=clock)
    return tally(begun, problem().space, budget)


def main() -> None:
    parser = argparse.ArgumentParser(description="How often nodes run the same thing, with claims and without.")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--experiments", type=int, default=15, help="of each node")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of a trial")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of a message, over one connection")
    parser.add_argument("--proposer", choices=["classic", *(arm.name for arm in ARMS)], default="classic")
    arguments = parser.parse_args()
    began, found = time.monotonic(), dict[str, float]()
    for problem, where in ((MadeUp, ""), (OptionsOnly, "_options")):
        for claims in (False, True):
            tallies = [run(arguments, seed, problem, claims=claims) for seed in range(arguments.seeds)]
            total = {name: sum(one[name] for one in tallies) for name in tallies[0]}
            suffix = where + ("" if claims else "_without_claims")
            found[f"experiments{suffix}"] = total["experiments"]
            for name, of in (("duplicate", "same"), ("simultaneous", "beside"), ("near", "near")):
                found[f"{name}_share{suffix}"] = total[of] / total["experiments"]
    print_figures(found, GOALS)
    print(f"{time.monotonic() - began:.0f} s")
    print_report("duplicates", found, GOALS)


if __name__ == "__main__":
    main()
