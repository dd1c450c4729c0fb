"""Bad lines between peers: a partition that heals, lost packets, long ways. Network namespaces, the kernel's own TCP.

Skipped where a user may not make network namespaces. No speed is asserted; tests/bench/bench_faults.py measures.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.lossy_network import Line
from tests.swarm_of_processes import NoNetwork, Peer, ProcessSwarm, all_have, check_equal, each, process_swarm

pytestmark = pytest.mark.long


@asynccontextmanager
async def hosts(folder: Path, count: int) -> AsyncGenerator[ProcessSwarm]:
    try:
        async with process_swarm(folder, hosts=count) as swarm:
            yield swarm
    except* NoNetwork as refused:
        pytest.skip(f"needs network namespaces: {refused.exceptions[0]}")


def halves(count: int) -> Line:
    return Line(groups=[list(range(count // 2)), list(range(count // 2, count))])


async def published_apart(peers: list[Peer], findings: int) -> list[str]:
    """So many findings, in turn by each; every half has what was found in it."""
    ids = {
        peer.name: await peer.publish(findings // len(peers) + (n < findings % len(peers)))
        for n, peer in enumerate(peers)
    }
    for half in (peers[: len(peers) // 2], peers[len(peers) // 2 :]):
        await all_have(half, [id for peer in half for id in ids[peer.name]])
    return [id for some in ids.values() for id in some]


async def healed(swarm: ProcessSwarm, peers: list[Peer], ids: list[str]) -> float:
    """Seconds from the heal until everybody has everything."""
    healed_at = trio.current_time()
    await swarm.line(Line())
    await all_have(peers, ids)
    seconds = trio.current_time() - healed_at
    await check_equal(peers, ids)
    return seconds


async def test_two_halves_that_were_parted_for_fifty_findings_are_one_again(tmp_path, record_property):
    async with hosts(tmp_path, 20) as swarm:
        peers = await swarm.grow(20)
        before = await peers[0].publish()
        await all_have(peers, before)
        await swarm.line(halves(20))
        ids = await published_apart(peers, 50)
        assert not peers[0].ids & set(peers[10].kept), "they are parted"
        seconds = await healed(swarm, peers, [*before, *ids])
        record_property("healed_seconds", seconds)
        print(f"healed_seconds {seconds:.2f}")


async def test_halves_that_have_given_each_other_up_find_each_other_again(tmp_path, record_property):
    """The partition lasts until every connection across it has ended, and each half has as many peers as it wants."""
    async with hosts(tmp_path, 20) as swarm:
        peers = await swarm.grow(20)
        await all_have(peers, await peers[0].publish())
        await swarm.line(halves(20))
        ids = [*peers[0].ids, *await published_apart(peers, 16)]
        for half, others in ((peers[:10], peers[10:]), (peers[10:], peers[:10])):
            strangers = {peer.peer_id for peer in others}
            await each(half, lambda p, strangers=strangers: not strangers & set(p.peers), "the other half to be gone")
        seconds = await healed(swarm, peers, ids)
        record_property("healed_after_giving_up_seconds", seconds)
        print(f"healed_after_giving_up_seconds {seconds:.2f}")


async def test_every_tenth_packet_lost_and_two_hundred_milliseconds_each_way(tmp_path):
    async with hosts(tmp_path, 5) as swarm:
        await swarm.line(Line(delay_seconds=0.2, loss=0.1))
        peers = await swarm.grow(4)
        ids = [id for peer in peers for id in await peer.publish(5)]
        await all_have(peers, ids)
        ids += await peers[0].publish(100)
        late = await swarm.start("late", [peers[0].address])
        await all_have([*peers, late], ids)
        await check_equal([*peers, late], ids)
        assert not [text for peer in (*peers, late) for text in peer.notices if "network stopped" in text]
