"""Whole nodes that train, on a disk that fills up and with a clock that jumps: it costs waiting, and no finding.

The moments come from a seed; every wait ends when the awaited thing has happened. The disk is a tmpfs in a namespace of
its own, and its test is skipped where a user may not make one.
"""

import random
import shutil
import sys
from pathlib import Path

import pytest
import trio
from node_process import write_topic

from node.home import write_atomically
from node.sandbox.watch import FREE_BYTES
from tests.real_nodes import NodePeer, found_in, left_behind, start_node
from tests.swarm_of_processes import NoNetwork, ProcessSwarm, process_swarm

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
DISK_BYTES = 900 << 20
JUMPING_CLOCK = Path(__file__).with_name("jumping_clock.py")
DAY = 86_400.0  # seconds


def said(node: NodePeer, words: str) -> int:
    return sum(words in text for text in node.notices)


async def check_told(swarm: ProcessSwarm, node: NodePeer, witness: NodePeer) -> None:
    """Whatever it has found is with the other one, on both disks, and nothing is left of either."""
    await witness.until(lambda w: w.ids >= set(node.kept), "all that was found")
    for one in (node, witness):
        await one.leave()
        assert one.stopped, f"{one.name} ended without a goodbye"
    copies = [swarm.folder / f"{one.name}-in-the-end" for one in (node, witness)]
    for one, copy in zip((node, witness), copies, strict=True):  # SQLite would follow the link into our own namespace
        shutil.copytree(seen(swarm, one.name), copy, ignore=shutil.ignore_patterns("results", "scratch", "corpora"))
    at_home, elsewhere = (found_in(copy, node.brief) for copy in copies)
    assert at_home == elsewhere
    assert at_home[0] == set(node.kept)
    for one in (node, witness):
        assert (swarm.folder / f"{one.name}.err").read_text() == ""


def seen(swarm: ProcessSwarm, name: str) -> Path:
    """A home as the swarm's processes see it, small disks included."""
    return Path(f"/proc/{swarm.pid}/root{swarm.home(name)}")


def fill(path: Path, left_bytes: int) -> None:
    """All but so much of a disk."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
        file.truncate(max(0, file.tell() - left_bytes))


async def test_a_disk_that_fills_up_at_any_moment_costs_waiting_and_no_finding(tmp_path):
    topic, moments = write_topic(tmp_path / "topic"), random.Random(5)
    try:
        async with process_swarm(tmp_path, disks={"small": DISK_BYTES}) as swarm:
            witness = await start_node(swarm, "witness", topic, [], "--no-train")
            node = await start_node(swarm, "small", topic, [witness.address])
            ballast = seen(swarm, "small") / "ballast"
            # to the last byte, and to where a sandbox ends trials though something is left
            for number, left_bytes in enumerate((0, FREE_BYTES - (16 << 20), 0), 1):
                wanted = len(node.kept) + 1
                await node.until(lambda n, wanted=wanted: len(n.kept) >= wanted, "a finding")
                await trio.sleep(moments.uniform(0, 4))  # the moment at which it fills up, not a wait
                await trio.to_thread.run_sync(fill, ballast, left_bytes)
                await node.until(lambda n, number=number: said(n, "waiting until there is room") >= number, "waiting")
                ballast.unlink()
                await node.until(lambda n, number=number: said(n, "there is room") >= number, "going on")
            wanted = len(node.kept) + 1
            await node.until(lambda n: len(n.kept) >= wanted, "a finding after all that")
            assert not [text for text in node.reasons if "disk" in text or "space" in text], "an idea was blamed"
            await check_told(swarm, node, witness)
            assert not left_behind(swarm, frozenset())
    except* NoNetwork as refused:
        pytest.skip(f"needs namespaces: {refused.exceptions[0]}")


async def test_a_clock_that_jumps_days_ahead_and_back_ends_no_trial_and_loses_no_finding(tmp_path):
    topic, moments, clock = write_topic(tmp_path / "topic"), random.Random(6), tmp_path / "clock"
    write_atomically(clock, b"0")
    program = (sys.executable, str(JUMPING_CLOCK), str(clock))
    async with process_swarm(tmp_path) as swarm:
        witness = await start_node(swarm, "witness", topic, [], "--no-train")
        node = await start_node(swarm, "jumping", topic, [witness.address], program=program)
        for ahead in (2 * DAY, -2 * DAY, 40.0, 0.0):
            wanted = len(node.kept) + 1
            await node.until(lambda n, wanted=wanted: len(n.kept) >= wanted, "a finding")
            await trio.sleep(moments.uniform(0, 3))  # the moment of the jump, not a wait
            write_atomically(clock, str(ahead).encode())
        wanted = len(node.kept) + 1
        await node.until(lambda n: len(n.kept) >= wanted, "a finding after all that")
        assert set(node.outcomes) <= {"measured", "timed_out", "diverged"}
        assert not [text for one in (node, witness) for text in one.notices if "kept out" in text or "stopped:" in text]
        await check_told(swarm, node, witness)
