"""Whole nodes for hours while they are killed, stopped, hung and cut off at random; then what grew, was lost or left.

    python tests/soak.py [--hours H] [--nodes N] [--training T] [--every SECONDS] [--seed S] [--folder DIR]

The nodes are `swarm launch` on a topic of two seconds a trial, each in a network namespace of its own where a user may
make them (else on loopback, without partitions). In the end nobody trains any more, and everybody must have every
finding that was ever recorded. Ctrl-C ends the troubles and gives the report of what was so far; a second one leaves
out the quiet time. The last line is one JSON object. Exit status 1 if a finding is missing, ledgers differ, a process
was left behind, or a node ended by itself.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import trio

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "bench")]

from bench_report import print_figures  # noqa: E402
from node_process import write_topic  # noqa: E402

from node.simulation.goals import report  # noqa: E402
from tests.fault_plan import Deed, Plan, Step, soak_plan  # noqa: E402
from tests.growth import HOUR  # noqa: E402
from tests.lossy_network import Line  # noqa: E402
from tests.real_nodes import NodePeer, found_in, left_behind, start_node  # noqa: E402
from tests.soak_samples import Samples  # noqa: E402
from tests.swarm_of_processes import NoNetwork, ProcessSwarm, process_swarm  # noqa: E402

LOOK_SECONDS = 10.0  # between two samples; who is seen twice without a parent was left behind
QUIET_SECONDS = 300.0  # at most, for every finding to be everywhere
GOALS = {
    "missing": ("<=", 0.0),
    "ledgers": ("<=", 1.0),
    "left_behind": ("<=", 0.0),
    "ended_by_themselves": ("<=", 0.0),
    "unclean_stops": ("<=", 0.0),
}


@dataclass
class Soak:
    swarm: ProcessSwarm
    plan: Plan
    topic: Path
    training: int
    began_at: float = field(default_factory=trio.current_time)
    lives: list[NodePeer] = field(default_factory=list[NodePeer])
    done: Counter[Deed] = field(default_factory=Counter[Deed])
    away: set[int] = field(default_factory=set[int])  # on purpose
    hanging: set[int] = field(default_factory=set[int])
    ended: list[str] = field(default_factory=list[str])  # who did by itself, and when
    unclean: int = 0  # asked to stop, and gone without a goodbye
    orphans: dict[int, str] = field(default_factory=dict[int, str])
    samples: Samples = field(init=False)
    _turn: trio.Lock = field(default_factory=trio.Lock)  # of who starts and ends nodes

    def __post_init__(self) -> None:
        self.before = frozenset(psutil.Process(self.swarm.pid).children())
        self.samples = Samples(self.began_at)

    async def trouble(self) -> None:
        for step in self.plan.steps:
            await trio.sleep_until(self.began_at + step.at_seconds)
            async with self._turn:
                await self._do(step)
        await trio.sleep_until(self.began_at + self.plan.seconds)

    async def watch(self) -> None:
        seen: set[int] = set()
        while True:
            await trio.sleep(LOOK_SECONDS)
            for number, life in enumerate(self.lives):
                if life.alive:
                    node, now = int(life.name), trio.current_time()
                    self.samples.look(now, node, number, life.pid, trains=node < self.training)
            now = {one.pid: one for one in left_behind(self.swarm, self.before)}
            for pid in seen & set(now):
                self.orphans.setdefault(pid, _described(now[pid]))
            seen = set(now)
            async with self._turn:
                await self._revive()

    async def _revive(self) -> None:
        """Whoever ended without having been asked to."""
        for name, node in list(self.swarm.peers.items()):
            if not node.alive and int(name) not in self.away:
                self.ended.append(f"node {name} after {trio.current_time() - self.began_at:.0f} s")
                await self._start(int(name))

    async def _do(self, step: Step) -> None:
        self.done[step.deed] += 1
        seconds, who = trio.current_time() - self.began_at, step.node if step.node >= 0 else ""
        print(f"{seconds:.0f} s, {self.findings()} findings: {step.deed} {who}", file=sys.stderr)
        node = self.swarm.peers.get(str(step.node))
        match step.deed:
            case Deed.START:
                await self._start(step.node)
            case Deed.KILL | Deed.LEAVE if node is not None:
                self.away.add(step.node)
                await self._end(node, step.deed)
            case Deed.PAUSE if node is not None and node.alive:
                self.hanging.add(step.node)
                node.pause()
            case Deed.RESUME if node is not None and step.node in self.hanging:
                self.hanging.discard(step.node)
                node.resume()
            case Deed.PART if self.swarm.hosts:
                await self.swarm.line(Line(groups=[list(group) for group in step.groups]))
            case Deed.HEAL if self.swarm.hosts:
                await self.swarm.line(Line())
            case _:
                self.done[step.deed] -= 1

    async def _end(self, node: object, deed: Deed) -> None:
        assert isinstance(node, NodePeer)
        if deed is Deed.KILL or not node.alive:
            await node.kill()
            return
        await node.leave()
        self.unclean += not node.stopped

    async def _start(self, node: int, *options: str) -> None:
        known = [peer.address for name, peer in self.swarm.peers.items() if int(name) < 2 and int(name) != node]
        idle = ("--no-train",) if node >= self.training else ()
        host = node if self.swarm.hosts else None
        self.lives.append(await start_node(self.swarm, str(node), self.topic, known, *idle, *options, host=host))
        self.away.discard(node)

    async def quiet(self) -> None:
        """Everybody is there and nobody trains, until all is everywhere."""
        if self.swarm.hosts:
            await self.swarm.line(Line())
        for node in list(self.hanging):
            self.swarm.peers[str(node)].resume()
        for node in range(self.plan.nodes):
            self.away.add(node)
            peer = self.swarm.peers.get(str(node))
            if peer is not None and peer.alive:
                await self._end(peer, Deed.LEAVE)
        self.training = 0
        for node in range(self.plan.nodes):
            await self._start(node)
        with trio.move_on_after(QUIET_SECONDS):
            while self.lost() or self.ledgers() > 1:
                await trio.sleep(2.0)

    async def end(self) -> None:
        """Everybody leaves; what is there after that was left behind."""
        for node, peer in enumerate(list(self.swarm.peers.values())):
            self.away.add(node)
            await self._end(peer, Deed.LEAVE)
        first = {one.pid for one in left_behind(self.swarm, self.before)}
        await trio.sleep(LOOK_SECONDS)
        for one in left_behind(self.swarm, self.before):
            if one.pid in first:
                self.orphans.setdefault(one.pid, _described(one))

    def on_disks(self) -> dict[str, tuple[frozenset[str], str]]:
        brief = next(life.brief for life in self.lives if life.brief)
        return {name: found_in(self.swarm.home(name), brief) for name in self.swarm.peers}

    def lost(self) -> int:
        """Findings that were recorded or are anywhere, and are not everywhere; over all nodes."""
        found = [ids for ids, _ in self.on_disks().values()]
        everything = {id for life in self.lives for id in life.kept}.union(*found)
        return sum(len(everything - ids) for ids in found)

    def ledgers(self) -> int:
        return len({ledger for _, ledger in self.on_disks().values()})

    def findings(self) -> int:
        return sum(len(life.kept) for life in self.lives)

    def figures(self) -> dict[str, float]:
        print("\n".join(self.samples.lines()))
        first = self.samples.of_node(0)
        deeds = {f"done_{deed.value}": float(count) for deed, count in sorted(self.done.items()) if count}
        return {
            "hours": (trio.current_time() - self.began_at) / HOUR,
            "nodes": float(self.plan.nodes),
            "findings": float(self.findings()),
            **deeds,
            "missing": float(self.lost()),
            "ledgers": float(self.ledgers()),
            "left_behind": float(len(self.orphans)),
            "ended_by_themselves": float(len(self.ended)),
            "unclean_stops": float(self.unclean),
            "memory_mb_per_hour_of_node_0": first.memory_mb_per_hour,
            "files_per_hour_of_node_0": first.files_per_hour,
            **self.samples.figures(),
        }

    def say_more(self) -> None:
        outcomes = sum((life.outcomes for life in self.lives), Counter[str]())
        print("outcomes:", ", ".join(f"{count} {name}" for name, count in outcomes.most_common()) or "none")
        notices = Counter(" ".join(text.split()[:7]) for life in self.lives for text in life.notices)
        reasons = sum((life.reasons for life in self.lives), Counter[str]())
        for title, counts in (("ended badly", reasons), ("said", notices)):
            for text, count in counts.most_common(12):
                print(f"{title} {count} times: {text}")
        for text in [*self.ended, *(f"left behind: {text}" for text in self.orphans.values())]:
            print(text)
        for file in sorted(self.swarm.folder.glob("*.err")):
            if text := file.read_text(errors="replace").strip():
                print(f"{file.name}: {text[-2000:]}")


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} (gone since)"


async def _until_ctrl_c(*scopes: trio.CancelScope) -> None:
    """Each signal ends one more of them."""
    left = list(scopes)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if left:
                print("stopping" if len(left) > 1 else "no quiet time", file=sys.stderr)
                left.pop(0).cancel()


async def soak(arguments: argparse.Namespace, folder: Path, hosts: int) -> dict[str, float]:
    plan = soak_plan(arguments.nodes, HOUR * arguments.hours, arguments.every, arguments.seed)
    topic = folder / "topic" / "tiny.toml"
    if not topic.exists():
        write_topic(folder / "topic")
    async with process_swarm(folder, hosts=hosts) as swarm, trio.open_nursery() as nursery:
        made = Soak(swarm, plan, topic, arguments.training)
        troubles, quiet = trio.CancelScope(), trio.CancelScope()
        nursery.start_soon(_until_ctrl_c, troubles, quiet)
        with troubles:
            async with trio.open_nursery() as watched:
                watched.start_soon(made.watch)
                await made.trouble()
                watched.cancel_scope.cancel()
        with quiet:
            await made.quiet()
        await made.end()
        figures = made.figures()
        made.say_more()
        made.samples.save(folder / "samples.csv")  # beside the homes
        nursery.cancel_scope.cancel()
    return figures


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    try:
        figures = trio.run(soak, arguments, folder, arguments.nodes)
    except* NoNetwork as refused:
        print(f"no partitions: {refused.exceptions[0]}")
    return figures or trio.run(soak, arguments, folder, 0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Whole nodes for hours, with kills, hangs and partitions.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--training", type=int, default=3, help="of them; the others keep records and pass them on")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one trouble to the next, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="keep homes and logs here; new or empty")
    arguments = parser.parse_args(argv)
    if arguments.nodes < 2 or not arguments.hours > 0 or not arguments.every > 0:
        parser.error("--nodes must be at least 2, --hours and --every more than 0")
    os.nice(19)
    with tempfile.TemporaryDirectory() as temporary:
        figures = run(arguments, arguments.folder or Path(temporary))
    print_figures(figures, GOALS)
    document = report("soak", figures, GOALS, sys.argv[1:])
    print(json.dumps(document | {"command": document["command"].replace("bench-soak", "soak")}))
    sys.exit(0 if document["met"] else 1)


if __name__ == "__main__":
    main()
