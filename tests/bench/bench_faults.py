"""What faults cost a swarm of real processes: a partition, kills, a restart. In seconds until all is well again.

    python tests/bench/bench_faults.py [--nodes N] [--rounds R] [--seed S]

Each process is the network side of a node: libp2p, admission, journal, ledger. The partition is made of network
namespaces and left out where a user may not make them. Every process shares these cores: that is part of the figures.
The last line is one JSON object; exit status 0 when it ran, whether or not the goals are met.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402

from tests.lossy_network import Line  # noqa: E402
from tests.swarm_of_processes import NoNetwork, Peer, ProcessSwarm, all_have, check_equal, each, process_swarm  # noqa: E402

HEARTBEAT_SECONDS = 1.0  # of GossipSub, docs/protocol.md
APART = 50  # findings that the halves make while they are parted
GOALS = {
    "healed_seconds": ("<=", 15.0),
    "healed_after_giving_up_seconds": ("<=", 15.0),
    "back_hears_seconds": ("<=", 2 * HEARTBEAT_SECONDS),
    "back_is_heard_seconds": ("<=", 2 * HEARTBEAT_SECONDS),
}
Figures = dict[str, float]


async def until_all_have(peers: list[Peer], ids: set[str]) -> float:
    started_at = trio.current_time()
    await all_have(peers, ids)
    seconds = trio.current_time() - started_at
    await check_equal(peers, ids)
    return seconds


async def parted(swarm: ProcessSwarm, peers: list[Peer], *, given_up: bool) -> float:
    """Seconds from the heal to equal ledgers. `given_up`: not before every connection across has ended."""
    half = len(peers) // 2
    before = set(peers[0].ids)
    await swarm.line(Line(groups=[list(range(half)), list(range(half, len(peers)))]))
    ids = {id for n in range(APART) for id in await peers[n % len(peers)].publish()}
    if given_up:
        for one, other in ((peers[:half], peers[half:]), (peers[half:], peers[:half])):
            strangers = {peer.peer_id for peer in other}
            await each(one, lambda p, strangers=strangers: not strangers & set(p.peers), "the other half to be gone")
    await swarm.line(Line())
    return await until_all_have(peers, before | ids)


async def partition(folder: Path, nodes: int, rng: random.Random) -> Figures:
    figures: Figures = {}
    try:
        async with process_swarm(folder, hosts=nodes) as swarm:
            peers = await swarm.grow(nodes)
            figures["healed_seconds"] = await parted(swarm, peers, given_up=False)
            figures["healed_after_giving_up_seconds"] = await parted(swarm, peers, given_up=True)
    except* NoNetwork as refused:
        print(f"no partition: {refused.exceptions[0]}")
    return figures


async def killed(folder: Path, nodes: int, rng: random.Random) -> Figures:
    """30 % of them while they publish; back in the same homes. From the last one's start."""
    async with process_swarm(folder) as swarm:
        peers = await swarm.grow(nodes)
        victims = rng.sample(peers, round(0.3 * nodes))
        for victim in victims:
            await victim.publish(10)
        for victim in victims:
            await victim.kill()
        for peer in swarm.running():
            await peer.publish()
        for victim in victims:
            await swarm.start(victim.name)
        ids = {id for peer in (*peers, *swarm.running()) for id in peer.ids}
        return {"caught_up_after_kills_seconds": await until_all_have(swarm.running(), ids)}


async def restarted(folder: Path, nodes: int, rng: random.Random) -> Figures:
    """From its first connection: a finding of another one here, one of its own everywhere."""
    async with process_swarm(folder) as swarm:
        peers = await swarm.grow(min(nodes, 5))
        await peers[-1].kill()
        back = await swarm.start(peers[-1].name)
        await back.until(lambda p: p.peers, "a peer")
        theirs, ours = await peers[0].publish(), await back.publish()
        await all_have(swarm.running(), [*theirs, *ours])
        assert back.met_at is not None
        told = [peer.got[ours[0]] for peer in swarm.running() if peer is not back]
        return {
            "back_hears_seconds": back.got[theirs[0]] - back.met_at,
            "back_is_heard_seconds": max(told) - back.met_at,
        }


async def measure(arguments: argparse.Namespace, folder: Path) -> Figures:
    worst: Figures = {}
    rng = random.Random(arguments.seed)
    faults: list[Callable[[Path, int, random.Random], Awaitable[Figures]]] = [partition, killed, restarted]
    for number in range(arguments.rounds):
        for fault in faults:
            for name, value in (await fault(folder / f"{fault.__name__}{number}", arguments.nodes, rng)).items():
                worst[name] = max(worst.get(name, 0.0), value)
    return {"nodes": float(arguments.nodes), "rounds": float(arguments.rounds), **worst}


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults of a swarm of real processes.")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="of each fault; the worst is reported")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(measure, arguments, Path(folder))
    print_figures(figures, GOALS)
    print_report("faults", figures, GOALS)


if __name__ == "__main__":
    main()
