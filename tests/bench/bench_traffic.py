"""Bytes that a node sends and receives in a large swarm: the gossip service over a network in memory, in virtual time.

    python tests/bench/bench_traffic.py [--nodes N] [--minutes M] [--trial-seconds S] [--kept SHARE]

Every node has a finding each --trial-seconds, of the size of real ones, and one in twenty is an improvement. It claims
what it tries; of claims in a large swarm only some are worth telling, --claimed. Frames and catch-up messages are
counted as they are, claims with what GossipSub adds, which is more than they are; what TCP, encryption and GossipSub's
own control messages add is not in it (some tens of bytes a message). Frames flood along connections, as in GossipSub
with every connection in its mesh: the most it can be. Half of the virtual time passes before the count begins. The last
line is one JSON object.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import trio
import trio.testing

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402

from gossip.bus import Deliver, Serve  # noqa: E402
from gossip.claims import seal_claim  # noqa: E402
from gossip.memory_bus import MemoryBus, MemoryNetwork  # noqa: E402
from gossip.packing import Packing  # noqa: E402
from gossip.puller import SMALL_SWARM  # noqa: E402
from gossip.traffic import Kind  # noqa: E402
from node.simulation.sample_finding import finding_like, sample_brief  # noqa: E402
from swarm.finding import encode_finding  # noqa: E402
from swarm.preset import preset_of  # noqa: E402
from swarm.words import BriefId  # noqa: E402
from tests.simworld.gossip_world import BRIEF, TOPIC, Node, identity  # noqa: E402

AROUND_A_CLAIM = 260  # bytes that GossipSub adds: sender, its signature, number, a topic's name of 82 characters
GOALS = {"bytes_per_second": ("<=", 20_000.0)}  # in and out together


def counted(bus: MemoryBus) -> Counter[str]:
    """What a node has sent and got so far, by kind."""
    said, kinds = bus.statistics(), bus.traffic.totals
    found: Counter[str] = Counter()
    for way in ("in", "out"):
        claims, claim_bytes = said.get(f"claims_{way}", 0), said.get(f"claim_bytes_{way}", 0)
        found[f"claims_{way}"] = claim_bytes + claims * AROUND_A_CLAIM
        found[f"broadcast_{way}"] = getattr(kinds[Kind.BROADCAST], f"bytes_{way}") - claim_bytes
        found[f"catch_up_{way}"] = getattr(kinds[Kind.CATCHUP], f"bytes_{way}")
    return found


async def simulate(arguments: argparse.Namespace) -> dict[str, float]:
    rng = Random(arguments.seed)
    network = MemoryNetwork(Random(arguments.seed))
    buses: dict[str, MemoryBus] = {}
    news: set[str] = set()
    count = arguments.nodes
    small = count <= SMALL_SWARM
    packing = Packing(preset_of(sample_brief(), BriefId(BRIEF)))

    def node(number: int) -> Node:
        who = identity(number)

        def bus(deliver: Deliver, serve: Serve) -> MemoryBus:
            made = network.bus(who.peer_id, TOPIC, deliver, serve)
            buses[who.peer_id] = made
            return made

        known = [network.address(identity(n).peer_id) for n in rng.sample(range(1, count + 1), 4) if n != number]
        return Node(who, bus, bootstrap=known, is_news=lambda record: small or record.id in news, packing=packing)

    nodes = [node(number) for number in range(1, count + 1)]
    made = 0

    async def research(one: Node, own: Random) -> None:
        nonlocal made
        await trio.sleep(own.random() * arguments.trial_seconds)
        while True:
            made += 1
            kept = own.random() < arguments.kept
            record = one.store.write(one.who, encode_finding(finding_like(own, made)))
            if kept:
                news.add(record.id)
            one.service.announce()
            if small or own.random() < arguments.claimed:
                key, at_ms = f"{made:064x}", int(1000 * trio.current_time())
                claim = seal_claim(one.who, BRIEF, key, slot=made % 2, at_ms=at_ms, seconds=300)
                one.service.tell_claim(claim.frame)
            await trio.sleep(arguments.trial_seconds * own.uniform(0.9, 1.1))

    half = 30.0 * arguments.minutes
    async with trio.open_nursery() as nursery:
        for number, one in enumerate(nodes):
            nursery.start_soon(one.service.run)
            nursery.start_soon(research, one, Random(number))
        await trio.sleep(half)
        before = {peer: counted(one) for peer, one in buses.items()}
        at_half = made
        await trio.sleep(half)
        after = {peer: counted(one) for peer, one in buses.items()}
        held = statistics.fmean(len(one.store) for one in nodes) / made
        degree = statistics.fmean(len(network.linked(one.peer_id)) for one in nodes)
        nursery.cancel_scope.cancel()
    spent = {peer: after[peer] - before[peer] for peer in after}
    kinds = ("broadcast_in", "broadcast_out", "claims_in", "claims_out", "catch_up_in", "catch_up_out")
    figures = {f"{kind}_bytes_per_second": statistics.fmean(c[kind] for c in spent.values()) / half for kind in kinds}
    totals = sorted(sum(counts.values()) / half for counts in spent.values())
    return {
        "nodes": float(count),
        "connections": degree,
        "record_bytes": statistics.fmean(len(r.frame) for log in nodes[0].store._logs.values() for r in log.values()),
        "findings_per_second": (made - at_half) / half,
        "held_share": held,  # of all findings made so far, the newest included
        **figures,
        "bytes_per_second": statistics.fmean(totals),
        "bytes_per_second_busiest": totals[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes that a node sends and receives in a large swarm.")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0, help="virtual")
    parser.add_argument("--trial-seconds", type=float, default=150.0)
    parser.add_argument("--kept", type=float, default=0.05)
    parser.add_argument("--claimed", type=float, default=0.3, help="share of proposals that a large swarm is told of")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    figures = trio.run(simulate, arguments, clock=trio.testing.MockClock(autojump_threshold=0))
    print_figures(figures, GOALS)
    print(f"{time.monotonic() - began:.0f} s")
    print_report("traffic", figures, GOALS)


if __name__ == "__main__":
    main()
