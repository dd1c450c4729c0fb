"""A network in one process, for tests and simulations: loss, latency and partitions to order, else like the real bus.

Frames flood along links as GossipSub's do: each bus passes on what its validator accepts, once. Under trio's MockClock
hours pass in seconds. What a link needs for a frame may be rounded up to a grid, so that a simulation wakes for many
frames at once.
"""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import trio

from gossip.addresses import AddressError, parse_dialable
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
from gossip.memory_wires import memory_wires
from gossip.network_model import NetworkModel
from gossip.pipe import Limits, Pipe
from gossip.refusal import Answer, Refused
from gossip.traffic import Kind, Traffic

_CHANGES_KEPT = 256
_PIECE_BYTES = 64 * 1024  # of a blob, at one time


@dataclass
class MemoryNetwork(NetworkModel):
    _running: dict[str, "MemoryBus"] = field(default_factory=dict[str, "MemoryBus"], init=False)
    _links: dict[str, set[str]] = field(default_factory=dict[str, set[str]], init=False)
    _linked: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], init=False)
    _of_topic: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], init=False)

    def bus(
        self,
        peer_id: str,
        topic: str,
        deliver: Deliver,
        serve: Serve,
        blobs: BlobSource | None = None,
        branches: BranchSource | None = None,
    ) -> "MemoryBus":
        self.address(peer_id)  # it has one from now on
        made = MemoryBus(self, peer_id, topic, deliver, serve, blobs or OfferedBlobs())
        made.branches = branches or NoBranches()
        return made

    def partition(self, *groups: Iterable[str]) -> None:
        """Links across are gone at once."""
        super().partition(*groups)
        for one in sorted(self._links):
            for other in self.linked(one):
                if not self.together(one, other):
                    self.unlink(one, other)

    def break_bus(self, peer_id: str) -> None:
        """The bus of a peer ends with BusFailed, as when a library raises."""
        self._running[peer_id].broken.set()

    def reachable(self, one: str, other: str) -> bool:
        return self.together(one, other) and other in self._running

    def started(self, bus: "MemoryBus") -> None:
        self._running[bus.peer_id] = bus

    def stopped(self, bus: "MemoryBus") -> None:
        for other in self.linked(bus.peer_id):
            self.unlink(bus.peer_id, other)
        self._running.pop(bus.peer_id, None)

    def link(self, one: str, other: str) -> None:
        if other in self._links.get(one, ()):
            return
        for here, there in ((one, other), (other, one)):
            self._links.setdefault(here, set()).add(there)
            self._linked.pop(here, None)
            self._of_topic.pop(here, None)
        if self._running[one].topic == self._running[other].topic:
            self._running[one].tell(PeerUp(other))
            self._running[other].tell(PeerUp(one))

    def unlink(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            self._links.get(here, set[str]()).discard(there)
            self._linked.pop(here, None)
            self._of_topic.pop(here, None)
            if here in self._running:
                self._running[here].tell(PeerDown(there))

    def linked(self, peer: str) -> tuple[str, ...]:
        found = self._linked.get(peer)
        if found is None:
            found = self._linked[peer] = tuple(sorted(self._links.get(peer, ())))
        return found

    def of_topic(self, peer: str, topic: str) -> tuple[str, ...]:
        """Those linked with a peer that are of its topic. A link ends with the bus of either side."""
        found = self._of_topic.get(peer)
        if found is None:
            others = ((other, self._running.get(other)) for other in self.linked(peer))
            found = tuple(other for other, bus in others if bus is not None and bus.topic == topic)
            self._of_topic[peer] = found
        return found

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
        self.seen: set[bytes] = set()
        # A heap: due, number, to whom, frame, digest, whether it is a claim.
        self._under_way: list[tuple[float, int, str, bytes, bytes, bool]] = []
        self._sent = 0
        self._more_under_way = trio.Event()
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
                nursery.start_soon(self._carry)
                task_status.started()
                await self.broken.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._under_way.clear()
            self._network.stopped(self)
        raise BusFailed("memory bus was broken by a test")

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise BusFailed("memory bus is not running")
        self._counts["published"] += 1
        digest = hashlib.sha256(frame).digest()
        self.seen.add(digest)
        self._pass_on(frame, digest, self.peer_id)

    async def publish_claim(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._nursery is None:
            raise BusFailed("memory bus is not running")
        if self._deliver_claim is not None:
            digest = hashlib.sha256(frame).digest()
            self.seen.add(digest)
            self._pass_on(frame, digest, self.peer_id, claim=True)

    async def request(self, peer: str, message: bytes) -> bytes:
        await self._travel(peer, len(message))
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
        await self._travel(peer, len(reply))
        if peer not in self._network.linked(self.peer_id):
            raise PeerUnreachable(f"peer {peer} went away")
        self.traffic.received(peer, Kind.CATCHUP, len(reply), 1)
        return reply

    async def fetch(self, peer: str, blob: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        await self._travel(peer)
        whole = self._blob_of(peer, blob)
        if len(whole) > limit_bytes or len(whole) < blob.offset:
            raise BlobTooLarge(peer, len(whole), limit_bytes)
        for begin in range(blob.offset, len(whole), _PIECE_BYTES):
            await self._travel(peer, min(_PIECE_BYTES, len(whole) - begin))
            if peer not in self.connected():
                raise PeerUnreachable(f"peer {peer} went away")
            piece = whole[begin : begin + _PIECE_BYTES]
            self._count_blob(peer, len(piece), last=begin + len(piece) == len(whole))
            await keep(piece)
        return len(whole)

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        await self._travel(peer)
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
        try:
            target = parse_dialable(address)
        except AddressError as error:
            raise PeerUnreachable(str(error)) from None
        await self._travel(target.peer)
        if not self._network.reachable(self.peer_id, target.peer) or address != self._network.address(target.peer):
            raise PeerUnreachable(f"no connection to {address}")
        if target.peer != self.peer_id:
            self._network.link(self.peer_id, target.peer)

    def drop(self, peer: str) -> None:
        if peer in self.connected():
            self._counts["dropped"] += 1
            self._network.unlink(self.peer_id, peer)

    def peers(self) -> tuple[str, ...]:
        return self._network.of_topic(self.peer_id, self.topic)

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

    def _pass_on(self, frame: bytes, digest: bytes, came_from: str, *, claim: bool = False) -> None:
        network, me = self._network, self.peer_id
        for peer in self.peers():
            if peer == came_from or network.loses(me, peer):
                continue
            self._note_frame("out", peer, frame, claim=claim)
            receiver = network.running(peer)
            if receiver is not None and digest in receiver.seen:  # nothing but its counters will notice
                receiver.note_frame_in(me, frame, claim=claim)
                continue
            due = network.arrival(network.travel_seconds(me, peer, len(frame)))
            self._sent += 1
            heapq.heappush(self._under_way, (due, self._sent, peer, frame, digest, claim))
            if self._under_way[0][1] == self._sent:
                self._more_under_way.set()

    def note_frame_in(self, forwarder: str, frame: bytes, *, claim: bool) -> None:
        if not claim or self._deliver_claim is not None:
            self._note_frame("in", forwarder, frame, claim=claim)

    def _note_frame(self, way: Literal["in", "out"], peer: str, frame: bytes, *, claim: bool) -> None:
        (self.traffic.sent if way == "out" else self.traffic.received)(peer, Kind.BROADCAST, len(frame), 1)
        if claim:
            self._counts[f"claims_{way}"] += 1
            self._counts[f"claim_bytes_{way}"] += len(frame)

    async def _carry(self) -> None:
        """Gives frames to whom they were sent when their time has come."""
        while True:
            self._more_under_way = trio.Event()
            with trio.move_on_at(self._under_way[0][0] if self._under_way else math.inf):
                await self._more_under_way.wait()
            while self._under_way and self._under_way[0][0] <= trio.current_time():
                _, _, peer, frame, digest, claim = heapq.heappop(self._under_way)
                receiver = self._network.running(peer)
                if receiver is not None and peer in self.connected():
                    (receiver.arrive_claim if claim else receiver.arrive)(self.peer_id, frame, digest)

    def arrive_claim(self, forwarder: str, frame: bytes, digest: bytes = b"") -> None:
        if self._deliver_claim is None:
            return
        digest = digest or hashlib.sha256(frame).digest()
        self.note_frame_in(forwarder, frame, claim=True)
        if digest in self.seen:
            return
        self.seen.add(digest)
        if self._nursery is not None and self._deliver_claim(forwarder, frame) is Answer.ACCEPT:
            self._counts["claims_delivered"] += 1
            self._pass_on(frame, digest, forwarder, claim=True)

    def arrive(self, forwarder: str, frame: bytes, digest: bytes) -> None:
        self.traffic.received(forwarder, Kind.BROADCAST, len(frame), 1)
        if digest in self.seen:
            return
        self.seen.add(digest)
        if self._nursery is not None and self._deliver(forwarder, frame) is Answer.ACCEPT:
            self._counts["delivered"] += 1
            self._pass_on(frame, digest, forwarder)

    async def _travel(self, peer: str, size_bytes: int = 0) -> None:
        await trio.sleep_until(self._network.arrival(self._network.travel_seconds(self.peer_id, peer, size_bytes)))
