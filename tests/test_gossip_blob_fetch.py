"""Getting one blob from several peers: resumed, verified, liars left out. Over a network in memory."""

import hashlib
import resource
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio

from gossip import blob_fetch
from gossip.blob_fetch import BlobFetch, FetchError, NobodyGives, Wanted
from gossip.blobs import BlobRequest, OfferedBlobs
from gossip.bus import Keep, PeerUnreachable
from gossip.memory_bus import MemoryBus, MemoryNetwork
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, identity

CONTENT = Random(5).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = bytes(len(CONTENT))


class Told:
    """What the watcher heard."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.liars: list[str] = []
        self.why: list[str] = []
        self.nobody: list[tuple[str, ...]] = []

    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        assert total_bytes in (None, len(CONTENT))
        self.done.append(done_bytes)

    def refused(self, peer: str, why: str) -> None:
        self.liars.append(peer)
        self.why.append(why)

    def nobody_has_it(self, peers: tuple[str, ...]) -> None:
        self.nobody.append(peers)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_fetch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(blob_fetch, "_ABSENT_SECONDS", 0.02)
    monkeypatch.setattr(blob_fetch, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted(SHA256, len(CONTENT), len(CONTENT), tmp_path / "home" / "train.bin")


@asynccontextmanager
async def swarm(*contents: bytes | None):
    """A bus for us, linked with one peer for each content; None has no such blob."""
    network = MemoryNetwork(Random(3), latency_seconds=0.0)

    def make(number: int, content: bytes | None) -> MemoryBus:
        blobs = OfferedBlobs({} if content is None else {SHA256: content})
        return network.bus(identity(number).peer_id, TOPIC, lambda *_: Answer.IGNORE, lambda *_: b"", blobs)

    buses = [make(number, content) for number, content in enumerate((None, *contents), 1)]
    async with trio.open_nursery() as nursery:
        for bus in buses:
            await nursery.start(bus.run)
        for bus in buses[1:]:
            await buses[0].dial(bus.addresses()[0])
        with trio.fail_after(20):
            yield buses
        nursery.cancel_scope.cancel()


def cut(bus: MemoryBus, after: Callable[[BlobRequest], bool], at: int) -> None:
    """`bus` loses its peer `at` bytes into a transfer, once, when `after` says so."""
    whole = bus.fetch

    async def fetch(peer: str, blob: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        if not after(blob):
            return await whole(peer, blob, limit_bytes, keep)
        content = bus._blob_of(peer, blob)
        await keep(content[blob.offset : at])
        raise PeerUnreachable("gone")

    bus.fetch = fetch


def only_once() -> Callable[[BlobRequest], bool]:
    left = [True]
    return lambda _: bool(left and left.pop())


async def test_a_blob_arrives_whole_and_progress_is_told(wanted: Wanted) -> None:
    told = Told()
    async with swarm(CONTENT) as (me, _):
        await BlobFetch(wanted, told).run(me)
    assert wanted.target.read_bytes() == CONTENT
    assert not wanted.part.exists()
    assert told.done == sorted(told.done)
    assert told.done[0] == 0
    assert told.done[-1] == len(CONTENT)
    assert (told.liars, told.nobody) == ([], [])


async def test_what_is_there_already_needs_nobody(wanted: Wanted) -> None:
    wanted.target.parent.mkdir()
    wanted.target.write_bytes(CONTENT)
    async with swarm() as (me,):
        await BlobFetch(wanted, Told()).run(me)


async def test_a_blob_of_unknown_size_is_taken_up_to_the_limit(tmp_path: Path) -> None:
    unknown = Wanted(SHA256, None, len(CONTENT), tmp_path / "brief")
    async with swarm(CONTENT) as (me, _):
        await BlobFetch(unknown, Told()).run(me)
    assert unknown.target.read_bytes() == CONTENT


async def test_a_part_of_an_earlier_run_is_gone_on_with(wanted: Wanted) -> None:
    wanted.part.parent.mkdir()
    wanted.part.write_bytes(CONTENT[:200_000])
    told = Told()
    async with swarm(CONTENT) as (me, _):
        await BlobFetch(wanted, told).run(me)
    assert wanted.target.read_bytes() == CONTENT
    assert told.done[0] == 200_000


async def test_another_peer_goes_on_where_one_broke_off(wanted: Wanted) -> None:
    told = Told()
    async with swarm(CONTENT, CONTENT) as (me, *_):
        cut(me, only_once(), 130_000)
        await BlobFetch(wanted, told).run(me)
    assert wanted.target.read_bytes() == CONTENT
    assert told.done == sorted(told.done), "nothing was fetched twice"
    assert told.liars == []


async def test_who_gives_wrong_bytes_is_not_asked_again_and_the_next_one_is(wanted: Wanted) -> None:
    told = Told()
    async with swarm(WRONG, CONTENT) as (me, liar, _):
        first = min(me.connected())
        assert first == liar.peer_id, "the order of peer ids, or this tests nothing"
        await BlobFetch(wanted, told).run(me)
    assert wanted.target.read_bytes() == CONTENT
    assert told.liars == [liar.peer_id]
    assert "another hash" in told.why[0]


async def test_a_mixture_that_is_wrong_blames_nobody_until_one_gave_all_of_it(wanted: Wanted) -> None:
    told = Told()
    async with swarm(WRONG, CONTENT) as (me, liar, _):
        cut(me, only_once(), 130_000)
        await BlobFetch(wanted, told).run(me)
    assert wanted.target.read_bytes() == CONTENT
    assert set(told.liars) <= {liar.peer_id}


async def test_a_wrong_part_of_an_earlier_run_is_thrown_away(wanted: Wanted) -> None:
    for part in (WRONG[:1000], WRONG, WRONG + b"and more"):
        wanted.part.parent.mkdir(exist_ok=True)
        wanted.part.write_bytes(part)
        told = Told()
        async with swarm(CONTENT) as (me, _):
            await BlobFetch(wanted, told).run(me)
        assert wanted.target.read_bytes() == CONTENT
        assert told.liars == []
        wanted.target.unlink()


@pytest.mark.parametrize("wrong", [CONTENT + b"x", CONTENT[:-1], b""], ids=["longer", "shorter", "empty"])
async def test_who_announces_another_size_is_not_asked_again(wanted: Wanted, wrong: bytes) -> None:
    told = Told()
    async with swarm(wrong, CONTENT) as (me, liar, _):
        await BlobFetch(wanted, told).run(me)
    assert told.liars == [liar.peer_id]
    assert wanted.target.read_bytes() == CONTENT


async def test_an_empty_blob_of_unknown_size_is_a_lie_like_any_other(tmp_path: Path) -> None:
    told = Told()
    async with swarm(b"", CONTENT) as (me, liar, _):
        await BlobFetch(Wanted(SHA256, None, len(CONTENT), tmp_path / "brief"), told).run(me)
    assert told.liars == [liar.peer_id]


async def test_peers_without_it_are_said_once_and_asked_again(wanted: Wanted) -> None:
    told = Told()
    async with swarm(None) as (me, other), trio.open_nursery() as nursery:
        nursery.start_soon(partial(BlobFetch(wanted, told).run, me))
        await trio.sleep(0.2)
        assert told.nobody == [(other.peer_id,)]
        other.blobs = OfferedBlobs({SHA256: CONTENT})
    assert wanted.target.read_bytes() == CONTENT


async def test_patience_ends_when_nobody_gives_anything(wanted: Wanted) -> None:
    async with swarm(None) as (me, _):
        with pytest.raises(NobodyGives):
            await BlobFetch(wanted, Told(), patience_seconds=0.05).run(me)


async def test_too_little_room_is_said_before_anything_is_fetched(wanted: Wanted) -> None:
    told = Told()
    async with swarm(CONTENT) as (me, _):
        with pytest.raises(FetchError, match="not enough room on the disk of"):
            await BlobFetch(wanted, told, free_bytes=lambda _: 1000).run(me)
    assert told.done == []


async def test_a_disk_that_fills_up_is_one_sentence_and_the_part_is_kept(wanted: Wanted) -> None:
    async with swarm(CONTENT) as (me, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may become longer: EFBIG
        try:
            with pytest.raises(FetchError, match="no room left on the disk of"):
                await BlobFetch(wanted, Told()).run(me)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert wanted.part.read_bytes() == CONTENT[:100_000]
        await BlobFetch(wanted, Told()).run(me)
    assert wanted.target.read_bytes() == CONTENT
