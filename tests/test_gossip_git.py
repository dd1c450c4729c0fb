"""git over a bus: what both buses promise, what a pipe refuses, and what strangers can do to the real one."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
import trio

from gossip import libp2p_git
from gossip.branches import BranchSource, decode_request, encode_request, open_head, seal_head
from gossip.bus import BlobAbsent, Bus, PeerUnreachable
from gossip.libp2p_bus import Libp2pBus
from gossip.memory_bus import MemoryNetwork
from gossip.memory_wires import memory_wires
from gossip.pipe import PIECE_BYTES, ROOM_BYTES, Frame, Limits, LocalEnd, Pace, Pipe, TooMuch, TooSlow
from gossip.refusal import Answer, Refused
from gossip.traffic import Kind
from tests.simworld.gossip_world import TOPIC, identity, until

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NAME = "nodes/12D3KooWabc/small"
PLENTY = Limits(bytes_in=1 << 30)
CONTENT = Random(5).randbytes(3 * ROOM_BYTES)


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, other = trio.socket.socketpair()
    return trio.SocketStream(one), trio.SocketStream(other)


class Talking:
    """A source whose other end is a function of ours."""

    def __init__(self, speak: Callable[[trio.SocketStream], object]) -> None:
        self.speak, self.open_now, self.asked = speak, 0, []

    async def open(self, names: Sequence[str]):
        self.asked.append(tuple(names))
        return None if names and NAME not in names else self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[trio.SocketStream]:
        here, there = pair()
        self.open_now += 1
        try:
            async with trio.open_nursery() as nursery, here, there:
                nursery.start_soon(self._speak, there)
                yield here
                nursery.cancel_scope.cancel()
        finally:
            self.open_now -= 1

    async def _speak(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.speak(stream)


async def echo(stream: trio.SocketStream) -> None:
    async for piece in stream:
        await stream.send_all(piece)
    await stream.send_eof()


async def pour(stream: trio.SocketStream) -> None:
    await stream.send_all(CONTENT)
    await stream.send_eof()


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def over_libp2p(number: int, source: BranchSource | None = None, **options) -> Libp2pBus:
    return Libp2pBus(
        identity(number), TOPIC, [LOOPBACK], lambda *_: Answer.IGNORE, lambda _peer, message: message,
        wall_clock=time.time, branches=source, **options,
    )  # fmt: skip


@pytest.fixture(params=["memory", "libp2p"])
def make_bus(request: pytest.FixtureRequest) -> Callable[[int, BranchSource | None], Bus]:
    network = MemoryNetwork(Random(3))

    def in_memory(number: int, source: BranchSource | None = None) -> Bus:
        return network.bus(
            identity(number).peer_id, TOPIC, lambda *_: Answer.IGNORE, lambda _peer, message: message, branches=source
        )

    return over_libp2p if request.param == "libp2p" else in_memory


@asynccontextmanager
async def joined(giver: Bus, *askers: Bus) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        for bus in (giver, *askers):
            await nursery.start(bus.run)
        for bus in askers:
            await bus.dial(giver.addresses()[0])
        await until(lambda: len(giver.connected()) == len(askers), 10)
        yield
        nursery.cancel_scope.cancel()


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    while piece := await stream.receive_some(1 << 16):
        got += piece
    return bytes(got)


# --- what every bus promises ---


async def test_what_both_sides_say_arrives(make_bus) -> None:
    source = Talking(echo)
    giver, asker = make_bus(1, source), make_bus(2, None)
    got: list[bytes] = []
    async with joined(giver, asker), trio.open_nursery() as nursery:
        git, local = pair()

        async def talk() -> None:
            await git.send_all(CONTENT)
            await git.send_eof()

        async def listen() -> None:
            got.append(await everything(git))

        nursery.start_soon(talk)
        nursery.start_soon(listen)
        assert await asker.join(giver.peer_id, [NAME], local, PLENTY) == len(CONTENT)
    assert got == [CONTENT]
    assert source.asked == [(NAME,)]
    assert source.open_now == 0
    assert asker.traffic.totals[Kind.GIT].bytes_in >= len(CONTENT)


async def test_a_branch_that_is_not_there(make_bus) -> None:
    giver, asker = make_bus(1, Talking(echo)), make_bus(2, None)
    async with joined(giver, asker):
        with pytest.raises(BlobAbsent):
            await asker.join(giver.peer_id, ["nodes/x/other"], pair()[1], PLENTY)
        with pytest.raises(BlobAbsent):  # who offers none
            await giver.join(asker.peer_id, [], pair()[1], PLENTY)
        with pytest.raises(PeerUnreachable, match="not connected"):
            await asker.join(identity(9).peer_id, [], pair()[1], PLENTY)


async def test_too_much_is_cut(make_bus) -> None:
    source = Talking(pour)
    giver, asker = make_bus(1, source), make_bus(2, None)
    async with joined(giver, asker), trio.open_nursery() as nursery:
        git, local = pair()
        nursery.start_soon(everything, git)
        with pytest.raises(TooMuch):
            await asker.join(giver.peer_id, [], local, Limits(bytes_in=1_000_000))
        nursery.cancel_scope.cancel()
        await until(lambda: source.open_now == 0, 10)


async def test_a_local_side_that_ends_early_ends_it(make_bus) -> None:
    source = Talking(pour)
    giver, asker = make_bus(1, source), make_bus(2, None)
    async with joined(giver, asker):
        git, local = pair()
        await git.aclose()
        with pytest.raises((LocalEnd, PeerUnreachable)):
            await asker.join(giver.peer_id, [], local, PLENTY)
        await until(lambda: source.open_now == 0, 10)


# --- libp2p ---


async def test_given_up_in_the_middle_the_connection_lives_and_the_process_ends() -> None:
    """A write cancelled half-way would spoil the connection for everything else."""
    source = Talking(echo)
    giver, asker = over_libp2p(1, source), over_libp2p(2)
    async with joined(giver, asker):
        for _ in range(5):
            git, local = pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(git.send_all, CONTENT)
                nursery.start_soon(asker.join, giver.peer_id, [], local, PLENTY)
                await git.receive_some(100_000)
                nursery.cancel_scope.cancel()
        await until(lambda: source.open_now == 0, 10)
        assert await asker.request(giver.peer_id, b"still there?") == b"still there?"
        assert giver.statistics().get("git_served", 0) == 0


async def test_a_git_that_pauses_for_long_does_not_lose_its_stream() -> None:
    """The library gives a stream up whose reader pauses for five seconds."""
    giver, asker = over_libp2p(1, Talking(pour)), over_libp2p(2)
    async with joined(giver, asker), trio.open_nursery() as nursery:
        git, local = pair()
        nursery.start_soon(asker.join, giver.peer_id, [], local, PLENTY)
        first = await git.receive_some(1000)
        await trio.sleep(6)  # what is tested: longer than the library waits
        assert bytes(first) + await everything(git) == CONTENT
        await git.aclose()


async def test_who_is_not_let_in_is_given_nothing() -> None:
    source = Talking(echo)
    guarded = over_libp2p(1, source, admits=lambda peer: peer != identity(2).peer_id)
    eve = over_libp2p(2, source)
    async with joined(guarded, eve):
        with pytest.raises(PeerUnreachable):
            await eve.join(guarded.peer_id, [], pair()[1], PLENTY)
        with pytest.raises(PeerUnreachable, match="not asked"):
            await guarded.join(eve.peer_id, [], pair()[1], PLENTY)
    assert source.asked == []


async def test_processes_are_bounded_for_each_peer() -> None:
    source = Talking(say_nothing)
    giver, asker = over_libp2p(1, source), over_libp2p(2)
    async with joined(giver, asker), trio.open_nursery() as nursery:
        for _ in range(libp2p_git.MAX_SERVED_TO_ONE):
            nursery.start_soon(asker.join, giver.peer_id, [], pair()[1], PLENTY)
        await until(lambda: source.open_now == libp2p_git.MAX_SERVED_TO_ONE, 10)
        with pytest.raises(PeerUnreachable, match="busy"):
            await asker.join(giver.peer_id, [], pair()[1], PLENTY)
        nursery.cancel_scope.cancel()
        await until(lambda: source.open_now == 0, 10)


async def test_who_asks_without_end_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p_git, "ASKER_RATE", libp2p_git.Rate(per_second=0.001, burst=3))
    giver, asker = over_libp2p(1, Talking(echo)), over_libp2p(2)
    async with joined(giver, asker):
        for _ in range(3):
            with pytest.raises(BlobAbsent):
                await asker.join(giver.peer_id, ["nodes/x/other"], pair()[1], PLENTY)
        with pytest.raises(PeerUnreachable, match="busy"):
            await asker.join(giver.peer_id, ["nodes/x/other"], pair()[1], PLENTY)


# --- a pipe ---


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (b"\x07\0\0\0\0", "which is none"),
        (bytes([Frame.BYTES]) + (PIECE_BYTES + 1).to_bytes(4, "big"), "which is none"),
        (bytes([Frame.ROOM]) + (5).to_bytes(4, "big"), "which is none"),
        (bytes([Frame.BYTES]) + bytes(4), "no room"),
        (bytes([Frame.ROOM]) + (4).to_bytes(4, "big") + bytes(4), "what was not sent"),
        (bytes([Frame.ROOM]) + (4).to_bytes(4, "big") + (1).to_bytes(4, "big"), "what was not sent"),
        (bytes([Frame.BYTES]) + (10).to_bytes(4, "big") + b"half", "cut"),
        (b"", "cut"),
    ],
)
async def test_frames_that_are_none(frames: bytes, why: str) -> None:
    here, there = memory_wires()
    await there.write(frames or b"\x02\0\0")
    await there.close()
    git, local = pair()
    with pytest.raises(PeerUnreachable, match=why):
        await Pipe(here, local, PLENTY).run()
    await git.aclose()


async def test_who_sends_what_there_is_no_room_for_is_cut(autojump_clock) -> None:
    here, there = memory_wires()
    git, local = trio.testing.memory_stream_pair()  # whose reader never reads

    async def flood() -> None:
        piece = bytes([Frame.BYTES]) + PIECE_BYTES.to_bytes(4, "big") + bytes(PIECE_BYTES)
        while True:
            await there.write(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        local.send_stream.send_all_hook = trio.sleep_forever
        with pytest.raises(PeerUnreachable, match="no room"):
            await Pipe(here, local, PLENTY).run()
        nursery.cancel_scope.cancel()
    assert git


async def test_a_silent_peer_is_given_up(autojump_clock) -> None:
    here, _there = memory_wires()
    _git, local = trio.testing.memory_stream_pair()
    with pytest.raises(PeerUnreachable, match="silent for 120 s"):
        await Pipe(here, local, PLENTY).run()


async def test_a_peer_that_gives_next_to_nothing_is_given_up(autojump_clock) -> None:
    here, there = memory_wires()
    git, local = trio.testing.memory_stream_pair()

    async def drip() -> None:
        while True:
            await there.write(bytes([Frame.BYTES]) + (1000).to_bytes(4, "big") + bytes(1000))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        nursery.start_soon(everything, git)
        with pytest.raises(TooSlow, match="too slow"):
            await Pipe(here, local, Limits(1 << 30, least_bytes_per_second=16e3)).run()
        nursery.cancel_scope.cancel()


async def test_a_stalled_peer_does_not_keep_its_place(autojump_clock) -> None:
    """Its connection takes nothing any more, not even that the stream is over."""

    class Stalled:
        async def read(self, n: int) -> bytes:
            return await trio.sleep_forever()

        async def write(self, piece: bytes) -> None:
            await trio.sleep_forever()

        async def close(self) -> None:
            await trio.sleep_forever()

        reset = close

    git, local = trio.testing.memory_stream_pair()
    await git.send_all(b"x")
    wire = libp2p_git._Wire(Stalled())  # type: ignore[arg-type]
    with trio.fail_after(1000), pytest.raises(PeerUnreachable, match="took nothing"):
        await Pipe(wire, local, PLENTY, outlives=True).run()


async def test_a_pace_with_credit_is_ahead_at_first_and_even_for_all_who_share_it_later(autojump_clock) -> None:
    pace, began = Pace(1000, credit_bytes=50_000), trio.current_time()

    async def give(pieces: int) -> None:
        for _ in range(pieces):
            await pace.spend(500)

    await give(100)
    assert trio.current_time() == began
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give, 50)
        nursery.start_soon(give, 50)
    assert 49 <= trio.current_time() - began <= 51
    await trio.sleep(1000)  # saves no more than the credit
    rested = trio.current_time()
    await give(110)
    assert 4.5 <= trio.current_time() - rested <= 5.5


async def test_the_pace_is_kept(autojump_clock) -> None:
    """Beyond the room that is there at once, a megabyte takes a second."""
    here, there = memory_wires()
    one, local = trio.testing.memory_stream_pair()
    other, served = trio.testing.memory_stream_pair()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pipe(here, local, Limits(1 << 30, bytes_per_second_in=1 << 20)).run)
        nursery.start_soon(Pipe(there, served, PLENTY, outlives=True).run)
        await one.send_eof()

        async def give() -> None:
            await other.send_all(CONTENT)
            await other.send_eof()

        nursery.start_soon(give)
        assert await everything(one) == CONTENT
    assert (len(CONTENT) - ROOM_BYTES) >> 20 <= trio.current_time() - began <= 2 * len(CONTENT) >> 20


# --- messages ---


def test_requests_come_back() -> None:
    for names in ((), (NAME,), (NAME, "nodes/b/c")):
        assert decode_request(encode_request(names)) == names


@pytest.mark.parametrize(
    "names", [["../x"], ["-u"], ["nodes/a/b/c/d"], ["nodes//x"], [5], ["a" * 200], [NAME] * 65, ["nodes/a\n/b"]]
)
def test_requests_that_are_refused(names: list[str]) -> None:
    with pytest.raises(Refused):
        decode_request(encode_request(names))


def test_a_changed_head_is_not_signed() -> None:
    frame = seal_head(identity(1), "ab" * 32, NAME, bytes(20), 1, 5).frame
    assert open_head(frame).seq == 1
    for place in range(len(frame)):
        with pytest.raises(Refused):
            open_head(frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :])
