"""A network in one process, for tests and simulations: loss, latency and partitions to order, else like the real bus.

Frames flood along links as GossipSub's do: each bus passes on what its validator accepts, once. Under trio's MockClock
hours pass in seconds.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import trio

from gossip.addresses import Address, AddressError, parse_dialable
from gossip.blobs import BlobRequest, BlobSource, OfferedBlobs
from gossip.branches import BranchSource, NoBranches
from gossip.bus import (
    BlobAbsent,
    BlobTooLarge,
    BusFailed,
    Deliver,
    Keep,
    PeerDown,
    PeerUnreachable,
    PeerUp,
    Serve,
    innermost,
)
from gossip.pipe import Limits, Pipe
from gossip.refusal import Answer, Refused
from gossip.traffic import Kind, Traffic

_CHANGES_KEPT = 256
_PIECE_BYTES = 64 * 1024  # of a blob, at one time


@dataclass
class MemoryNetwork:
    rng: Random
    latency_seconds: float = 0.005
    loss: float = 0.0  # share of broadcast frames that a link loses
    _running: dict[str, "MemoryBus"] = field(default_factory=dict[str, "MemoryBus"], init=False)
    _links: set[frozenset[str]] = field(default_factory=set[frozenset[str]], init=False)
    _group_of: dict[str, int] = field(default_factory=dict[str, int], init=False)
    _ports: dict[str, int] = field(default_factory=dict[str, int], init=False)

    def bus(
        self,
        peer_id: str,
        topic: str,
        deliver: Deliver,
        serve: Serve,
        blobs: BlobSource | None = None,
        branches: BranchSource | None = None,
    ) -> "MemoryBus":
        self._ports.setdefault(peer_id, 10_000 + len(self._ports))
        made = MemoryBus(self, peer_id, topic, deliver, serve, blobs or OfferedBlobs())
        made.branches = branches or NoBranches()
        return made

    def address(self, peer_id: str) -> str:
        return str(Address("ip4", "127.0.0.1", self._ports.setdefault(peer_id, 10_000 + len(self._ports)), peer_id))

    def partition(self, *groups: Iterable[str]) -> None:
        """Peers of different groups lose each other; a peer in no group is in one of its own with the other unnamed."""
        self._group_of = {peer: number for number, group in enumerate(groups, start=1) for peer in group}
        for link in sorted(self._links, key=sorted):
            one, other = sorted(link)
            if not self.reachable(one, other):
                self.unlink(one, other)

    def heal(self) -> None:
        self._group_of = {}

    def break_bus(self, peer_id: str) -> None:
        """The bus of a peer ends with BusFailed, as when a library raises."""
        self._running[peer_id].broken.set()

    def reachable(self, one: str, other: str) -> bool:
        return self._group_of.get(one, 0) == self._group_of.get(other, 0) and other in self._running

    def started(self, bus: "MemoryBus") -> None:
        self._running[bus.peer_id] = bus

    def stopped(self, bus: "MemoryBus") -> None:
        for other in self.linked(bus.peer_id):
            self.unlink(bus.peer_id, other)
        self._running.pop(bus.peer_id, None)

    def link(self, one: str, other: str) -> None:
        if frozenset((one, other)) in self._links:
            return
        self._links.add(frozenset((one, other)))
        if self._running[one].topic == self._running[other].topic:
            self._running[one].tell(PeerUp(other))
            self._running[other].tell(PeerUp(one))

    def unlink(self, one: str, other: str) -> None:
        self._links.discard(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            if here in self._running:
                self._running[here].tell(PeerDown(there))

    def linked(self, peer: str) -> tuple[str, ...]:
        return tuple(sorted(other for link in self._links if peer in link for other in link if other != peer))

    def running(self, peer: str) -> "MemoryBus | None":
        return self._running.get(peer)


class MemoryBus:
    def __init__(
        self, network: MemoryNetwork, peer_id: str, topic: str, deliver: Deliver, serve: Serve, blobs: BlobSource
    ) -> None:
        self._network = network
        self.peer_id = peer_id
        self.topic = topic
        self._deliver = deliver
        self.serve = serve
        self.blobs = blobs
        self.branches: BranchSource = NoBranches()
        self._send_change, self.changes = trio.open_memory_channel[PeerUp | PeerDown](_CHANGES_KEPT)
        self._seen: set[bytes] = set()
        self._counts: Counter[str] = Counter()
        self.traffic = Traffic()
        self._nursery: trio.Nursery | None = None
        self.broken = trio.Event()
        self._deliver_claim: Deliver | None = None

    def hear_claims(self, deliver: Deliver) -> None:
        self._deliver_claim = deliver

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._network.started(self)
                task_status.started()
                await self.broken.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._network.stopped(self)
        raise BusFailed("memory bus was broken by a test")

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise BusFailed("memory bus is not running")
        self._counts["published"] += 1
        self._seen.add(hashlib.sha256(frame).digest())
        self._pass_on(frame, self.peer_id)

    async def publish_claim(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise BusFailed("memory bus is not running")
        if self._deliver_claim is not None:
            self._seen.add(hashlib.sha256(frame).digest())
            self._pass_on(frame, self.peer_id, claim=True)

    async def request(self, peer: str, message: bytes) -> bytes:
        await self._travel()
        server = self._network.running(peer)
        if server is None or peer not in self._network.linked(self.peer_id):
            raise PeerUnreachable(f"peer {peer} is not connected")
        try:
            self.traffic.sent(peer, Kind.CATCHUP, len(message), 1)
            server.traffic.received(self.peer_id, Kind.CATCHUP, len(message), 1)
            reply = server.serve(self.peer_id, message)
            server.traffic.sent(self.peer_id, Kind.CATCHUP, len(reply), 1)
        except Refused as refused:
            raise PeerUnreachable(f"peer {peer} broke off: {refused}") from None
        await self._travel()
        if peer not in self._network.linked(self.peer_id):
            raise PeerUnreachable(f"peer {peer} went away")
        self.traffic.received(peer, Kind.CATCHUP, len(reply), 1)
        return reply

    async def fetch(self, peer: str, blob: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        await self._travel()
        whole = self._blob_of(peer, blob)
        if len(whole) > limit_bytes or len(whole) < blob.offset:
            raise BlobTooLarge(peer, len(whole), limit_bytes)
        for begin in range(blob.offset, len(whole), _PIECE_BYTES):
            await self._travel()
            if peer not in self.connected():
                raise PeerUnreachable(f"peer {peer} went away")
            piece = whole[begin : begin + _PIECE_BYTES]
            self._count_blob(peer, len(piece), last=begin + len(piece) == len(whole))
            await keep(piece)
        return len(whole)

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        await self._travel()
        server = self._network.running(peer)
        if server is None or peer not in self.connected():
            raise PeerUnreachable(f"peer {peer} is not connected")
        opened = await server.branches.open(names)
        if opened is None:
            raise BlobAbsent(peer)
        here, there = memory_wires()
        pipe = Pipe(here, local, limits, lambda came, went: self._count_git(peer, came, went))
        try:
            async with opened as served, trio.open_nursery() as nursery:
                pipe_there = Pipe(there, served, Limits(bytes_in=limits.bytes_in), outlives=True)
                nursery.start_soon(pipe_there.run)
                await pipe.run()
        except BaseExceptionGroup as group:
            raise innermost(group) from None
        return pipe.bytes_in

    def _count_git(self, peer: str, bytes_in: int, bytes_out: int) -> None:
        self.traffic.received(peer, Kind.GIT, bytes_in)
        self.traffic.sent(peer, Kind.GIT, bytes_out)

    def _count_blob(self, peer: str, size_bytes: int, *, last: bool) -> None:
        self.traffic.received(peer, Kind.BLOB, size_bytes, int(last))
        if (server := self._network.running(peer)) is not None:
            server.traffic.sent(self.peer_id, Kind.BLOB, size_bytes, int(last))

    def _blob_of(self, peer: str, blob: BlobRequest) -> bytes:
        server = self._network.running(peer)
        if server is None or peer not in self.connected():
            raise PeerUnreachable(f"peer {peer} is not connected")
        found = server.blobs.find(blob.sha256)
        if found is None:
            raise BlobAbsent(peer)
        return found if isinstance(found, bytes) else found.read_bytes()

    async def dial(self, address: str) -> None:
        await self._travel()
        try:
            target = parse_dialable(address)
        except AddressError as error:
            raise PeerUnreachable(str(error)) from None
        if not self._network.reachable(self.peer_id, target.peer) or address != self._network.address(target.peer):
            raise PeerUnreachable(f"no connection to {address}")
        if target.peer != self.peer_id:
            self._network.link(self.peer_id, target.peer)

    def drop(self, peer: str) -> None:
        if peer in self.connected():
            self._counts["dropped"] += 1
            self._network.unlink(self.peer_id, peer)

    def peers(self) -> tuple[str, ...]:
        others = ((peer, self._network.running(peer)) for peer in self.connected())
        return tuple(peer for peer, bus in others if bus is not None and bus.topic == self.topic)

    def connected(self) -> tuple[str, ...]:
        return self._network.linked(self.peer_id)

    def peer_addresses(self, peer: str) -> tuple[str, ...]:
        return (self._network.address(peer),) if peer in self.connected() else ()

    def addresses(self) -> tuple[str, ...]:
        return (self._network.address(self.peer_id),)

    def statistics(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def tell(self, change: PeerUp | PeerDown) -> None:
        try:
            self._send_change.send_nowait(change)
        except trio.WouldBlock:
            self.changes.receive_nowait()
            self._send_change.send_nowait(change)

    def _pass_on(self, frame: bytes, came_from: str, *, claim: bool = False) -> None:
        assert self._nursery is not None
        for peer in self.peers():
            if peer != came_from and self._network.rng.random() >= self._network.loss:
                self.traffic.sent(peer, Kind.BROADCAST, len(frame), 1)
                self._nursery.start_soon(self._carry_claim if claim else self._carry, peer, frame)

    async def _carry(self, peer: str, frame: bytes) -> None:
        await self._travel()
        receiver = self._network.running(peer)
        if receiver is not None and peer in self.connected():
            receiver.arrive(self.peer_id, frame)

    async def _carry_claim(self, peer: str, frame: bytes) -> None:
        await self._travel()
        receiver = self._network.running(peer)
        if receiver is not None and peer in self.connected():
            receiver.arrive_claim(self.peer_id, frame)

    def arrive_claim(self, forwarder: str, frame: bytes) -> None:
        digest = hashlib.sha256(frame).digest()
        if self._deliver_claim is None or digest in self._seen:
            return
        self.traffic.received(forwarder, Kind.BROADCAST, len(frame), 1)
        self._seen.add(digest)
        if self._nursery is not None and self._deliver_claim(forwarder, frame) is Answer.ACCEPT:
            self._counts["claims_delivered"] += 1
            self._pass_on(frame, forwarder, claim=True)

    def arrive(self, forwarder: str, frame: bytes) -> None:
        self.traffic.received(forwarder, Kind.BROADCAST, len(frame), 1)
        digest = hashlib.sha256(frame).digest()
        if digest in self._seen:
            return
        self._seen.add(digest)
        if self._nursery is not None and self._deliver(forwarder, frame) is Answer.ACCEPT:
            self._counts["delivered"] += 1
            self._pass_on(frame, forwarder)

    async def _travel(self) -> None:
        await trio.sleep(self._network.latency_seconds * (0.5 + self._network.rng.random()))


class MemoryWire:
    """One end of a stream in memory."""

    def __init__(self, give: trio.MemorySendChannel[bytes], take: trio.MemoryReceiveChannel[bytes]) -> None:
        self._give, self._take = give, take
        self._left = b""

    async def write(self, data: bytes) -> None:
        await self._give.send(data)

    async def read(self, n: int) -> bytes:
        try:
            piece = self._left or await self._take.receive()
        except trio.EndOfChannel:
            return b""
        self._left = piece[n:]
        return piece[:n]

    async def close(self) -> None:
        await self._give.aclose()

    async def reset(self) -> None:
        await self._give.aclose()
        await self._take.aclose()


def memory_wires() -> tuple[MemoryWire, MemoryWire]:
    to_there, from_here = trio.open_memory_channel[bytes](64)
    to_here, from_there = trio.open_memory_channel[bytes](64)
    return MemoryWire(to_there, from_there), MemoryWire(to_here, from_here)
