"""Two nodes behind NATs: they meet through one on the internet, and then need it no more, where their NATs allow it.

Network namespaces, the kernel's own TCP, and NATs that let in only what answers. Skipped where no user may make them.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.lossy_network import Line, hidden_host_of, public_host_of
from tests.swarm_of_processes import (
    PATIENCE_SECONDS,
    NoNetwork,
    Peer,
    ProcessSwarm,
    all_have,
    check_equal,
    process_swarm,
)

pytestmark = pytest.mark.long  # peers find each other in their own time: most of a minute


@asynccontextmanager
async def behind_nats(folder: Path, line: Line) -> AsyncGenerator[tuple[ProcessSwarm, Peer, Peer, Peer]]:
    """The one on the internet, and two that know nobody but it and have met each other."""
    hosts = [public_host_of(0), hidden_host_of(1), hidden_host_of(2)]
    try:
        async with process_swarm(folder, hosts=hosts) as swarm:
            await swarm.line(line)
            relay = await swarm.start("relay", [])
            one = await swarm.start("one", [relay.address])
            other = await swarm.start("other", [relay.address])
            for peer, wanted in ((one, other), (other, one)):
                await peer.until(lambda p, w=wanted: {w.peer_id, relay.peer_id} <= set(p.peers), "both others as peers")
            yield swarm, relay, one, other
    except* NoNetwork as refused:
        pytest.skip(f"needs network namespaces: {refused.exceptions[0]}")


async def counted(peers: list[Peer], name: str) -> int:
    states = [await peer.state() for peer in peers]
    return sum(state["counters"].get(f"bus.{name}", 0) for state in states)


async def until_counted(peers: list[Peer], name: str) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while not await counted(peers, name):
            await trio.sleep(0.2)


async def test_two_behind_nats_meet_through_a_relay_and_stay_when_it_is_gone(tmp_path):
    async with behind_nats(tmp_path, Line(delay_seconds=0.01)) as (_, relay, one, other):
        before = await one.publish()
        await all_have([relay, one, other], before)
        await until_counted([one, other], "punched")
        await relay.kill()
        for peer in (one, other):
            await peer.until(lambda p: relay.peer_id not in p.peers, "the relay to be gone")
        mine, theirs = await one.publish(2), await other.publish(2)
        await all_have([one, other], [*mine, *theirs])
        await check_equal([one, other], [*one.kept, *other.kept])


async def test_where_a_nat_gives_every_way_out_a_port_of_its_own_they_stay_on_the_relay(tmp_path):
    line = Line(delay_seconds=0.01, moves_ports=True)
    async with behind_nats(tmp_path, line) as (_, relay, one, other):
        await until_counted([one, other], "punch_failed")
        assert not await counted([one, other], "punched")
        mine, theirs = await one.publish(), await other.publish()
        await all_have([relay, one, other], [*mine, *theirs])
