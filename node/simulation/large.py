"""A swarm of thousands on an event heap: what it costs to tell everybody everything, by the rules of gossip/.

Tier 0: no node runs. Improvements flood along links, everything else comes with rounds of catch-up, paced as
gossip/puller.py paces them; sizes are those of real messages, encoded here. Of all findings a sample is followed one by
one and counted for the rest. Not modelled: churn, GossipSub's own control messages, encryption, CPU.
"""

import heapq
import math
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from statistics import fmean

from gossip import catchup
from gossip.envelope import seal
from gossip.forks import TIP_BYTES
from gossip.identity import Identity
from gossip.packing import Packing
from gossip.puller import EVERY_SECONDS, SECONDS_PER_AUTHOR
from node.simulation.figures import percentile
from node.simulation.sample_finding import finding_like, sample_brief
from swarm.brief import brief_id, encode_brief
from swarm.finding import encode_finding
from swarm.preset import preset_of

MEASURED_PAGE = 200  # findings that the size of a compressed page is measured on, each of another author
AT_MS = 1_796_000_000_000


@dataclass(frozen=True)
class LargeSwarm:
    nodes: int
    hours: float = 2.0
    trial_seconds: float = 150.0  # from one finding of a node to its next
    kept_share: float = 0.05  # of findings that are improvements, and told to everybody at once
    connections: int = 10  # of a node on average; 24 real services came to 9 (tests/bench/bench_traffic.py)
    latency_seconds: float = 0.04
    loss: float = 0.01
    sampled: int = 400  # findings that are followed


@dataclass(frozen=True)
class Sizes:
    frame_bytes: float  # as it is kept
    packed_bytes: float  # as it is broadcast
    deflated_bytes: float  # in a page of many
    request_bytes: int  # of one about every author


class _Heap:
    """Events in order of time; equal times in the order in which they were put in."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, int, int, int]] = []
        self._count = 0

    def put(self, at: float, node: int, record: int = -1, came_from: int = -1) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, node, record, came_from))

    def until(self, end: float) -> Iterator[tuple[float, int, int, int]]:
        while self._events and self._events[0][0] <= end:
            at, _, node, record, came_from = heapq.heappop(self._events)
            yield at, node, record, came_from


class LargeRun:
    """One run. Everything that is counted is of the second half, when rounds have settled."""

    def __init__(self, swarm: LargeSwarm, seed: int) -> None:
        self.swarm, self._rng = swarm, random.Random(f"{seed} large")
        self.sizes = sizes(swarm.nodes)
        self._links = _links(swarm, self._rng)
        self._heard = [0] * swarm.nodes  # bits of the sampled findings that came by broadcast
        self._held = [0] * swarm.nodes  # and of those in logs without a gap, which are handed on
        self._turn = [self._rng.randrange(1 << 16) for _ in range(swarm.nodes)]
        self._born: list[float] = []
        self._kept = 0  # bits of the sampled improvements
        self._heap = _Heap()
        self._bytes = array("d", [0.0] * swarm.nodes)
        self._messages = array("d", [0.0] * swarm.nodes)
        self.news_seconds, self.all_seconds = array("d"), array("d")

    def run(self) -> dict[str, float]:
        swarm, end = self.swarm, 3600 * self.swarm.hours
        pause = self._pause()
        for node in range(swarm.nodes):
            self._heap.put(self._rng.uniform(0, pause), node)
        for at in sorted(self._rng.uniform(0, end) for _ in range(swarm.sampled)):
            self._heap.put(at, self._rng.randrange(swarm.nodes), len(self._born))
            self._born.append(at)
        for at, node, record, came_from in self._heap.until(end):
            if record < 0:
                self._ask(node, at)
                self._heap.put(at + pause, node)
            elif came_from < 0:
                self._find(node, record, at)
            else:
                self._arrive(node, record, came_from, at)
        return self._figures(end)

    def _pause(self) -> float:
        return max(EVERY_SECONDS, SECONDS_PER_AUTHOR * self.swarm.nodes)

    def _stands_for(self) -> float:
        """Findings behind each that is followed."""
        swarm = self.swarm
        return swarm.nodes * 3600 * swarm.hours / swarm.trial_seconds / swarm.sampled

    def _counts(self, at: float) -> bool:
        return at >= 1800 * self.swarm.hours

    def _find(self, node: int, record: int, at: float) -> None:
        self._held[node] |= 1 << record
        self._heard[node] |= 1 << record
        # So many are improvements in all; which ones does not matter, but that none is too few to measure.
        if record % max(1, round(1 / self.swarm.kept_share)) == 0:
            self._kept |= 1 << record
            self._pass_on(node, record, -1, at)

    def _arrive(self, node: int, record: int, came_from: int, at: float) -> None:
        bit = 1 << record
        if self._heard[node] & bit:
            return
        self._heard[node] |= bit
        if not self._held[node] & bit:
            self.news_seconds.append(at - self._born[record])
        self._pass_on(node, record, came_from, at)

    def _pass_on(self, node: int, record: int, came_from: int, at: float) -> None:
        size, weight, swarm = self.sizes.packed_bytes, self._stands_for(), self.swarm
        for other in self._links[node]:
            if other == came_from or self._rng.random() < swarm.loss:
                continue
            self._count(at, node, other, size * weight, weight)
            if not self._heard[other] & (1 << record):
                travel = swarm.latency_seconds * (0.5 + self._rng.random())
                self._heap.put(at + travel, other, record, node)

    def _ask(self, node: int, at: float) -> None:
        """One round with one neighbour: everything that it has more of."""
        links = self._links[node]
        self._turn[node] += 1
        peer = links[self._turn[node] % len(links)]
        new = self._held[peer] & ~self._held[node]
        weight = self._stands_for()
        lacking = new.bit_count() * weight
        ranges = math.ceil(self.swarm.nodes / catchup.MAX_AUTHORS)
        pages = max(ranges, math.ceil(lacking * self.sizes.frame_bytes / catchup.PAGE_BYTES))
        asked = self.sizes.request_bytes * pages / ranges  # each is about the authors of its range
        self._count(at, node, peer, asked + lacking * self.sizes.deflated_bytes, 2.0 * pages)
        self._held[node] |= new
        unheard = new & ~self._heard[node]
        while unheard:
            record = (unheard & -unheard).bit_length() - 1
            unheard &= unheard - 1
            self.all_seconds.append(at - self._born[record])
        self._heard[node] |= new

    def _count(self, at: float, one: int, other: int, size_bytes: float, messages: float) -> None:
        if self._counts(at):
            for node in (one, other):
                self._bytes[node] += size_bytes
                self._messages[node] += messages

    def _figures(self, end: float) -> dict[str, float]:
        swarm, seconds = self.swarm, end / 2
        older = [n for n, at in enumerate(self._born) if end / 2 <= at <= end - 600]
        mask = sum(1 << n for n in older)
        held = fmean((self._heard[node] & mask).bit_count() for node in range(swarm.nodes)) / max(1, len(older))
        return {
            "nodes": float(swarm.nodes),
            "findings_per_hour": swarm.nodes * 3600 / swarm.trial_seconds,
            "kilobytes_per_second": fmean(self._bytes) / seconds / 1000,
            "kilobytes_per_second_busiest": max(self._bytes) / seconds / 1000,
            "megabytes_per_node_hour": fmean(self._bytes) / seconds * 3.6e-3,
            "messages_per_node_hour": fmean(self._messages) / seconds * 3600,
            "round_seconds": self._pause(),
            "news_p50_s": percentile(self.news_seconds, 0.5),
            "news_p99_s": percentile(self.news_seconds, 0.99),
            "others_p50_s": percentile(self.all_seconds, 0.5),
            "others_p99_s": percentile(self.all_seconds, 0.99),
            "held_share_after_10_minutes": held,
            "request_kilobytes": self.sizes.request_bytes / 1000,
        }


def newcomer(swarm: LargeSwarm, hours: float, records_per_second: float = 1650.0) -> dict[str, float]:
    """What somebody fetches who joins after so many hours. `records_per_second`: checked and kept (docs/log.md)."""
    findings, measured = swarm.nodes * 3600 * hours / swarm.trial_seconds, sizes(swarm.nodes)
    pages = math.ceil(findings * measured.frame_bytes / catchup.PAGE_BYTES)
    ranges = math.ceil(swarm.nodes / catchup.MAX_AUTHORS)
    # It asks about more and more authors as it learns of them: half of all on average.
    asked = 0.5 * pages * measured.request_bytes / ranges
    return {
        "newcomer_findings": findings,
        "newcomer_megabytes": (findings * measured.deflated_bytes + asked) / 1e6,
        "newcomer_seconds": findings / records_per_second,
        "journal_megabytes": findings * measured.frame_bytes / 1e6,
    }


@cache
def sizes(nodes: int) -> Sizes:
    """Of real messages, by as many authors as a page of a large swarm has."""
    rng, brief = random.Random(1), encode_brief(sample_brief())
    id = brief_id(brief)
    writers = [Identity(sha256(f"writer {n}".encode()).digest()) for n in range(MEASURED_PAGE)]
    frames = [
        seal(writer, "finding", id, 7, rng.randbytes(32).hex(), AT_MS, encode_finding(finding_like(rng, n + 1))).frame
        for n, writer in enumerate(writers)
    ]
    packing = Packing(preset_of(sample_brief(), id))
    page = catchup.encode_page(catchup.Page(tuple(frames), more=False), deflate=True)
    heads = {f"12D3KooW{n:044}": 200 for n in range(nodes)}
    tips = dict.fromkeys(heads, b"1" * TIP_BYTES)
    request = catchup.Request(id, heads, tips=tips, deflate=True, offset=0)
    return Sizes(
        frame_bytes=fmean(map(len, frames)),
        packed_bytes=fmean(len(packing.pack(frame)) for frame in frames),
        deflated_bytes=len(page) / len(frames),
        request_bytes=len(catchup.encode_request(request)),
    )


def _links(swarm: LargeSwarm, rng: random.Random) -> list[list[int]]:
    """A random graph: everybody dials half as many others as it is to have on average."""
    links: list[set[int]] = [set() for _ in range(swarm.nodes)]
    for node in range(swarm.nodes):
        others = rng.sample(range(swarm.nodes), min(swarm.nodes, swarm.connections // 2 + 1))
        for other in [one for one in others if one != node][: swarm.connections // 2]:
            links[node].add(other)
            links[other].add(node)
    return [sorted(one) for one in links]
