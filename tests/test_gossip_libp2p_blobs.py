"""Blobs over a bus: what both buses promise, and what strangers can do to the real one."""

import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from gossip import blob_budget, libp2p_blobs
from gossip.blobs import HEAD_BYTES, PROTOCOL, BlobRequest, BlobSource, BlobStatus, OfferedBlobs, encode_request
from gossip.bus import BlobAbsent, BlobTooLarge, Bus, PeerIncompatible, PeerUnreachable
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_host import build_host, swarm_of
from gossip.libp2p_tcp import BoundTcp, bind
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, identity, until

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
CONTENT = Random(9).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SMALL = b"a small one"
SMALL_SHA256 = hashlib.sha256(SMALL).hexdigest()
MakeBus = Callable[[int, BlobSource], Bus]


def over_libp2p(number: int, blobs: BlobSource) -> Libp2pBus:
    return Libp2pBus(
        identity(number), TOPIC, [LOOPBACK], lambda *_: Answer.IGNORE, lambda *_: b"", wall_clock=time.time, blobs=blobs
    )


@pytest.fixture(params=["memory", "libp2p"])
def make_bus(request: pytest.FixtureRequest) -> MakeBus:
    if request.param == "libp2p":
        return over_libp2p
    network = MemoryNetwork(Random(3), latency_seconds=0.0)
    return lambda number, blobs: network.bus(
        identity(number).peer_id, TOPIC, lambda *_: Answer.IGNORE, lambda *_: b"", blobs
    )


@asynccontextmanager
async def pair(make: MakeBus, offered: BlobSource):
    """One who asks, and one who offers."""
    asker, giver = make(1, OfferedBlobs()), make(2, offered)
    async with trio.open_nursery() as nursery:
        await nursery.start(asker.run)
        await nursery.start(giver.run)
        await asker.dial(giver.addresses()[0])
        await until(lambda: giver.peer_id in asker.connected(), seconds=5)
        with trio.fail_after(30):
            yield asker, giver
        nursery.cancel_scope.cancel()


class Kept:
    def __init__(self) -> None:
        self.content = b""

    async def __call__(self, piece: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.content += piece


@pytest.mark.parametrize("offset", [0, 1_234_567, len(CONTENT)])
async def test_a_file_is_given_from_an_offset_on(make_bus: MakeBus, tmp_path: Path, offset: int) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    kept = Kept()
    async with pair(make_bus, OfferedBlobs({SHA256: tmp_path / "blob"})) as (asker, giver):
        size = await asker.fetch(giver.peer_id, BlobRequest(SHA256, offset), len(CONTENT), kept)
    assert size == len(CONTENT)
    assert kept.content == CONTENT[offset:]


async def test_what_is_not_offered_is_absent_and_the_next_request_works(make_bus: MakeBus) -> None:
    kept = Kept()
    async with pair(make_bus, OfferedBlobs({SHA256: CONTENT})) as (asker, giver):
        with pytest.raises(BlobAbsent):
            await asker.fetch(giver.peer_id, BlobRequest("ab" * 32), 10, kept)
        with pytest.raises(BlobTooLarge):
            await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT) - 1, kept)
        with pytest.raises(BlobTooLarge):  # it is shorter than what the asker has
            await asker.fetch(giver.peer_id, BlobRequest(SHA256, len(CONTENT) + 1), 2 * len(CONTENT), kept)
        assert kept.content == b""
        await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), kept)
    assert kept.content == CONTENT


async def test_who_is_not_connected_is_unreachable(make_bus: MakeBus) -> None:
    async with pair(make_bus, OfferedBlobs()) as (asker, _):
        with pytest.raises(PeerUnreachable):
            await asker.fetch(identity(3).peer_id, BlobRequest(SHA256), 10, Kept())


async def test_what_keep_raises_comes_out_and_ends_the_fetching(make_bus: MakeBus) -> None:
    async def full(_: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(28, "No space left on device")

    async with pair(make_bus, OfferedBlobs({SHA256: CONTENT})) as (asker, giver):
        with pytest.raises(OSError, match="No space left"):
            await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), full)
        await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), Kept())


async def test_a_slow_disk_loses_nothing() -> None:
    """Each piece takes a while to keep, and the stream is read on meanwhile."""
    kept = Kept()

    async def slowly(piece: bytes) -> None:
        await trio.sleep(0.05)
        await kept(piece)

    async with pair(over_libp2p, OfferedBlobs({SHA256: CONTENT})) as (asker, giver):
        await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), slowly)
    assert kept.content == CONTENT


async def test_a_file_that_is_gone_is_unreachable_and_ends_nothing(tmp_path: Path) -> None:
    async with pair(over_libp2p, OfferedBlobs({SHA256: tmp_path / "blob"})) as (asker, giver):
        with pytest.raises(PeerUnreachable):
            await asker.fetch(giver.peer_id, BlobRequest(SHA256), 10, Kept())
        (tmp_path / "blob").write_bytes(CONTENT)
        await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), Kept())


@asynccontextmanager
async def stranger(target: str, serve: Callable[[INetStream], Awaitable[None]] | None = None):
    """A libp2p host connected to `target`; it speaks the blob protocol only as `serve` does."""
    bound = await bind([LOOPBACK])
    tcp = BoundTcp(bound)
    async with trio.open_nursery() as nursery:
        tcp.nursery = nursery
        host = build_host(Identity(os.urandom(32)).seed, tcp, list)
        if serve is not None:
            host.set_stream_handler(TProtocol(PROTOCOL), serve)
        async with host.run(listen_addrs=[Multiaddr(address) for address in bound]):
            await swarm_of(host).dial_addr(Multiaddr(target), ID.from_base58(target.rsplit("/", 1)[1]))
            yield host
        nursery.cancel_scope.cancel()
    tcp.close_sockets()


@asynccontextmanager
async def giver_and_stranger(serve: Callable[[INetStream], Awaitable[None]] | None = None):
    bus = over_libp2p(1, OfferedBlobs({SHA256: CONTENT}))
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        async with stranger(bus.addresses()[0], serve) as host:
            await until(bus.connected, seconds=5)
            with trio.fail_after(30):
                yield bus, host
        nursery.cancel_scope.cancel()


async def ask(host: IHost, bus: Libp2pBus, message: bytes) -> INetStream:
    stream = await host.new_stream(ID.from_base58(bus.peer_id), [TProtocol(PROTOCOL)])
    await stream.write(message)
    return stream


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


async def head_of(stream: INetStream) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES:
        piece = await stream.read(HEAD_BYTES - len(head))
        assert piece
        head += piece
    return head


@pytest.mark.parametrize(
    "message", [framed(b"\xc1garbage"), framed(b""), (1 << 31).to_bytes(4, "big"), framed(bytes(300))]
)
async def test_a_request_that_is_none_ends_in_a_reset_and_others_are_served(message: bytes) -> None:
    async with giver_and_stranger() as (bus, host):
        stream = await ask(host, bus, message)
        with pytest.raises(Exception, match=r".*"):  # the library has several classes for a reset
            assert await stream.read(1)
        stream = await ask(host, bus, framed(encode_request(BlobRequest(SHA256))))
        assert await head_of(stream) == bytes([BlobStatus.HERE]) + len(CONTENT).to_bytes(8, "big")


async def test_one_peer_gets_two_streams_at_a_time_and_half_open_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p_blobs, "REQUEST_SECONDS", 0.5)
    request = framed(encode_request(BlobRequest(SHA256)))
    async with giver_and_stranger() as (bus, host):
        for _ in range(libp2p_blobs.MAX_SERVED_TO_ONE):
            await ask(host, bus, b"\0\0")  # half a length, and never the rest
        await trio.sleep(0.1)
        assert (await head_of(await ask(host, bus, request)))[0] == BlobStatus.BUSY
        await until(lambda: bus.statistics().get("survived_stream") == libp2p_blobs.MAX_SERVED_TO_ONE, seconds=5)
        assert (await head_of(await ask(host, bus, request)))[0] == BlobStatus.HERE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x09" + bytes(8),
        b"\x00" + b"\xff" * 8,
        b"\x00" + (5).to_bytes(8, "big") + b"abc",  # ends before what it announced
    ],
)
async def test_an_answer_that_is_none_is_unreachable(answer: bytes) -> None:
    async def serve(stream: INetStream) -> None:
        await stream.read(4)
        await stream.write(answer)
        await stream.close()

    async with giver_and_stranger(serve) as (bus, host), trio.open_nursery():
        with pytest.raises(PeerUnreachable):
            await bus.fetch(host.get_id().to_base58(), BlobRequest(SHA256), 10, Kept())


async def test_a_giver_that_falls_silent_is_unreachable_and_what_came_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p_blobs, "SILENCE_SECONDS", 0.3)

    async def serve(stream: INetStream) -> None:
        await stream.write(b"\x00" + (10).to_bytes(8, "big") + b"abc")
        await trio.sleep_forever()

    kept = Kept()
    async with giver_and_stranger(serve) as (bus, host):
        with pytest.raises(PeerUnreachable, match="broke off"):
            await bus.fetch(host.get_id().to_base58(), BlobRequest(SHA256), 10, kept)
    assert kept.content == b"abc"


async def test_more_bytes_than_announced_are_not_read() -> None:
    async def serve(stream: INetStream) -> None:
        await stream.write(b"\x00" + (3).to_bytes(8, "big") + b"abcdef")
        await stream.close()

    kept = Kept()
    async with giver_and_stranger(serve) as (bus, host):
        assert await bus.fetch(host.get_id().to_base58(), BlobRequest(SHA256), 10, kept) == 3
    assert kept.content == b"abc"


async def test_a_peer_that_speaks_no_blobs_is_incompatible() -> None:
    async with giver_and_stranger() as (bus, host):
        assert bus._host is not None
        book = bus._host.get_peerstore()
        await until(lambda: host.get_id() in book.peer_ids() and book.get_protocols(host.get_id()), seconds=5)
        with pytest.raises(PeerIncompatible):
            await bus.fetch(host.get_id().to_base58(), BlobRequest(SHA256), 10, Kept())


async def test_the_same_large_blob_again_and_again_is_refused_after_a_few_times_and_others_are_served() -> None:
    third = Kept()
    async with pair(over_libp2p, OfferedBlobs({SHA256: CONTENT, SMALL_SHA256: SMALL})) as (asker, giver):
        for _ in range(blob_budget.TIMES_AT_ONCE):
            await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), Kept())
        for _ in range(4):
            with pytest.raises(PeerUnreachable, match="busy"):
                await asker.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), third)
        assert third.content == b""
        await asker.fetch(giver.peer_id, BlobRequest(SMALL_SHA256), len(SMALL), third)  # another blob is another budget
        another = over_libp2p(3, OfferedBlobs())
        async with trio.open_nursery() as nursery:
            await nursery.start(another.run)
            await another.dial(giver.addresses()[0])
            await until(lambda: giver.peer_id in another.connected(), seconds=5)
            await another.fetch(giver.peer_id, BlobRequest(SHA256), len(CONTENT), Kept())
            nursery.cancel_scope.cancel()
        assert giver.statistics()["blobs_over_budget"] == 4
        assert giver.statistics()["blobs_served"] == blob_budget.TIMES_AT_ONCE + 2
    assert third.content == SMALL


async def test_requests_without_end_are_refused_and_counted() -> None:
    async with pair(over_libp2p, OfferedBlobs()) as (asker, giver):
        for _ in range(int(blob_budget.REQUEST_RATE.burst)):
            with pytest.raises(BlobAbsent):
                await asker.fetch(giver.peer_id, BlobRequest("ab" * 32), 10, Kept())
        while not giver.statistics().get("blobs_over_rate"):  # a machine that is slow gives it a few more
            with pytest.raises(PeerUnreachable):
                await asker.fetch(giver.peer_id, BlobRequest("ab" * 32), 10, Kept())
