"""Cables in memory: what TCP would do to bytes, on a virtual clock."""

from random import Random

import pytest
import trio
import trio.testing

from gossip.memory_cables import IDLE_SECONDS, SILENCE_SECONDS, WINDOW_BYTES, CableBroken, CabledNetwork, End
from gossip.network_model import Line, next_retry_seconds


async def joined(network: CabledNetwork) -> tuple[End, End]:
    coming = network.listen("b")
    return await network.connect("a", "b"), coming.receive_nowait()


def quick(**conditions) -> CabledNetwork:
    return CabledNetwork(Random(1), latency_seconds=0.0, **conditions)


async def read_all(end: End) -> bytes:
    said = b""
    while piece := await end.read(5):
        said += piece
    return said


async def test_bytes_come_late_in_order_and_then_the_end(autojump_clock):
    network = CabledNetwork(Random(1), latency_seconds=1.0)
    here, there = await joined(network)
    began = trio.current_time()
    for number in range(20):
        await here.write(bytes([number]))
    here.close()
    assert await read_all(there) == bytes(range(20))
    assert 0.5 <= trio.current_time() - began <= 3.0


async def test_a_slow_line_is_busy_with_what_went_before(autojump_clock):
    network = quick(lines={"a": Line(bytes_per_second=1000.0)})
    here, there = await joined(network)
    began = trio.current_time()
    for _ in range(4):
        await here.write(bytes(500))
    here.close()
    await read_all(there)
    assert trio.current_time() - began == pytest.approx(2.0)


async def test_who_writes_more_than_is_read_waits(autojump_clock):
    here, there = await joined(quick())
    await here.write(bytes(WINDOW_BYTES))
    with trio.move_on_after(100) as waiting:
        await here.write(b"x")
    assert waiting.cancelled_caught
    assert len(await there.read(WINDOW_BYTES)) == WINDOW_BYTES
    with trio.fail_after(1):
        await here.write(b"x")


async def test_lost_packets_are_late_and_hold_up_what_follows(autojump_clock):
    here, there = await joined(quick(loss=0.4))
    began = trio.current_time()
    for number in range(50):
        await here.write(bytes([number]))
    here.close()
    assert await read_all(there) == bytes(range(50))
    assert trio.current_time() - began >= 0.2


async def test_a_partition_breaks_who_waits_for_an_answer_sooner_than_who_says_nothing(autojump_clock):
    network = quick()
    (talking, _), (idle, _) = await joined(network), await joined(network)
    network.partition(["a"], ["b"])
    began = trio.current_time()
    await talking.write(b"hello?")
    with pytest.raises(CableBroken, match="nothing was heard of b"):
        await talking.read(1)
    assert trio.current_time() - began == pytest.approx(SILENCE_SECONDS)
    with pytest.raises(CableBroken):
        await idle.read(1)
    assert trio.current_time() - began == pytest.approx(IDLE_SECONDS)


async def test_what_a_short_partition_held_up_comes_at_the_next_try(autojump_clock):
    network = quick()
    here, there = await joined(network)
    network.partition(["a"], ["b"])
    await here.write(b"held up")
    await trio.sleep(5.0)
    network.heal()
    began = trio.current_time()
    assert await there.read(100) == b"held up"
    assert trio.current_time() - began == pytest.approx(next_retry_seconds(5.0))
    assert 1.0 < next_retry_seconds(5.0) < 5.0


async def test_a_connection_that_broke_stays_broken_when_the_network_heals(autojump_clock):
    network = quick()
    here, there = await joined(network)
    network.partition(["a"], ["b"])
    await trio.sleep(IDLE_SECONDS)
    network.heal()
    for end in (here, there):
        with pytest.raises(CableBroken):
            await end.read(1)


async def test_the_end_of_one_side_is_the_end_of_both(autojump_clock):
    here, there = await joined(quick())
    there.close()
    assert await here.read(1) == b""
    with pytest.raises(CableBroken, match="b has closed"):
        await here.write(b"x")
    await there.write(b"lost")
    assert await there.read(1) == b""


async def test_nobody_there_is_refused_and_behind_a_partition_is_silence(autojump_clock):
    network = quick()
    with pytest.raises(ConnectionRefusedError, match="nobody listens as b"):
        await network.connect("a", "b")
    coming = network.listen("b")
    network.partition(["a"], ["b"])
    with trio.move_on_after(60) as waiting:
        await network.connect("a", "b")
    assert waiting.cancelled_caught
    coming.close()
    network.heal()
    with pytest.raises(ConnectionRefusedError):
        await network.connect("a", "b")
