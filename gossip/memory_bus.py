"""A network in one process, for tests and simulations: loss, latency and partitions to order, else like the real bus.

Frames flood along links as GossipSub's do: each bus passes on what its validator accepts, once. Under trio's MockClock
hours pass in seconds. What a link needs for a frame may be rounded up to a grid, so that a simulation wakes for many
frames at once.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import outcome
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
from gossip.memory_agenda import Agenda, Waiting
from gossip.memory_links import Link, LinkedTraffic
from gossip.memory_wires import memory_wires
from gossip.network_model import NetworkModel
from gossip.pipe import Limits, Pipe
from gossip.refusal import Answer, Refused
from gossip.traffic import Kind, Traffic

_CHANGES_KEPT = 256
_PIECE_BYTES = 64 * 1024  # of a blob, at one time


@dataclass
class MemoryNetwork(NetworkModel):
    agenda: Agenda = field(default_factory=Agenda, init=False)
    _running: dict[str, "MemoryBus"] = field(default_factory=dict[str, "MemoryBus"], init=False)
    # By who sends, then by who receives; there are always both ways.
    _links: dict[str, dict[str, "Link[MemoryBus]"]] = field(
        default_factory=dict[str, dict[str, "Link[MemoryBus]"]], init=False
    )
    _linked: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], init=False)

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
        ends = self._running[one], self._running[other]
        same_topic = ends[0].topic == ends[1].topic
        for here, there in (ends, reversed(ends)):
            self._links.setdefault(here.peer_id, {})[there.peer_id] = Link(here, there, same_topic=same_topic)
            self._changed(here)
        if same_topic:
            ends[0].tell(PeerUp(other))
            ends[1].tell(PeerUp(one))

    def unlink(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            link = self._links.get(here, {}).pop(there, None)
            if link is not None:
                link.cut = True
                link.settle()
                self._changed(link.sender)
            if here in self._running:
                self._running[here].tell(PeerDown(there))

    def _changed(self, bus: "MemoryBus") -> None:
        self._linked.pop(bus.peer_id, None)
        links = self._links.get(bus.peer_id, {})
        bus.links = tuple(links[peer] for peer in sorted(links) if links[peer].same_topic)
        bus.topic_peers = tuple(link.receiver.peer_id for link in bus.links)

    def linked(self, peer: str) -> tuple[str, ...]:
        found = self._linked.get(peer)
        if found is None:
            found = self._linked[peer] = tuple(sorted(self._links.get(peer, ())))
        return found

    def links_of(self, peer: str) -> "Iterable[Link[MemoryBus]]":
        return self._links.get(peer, {}).values()

    def links_to(self, peer: str) -> "Iterable[Link[MemoryBus]]":
        return (self._links[other][peer] for other in self.linked(peer))

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
        self.links: tuple[Link[MemoryBus], ...] = ()  # to peers of the topic
        self.topic_peers: tuple[str, ...] = ()
        self.seen: dict[bytes, float] = {}  # hash of a frame -> when it came, or will
        self._counts: Counter[str] = Counter()
        self.traffic: Traffic = LinkedTraffic(self._settle)
        self.is_running = False
        self.broken = trio.Event()
        self._why_broken: Exception = BusFailed("memory bus was broken by a test")
        self._deliver_claim: Deliver | None = None
        self.hears_claims = False

    def hear_claims(self, deliver: Deliver) -> None:
        self._deliver_claim, self.hears_claims = deliver, True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self.is_running = True
                self._network.started(self)
                nursery.start_soon(self._network.agenda.run)
                task_status.started()
                await self.broken.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.is_running = False
            self._network.stopped(self)
        raise self._why_broken

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_running:
            raise BusFailed("memory bus is not running")
        self._counts["published"] += 1
        self._publish(frame, claim=False)

    async def publish_claim(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_running:
            raise BusFailed("memory bus is not running")
        if self.hears_claims:
            self._publish(frame, claim=True)

    def _publish(self, frame: bytes, *, claim: bool) -> None:
        digest = hashlib.sha256(frame).digest()
        self.seen[digest] = trio.current_time()
        self._pass_on(frame, digest, self.peer_id, claim=claim)

    async def request(self, peer: str, message: bytes) -> bytes:
        waiting = Waiting[bytes]()
        self._network.agenda.at(self._arrival(peer, len(message)), partial(self._ask, peer, message, waiting))
        reply = await waiting.wait()
        if peer not in self._network.linked(self.peer_id):
            raise PeerUnreachable(f"peer {peer} went away")
        self.traffic.received(peer, Kind.CATCHUP, len(reply), 1)
        return reply

    def _ask(self, peer: str, message: bytes, waiting: Waiting[bytes]) -> None:
        """A request is with whom it is for, whose reply goes on its way."""
        reply = outcome.capture(self._served, peer, message)
        if isinstance(reply, outcome.Error):
            waiting.wake(reply)
        else:
            self._network.agenda.at(self._arrival(peer, len(reply.value)), partial(waiting.wake, reply))

    def _served(self, peer: str, message: bytes) -> bytes:
        server = self._network.running(peer)
        if server is None or peer not in self._network.linked(self.peer_id):
            raise PeerUnreachable(f"peer {peer} is not connected")
        self.traffic.sent(peer, Kind.CATCHUP, len(message), 1)
        server.traffic.received(self.peer_id, Kind.CATCHUP, len(message), 1)
        try:
            reply = server.serve(self.peer_id, message)
        except Refused as refused:
            raise PeerUnreachable(f"peer {peer} broke off: {refused}") from None
        server.traffic.sent(self.peer_id, Kind.CATCHUP, len(reply), 1)
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
        return self.topic_peers

    def connected(self) -> tuple[str, ...]:
        return self._network.linked(self.peer_id)

    def peer_addresses(self, peer: str) -> tuple[str, ...]:
        return (self._network.address(peer),) if peer in self.connected() else ()

    def addresses(self) -> tuple[str, ...]:
        return (self._network.address(self.peer_id),)

    def statistics(self) -> dict[str, int]:
        self._settle()
        return dict(sorted(self._counts.items()))

    def tell(self, change: PeerUp | PeerDown) -> None:
        try:
            self._send_change.send_nowait(change)
        except trio.WouldBlock:
            self.changes.receive_nowait()
            self._send_change.send_nowait(change)

    def _pass_on(self, frame: bytes, digest: bytes, came_from: str, *, claim: bool) -> None:
        network, size, now = self._network, len(frame), trio.current_time()
        lossy = bool(network.loss or network.lines)
        for link in self.links:
            receiver = link.receiver
            if receiver.peer_id == came_from or (claim and not receiver.hears_claims):
                continue
            if lossy and network.loses(self.peer_id, receiver.peer_id):
                continue
            link.frames += 1
            link.bytes += size
            if claim:
                link.claims += 1
                link.claim_bytes += size
            known = receiver.seen.get(digest)
            if known is not None and known <= now:  # nothing but its counters will notice
                continue
            due = network.arrival(network.travel_seconds(self.peer_id, receiver.peer_id, size))
            if known is None or due < known:
                receiver.seen[digest] = due
                network.agenda.at(due, partial(receiver.arrive, link, frame, digest, due, claim=claim))

    def arrive(self, link: "Link[MemoryBus]", frame: bytes, digest: bytes, due: float, *, claim: bool) -> None:
        if self.seen.get(digest) != due:  # it came another way, sooner
            return
        if link.cut or not self.is_running:
            del self.seen[digest]
            return
        self.hear(link.sender.peer_id, frame, digest, claim=claim)

    def hear(self, forwarder: str, frame: bytes, digest: bytes, *, claim: bool = False) -> None:
        """A frame has come, now and for the first time."""
        deliver = self._deliver_claim if claim else self._deliver
        assert deliver is not None, "a claim for one that hears none"
        try:
            answer = deliver(forwarder, frame)
        except Exception as error:  # ours to fail with, whoever carried the frame
            self._why_broken = error
            self.broken.set()
            return
        if answer is Answer.ACCEPT:
            self._counts["claims_delivered" if claim else "delivered"] += 1
            self._pass_on(frame, digest, forwarder, claim=claim)

    def _settle(self) -> None:
        """Add up what the links have counted."""
        for link in (*self._network.links_of(self.peer_id), *self._network.links_to(self.peer_id)):
            link.settle()

    def count_frames(self, way: str, peer: str, link: "Link[MemoryBus]") -> None:
        count = self.traffic.sent if way == "out" else self.traffic.received
        count(peer, Kind.BROADCAST, link.bytes, link.frames)
        if link.claims:
            self._counts[f"claims_{way}"] += link.claims
            self._counts[f"claim_bytes_{way}"] += link.claim_bytes

    def _arrival(self, peer: str, size_bytes: int) -> float:
        return self._network.arrival(self._network.travel_seconds(self.peer_id, peer, size_bytes))

    async def _travel(self, peer: str, size_bytes: int = 0) -> None:
        await self._network.agenda.wait_until(self._arrival(peer, size_bytes))
