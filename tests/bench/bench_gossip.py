"""Findings between real processes on loopback: how soon they are everywhere, idle cost, how fast a newcomer is.

    python tests/bench/bench_gossip.py [--nodes N] [--seconds S] [--rate R] [--records N] [--js DIR]

Each process is the network side of a node (gossip_peer.py): libp2p, admission, journal, ledger. Every one is told the
addresses of four that started before it; the rest they find. `--js` names a folder in which js-libp2p is installed
(tests/interop, npm install): then as many js-libp2p peers (gossip_peer.mjs) get the same addresses and the same load,
and the delivery times are compared. Every process shares these cores: that is part of the figures. The last line is one
JSON object; exit status 0 when it ran, whether or not the goals are met.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import trio

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402
from small_lab import BRIEF  # noqa: E402

from swarm.brief import encode_brief  # noqa: E402

DIALS = 4  # addresses each process is given
SETTLE_SECONDS = 15.0  # after the last one is connected: connections beyond the first, and first heartbeats
TRAILING_SECONDS = 15.0  # for what GossipSub lost: catch-up brings it within so long
GOALS = {
    "delivered_share": (">=", 1.0),
    "delivery_p50_ms": ("<=", 25.0),
    "delivery_p99_ms": ("<=", 150.0),
    "everywhere_p99_seconds": ("<=", 2.0),
    "js_p50_ratio": ("<=", 1.0),
    "idle_cpu_share": ("<=", 0.001),
    "memory_mb": ("<=", 120.0),
    "catch_up_records_per_second": (">=", 2000.0),
}


@dataclass
class Peer:
    """A process of the swarm, and what it said."""

    process: trio.Process
    address: str = ""
    peers: int = 0
    sent: dict[str, int] = field(default_factory=dict[str, int])
    got: dict[str, int] = field(default_factory=dict[str, int])
    filled: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.hear(json.loads(line))
            self.changed.set()
            self.changed = trio.Event()

    def hear(self, said: dict[str, int | str]) -> None:
        self.address = str(said.get("address", self.address))
        self.peers = int(said.get("peers", self.peers))
        self.filled += int(said.get("filled", 0))
        for what, book in (("sent", self.sent), ("got", self.got)):
            if what in said:
                book.setdefault(str(said[what]), int(said["at"]))

    async def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{line}\n".encode())

    async def until(self, holds) -> None:
        while not holds(self):
            await self.changed.wait()


class Swarm:
    """Some processes, started one after the other and killed together."""

    def __init__(self, folder: Path, nursery: trio.Nursery, command: list[str]) -> None:
        self.folder, self.nursery, self.command = folder, nursery, command
        self.peers: list[Peer] = []

    async def start(self, known: list[str]) -> Peer:
        home = self.folder / str(len(self.peers))
        process = await trio.lowlevel.open_process(
            [*self.command, str(home), str(self.folder / "brief"), *known],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        peer = Peer(process)
        self.peers.append(peer)
        self.nursery.start_soon(peer.listen)
        await peer.until(lambda p: p.address)
        return peer

    async def grow(self, count: int, rng: random.Random) -> None:
        for _ in range(count):
            known = [peer.address for peer in self.peers]
            await self.start(rng.sample(known, min(DIALS, len(known))))
        for peer in self.peers:
            await peer.until(lambda p: p.peers >= min(DIALS, count - 1))
        await trio.sleep(SETTLE_SECONDS)

    def kill(self) -> None:
        for peer in self.peers:
            peer.process.kill()


async def load(swarm: Swarm, seconds: float, rate: float, rng: random.Random) -> dict[str, float]:
    """One finding after the other, each by any of the processes."""
    for _ in range(round(seconds * rate)):
        await rng.choice(swarm.peers).tell("publish")
        await trio.sleep(rng.expovariate(rate))
    sent = {id: (peer, at) for peer in swarm.peers for id, at in peer.sent.items()}
    with trio.move_on_after(TRAILING_SECONDS):
        for peer in swarm.peers:
            await peer.until(lambda p: len(p.got) + len(p.sent) >= len(sent))
    delays = defaultdict[str, list[float]](list)
    for peer in swarm.peers:
        for id, at in peer.got.items():
            if id in sent:
                delays[id].append((at - sent[id][1]) / 1e9)
    every = sorted(delay for one in delays.values() for delay in one)
    last = sorted(max(one) for one in delays.values())
    wanted = len(sent) * (len(swarm.peers) - 1)
    return {
        "published": float(len(sent)),
        "delivered_share": len(every) / wanted,
        "delivery_p50_ms": 1000 * statistics.median(every),
        "delivery_p99_ms": 1000 * quantile(every, 0.99),
        "everywhere_p50_seconds": statistics.median(last),
        "everywhere_p99_seconds": quantile(last, 0.99),
    }


def quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


async def idle(swarm: Swarm, seconds: float) -> dict[str, float]:
    """CPU and memory of each process while nothing is said."""
    seen = [psutil.Process(peer.process.pid) for peer in swarm.peers]
    before = [used(process) for process in seen]
    await trio.sleep(seconds)
    after = [used(process) for process in seen]
    shares = [(late - early) / seconds for early, late in zip(before, after, strict=True)]
    memory = [process.memory_full_info().uss / 1e6 for process in seen]
    rss = [process.memory_info().rss / 1e6 for process in seen]
    return {
        "idle_cpu_share": statistics.fmean(shares),
        "memory_mb": statistics.fmean(rss),
        "memory_of_its_own_mb": statistics.fmean(memory),
    }


def used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def catch_up(swarm: Swarm, records: int) -> dict[str, float]:
    """A newcomer to somebody who has it all."""
    full = await swarm.start([])
    await full.tell(f"fill {records}")
    await full.until(lambda p: p.filled >= records)
    newcomer = await swarm.start([full.address])
    await newcomer.until(lambda p: len(p.got) >= records)
    moments = sorted(newcomer.got.values())
    seconds = (moments[-1] - moments[0]) / 1e9
    rss = psutil.Process(newcomer.process.pid).memory_info().rss / 1e6
    return {"catch_up_seconds": seconds, "catch_up_records_per_second": records / seconds, "catch_up_memory_mb": rss}


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {"nodes": float(arguments.nodes)}
    rng = random.Random(arguments.seed)
    (folder / "brief").write_bytes(encode_brief(BRIEF))
    ours = [sys.executable, str(HERE / "gossip_peer.py")]

    async def in_a_swarm(name: str, command: list[str], *measures) -> dict[str, float]:
        found: dict[str, float] = {}
        (folder / name).mkdir()
        (folder / name / "brief").write_bytes((folder / "brief").read_bytes())
        async with trio.open_nursery() as nursery:
            swarm = Swarm(folder / name, nursery, command)
            try:
                for one in measures:
                    found |= await one(swarm) or {}
            finally:
                swarm.kill()
        return found

    async def grown(swarm: Swarm) -> None:
        await swarm.grow(arguments.nodes, random.Random(arguments.seed))

    async def loaded(swarm: Swarm) -> dict[str, float]:
        return await load(swarm, arguments.seconds, arguments.rate, rng)

    async def idled(swarm: Swarm) -> dict[str, float]:
        return await idle(swarm, arguments.seconds)

    figures |= await in_a_swarm("ours", ours, grown, loaded, idled)
    if arguments.js is not None:
        shutil.copy(HERE / "gossip_peer.mjs", arguments.js)  # imports are looked up from where a file lies
        js = ["node", str(arguments.js.resolve() / "gossip_peer.mjs")]
        theirs = await in_a_swarm("js", js, grown, loaded)
        figures |= {f"js_{name}": value for name, value in theirs.items() if name.startswith("deliver")}
        figures["js_p50_ratio"] = figures["delivery_p50_ms"] / figures["js_delivery_p50_ms"]
    if arguments.records:
        figures |= await in_a_swarm("catch-up", ours, lambda swarm: catch_up(swarm, arguments.records))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Findings between real processes on loopback.")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=2.0, help="findings a second, of all together")
    parser.add_argument("--records", type=int, default=10_000, help="that a newcomer has to get; 0: leave it out")
    parser.add_argument("--js", type=Path, default=None, help="folder with js-libp2p installed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(measure, arguments, Path(folder))
    print_figures(figures, GOALS)
    print_report("gossip", figures, GOALS)


if __name__ == "__main__":
    main()
