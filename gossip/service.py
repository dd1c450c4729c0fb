"""The network side of a node: keeps a bus running, peers connected, our records published and everyone's fetched.

Supervises one bus at a time; when it breaks, a new one is started, and nothing outside notices but an event. A record
from anywhere goes the same way: admission, then `on_record`. Knows nothing of what records say, and persists nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

import trio

from gossip import catchup
from gossip.address_book import AddressBook, Source
from gossip.addresses import parse_dialable
from gossip.admission import Admission
from gossip.bootstrap import BootstrapWatch
from gossip.bus import Bus, BusFactory, BusFailed, ListenError, PeerIncompatible, PeerUnreachable, PeerUp, innermost
from gossip.claims import Claim, ClaimAdmission
from gossip.doorkeeper import Doorkeeper
from gossip.envelope import Record
from gossip.events import (
    GossipEvent,
    Listening,
    NetworkBack,
    NetworkFailed,
    PeerJoined,
    PeerLeft,
    PeerSpeaksAnotherVersion,
)
from gossip.forks import Forks, NoForks
from gossip.heard import Heard, RefusedRecords
from gossip.intake import Intake
from gossip.mdns import LocalDiscovery
from gossip.pipe import Limits
from gossip.puller import Puller
from gossip.refusal import Refusal
from gossip.store import RecordStore
from gossip.traffic import Traffic
from gossip.wake import Wake

OnRecord = Callable[[Record, Heard], Refusal | None]
"""Keep a record that came so, our own included (a home restored from a backup gets its own log back). None: new and
kept."""

TARGET_CONNECTIONS = 8
MAX_OWN_CONNECTIONS = 16  # that we dial for; half of a parted swarm has enough, and still has to find the other half
_DIAL_EVERY = 2.0  # seconds; all numbers below are guesses of that kind unless they say otherwise
# With everybody connected that is wanted; a peer that goes is noticed at once. While one that was there once is not,
# more often: perhaps the network came apart.
_AT_EASE_EVERY, _UNEASY_EVERY = 60.0, 10.0
_LOST_EVERY = 4.0
_OUTBOX_EVERY = 10.0
_LEARN_EVERY = 30.0
_SETTLE_SECONDS = 0.3  # after a peer came: GossipSub grafts it before our unsent records go out
_BURST = 20  # records published back to back; the peers' queues hold 256
_CLAIMS_WAITING = 8  # more are lost; they are for advice only
_PACE_SECONDS = 0.02  # between records beyond the burst
_FIRST_RESTART, _LONGEST_RESTART = 1.0, 60.0  # seconds
_RUNS_WELL = 60.0  # after so many seconds the next failure is restarted from at once
_SEEMS_WELL = 3.0  # after so many seconds a restart is called a success
_MAX_PROBED = 1024
_PROBE_TICKS = 10  # of the dialling, between two probes of the same peer


@dataclass(frozen=True, slots=True)
class Snapshot:
    peers: tuple[str, ...]  # of the topic
    connected: tuple[str, ...]  # all
    addresses: tuple[str, ...]  # where we listen, as of the last time it was known
    counters: dict[str, int]
    traffic: Traffic  # lives on: counts go up under whoever holds it


class GossipService:
    def __init__(
        self,
        *,
        bus_factory: BusFactory,
        store: RecordStore,
        admission: Admission,
        address_book: AddressBook,
        bootstrap: Sequence[str],
        on_record: OnRecord,
        wall_clock: Callable[[], float],
        on_event: Callable[[GossipEvent], None],
        local_discovery: LocalDiscovery | None = None,
        forks: Forks | None = None,
        doorkeeper: Doorkeeper | None = None,
        is_news: Callable[[Record], bool] = lambda _: True,
        claims: ClaimAdmission | None = None,
        on_claim: Callable[[Claim], None] = lambda _: None,
    ) -> None:
        """`is_news`: whether a record of ours is broadcast. The others are there for who asks, with the next round."""
        self._bus_factory = bus_factory
        self._store = store
        self._admission = admission
        self.address_book = address_book
        self._bootstrap = BootstrapWatch(bootstrap, on_event)
        self._on_record = on_record
        self._wall_clock = wall_clock
        self._on_event = on_event
        self._is_news = is_news
        self._local_discovery = local_discovery
        self._bus: Bus | None = None
        self._traffic = Traffic()
        self.refused = RefusedRecords()
        self._addresses: tuple[str, ...] = ()
        self._down = False  # NetworkFailed was said, NetworkBack not yet
        self._fresh = Wake()
        self._dial_now = Wake()
        self._dialling: set[str] = set()
        self._probed: dict[str, int] = {}  # connected peers outside the topic -> ticks seen
        self._door = doorkeeper or Doorkeeper()
        self._claims = claims or ClaimAdmission(admission.brief)
        self._intake = Intake(
            store=store,
            forks=forks or NoForks(),
            admission=admission,
            doorkeeper=self._door,
            on_record=on_record,
            refused=self.refused,
            wall_clock=wall_clock,
            on_event=on_event,
            drop=self._drop,
            neighbours=self._known_elsewhere,
            on_asked=self._asked,
            claims=self._claims,
            on_claim=on_claim,
        )
        self._claims_out, self._claims_waiting = trio.open_memory_channel[bytes](_CLAIMS_WAITING)
        self._puller = Puller(
            store,
            admission,
            on_record,
            address_book,
            on_event,
            forks=forks or NoForks(),
            admits=self._intake.admits,
            on_broken_answer=self._intake.broken_answer,
            refused=self.refused,
            wall_clock=wall_clock,
        )
        address_book.learn(bootstrap, Source.GIVEN)

    async def run(self) -> None:
        """Until cancelled. Raises ListenError if the very first start cannot listen; later trouble is only events."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._intake.run)
                if self._local_discovery is not None:
                    nursery.start_soon(self._local_discovery.run, self._current_addresses, self.found, self._on_event)
                await self._supervise()
        except BaseExceptionGroup as group:
            cause = innermost(group)
            if isinstance(cause, ListenError):
                raise cause from None
            raise

    def announce(self) -> None:
        """A fresh record is in the store: publish it now."""
        self._fresh.set()

    def tell_claim(self, frame: bytes) -> None:
        """Broadcast a claim of ours now, or never: nobody waits for it, and a network that is down loses it."""
        try:
            if self._bus is None:
                raise trio.WouldBlock
            self._claims_out.send_nowait(frame)
        except trio.WouldBlock:
            self._claims.count("not_sent")

    def found(self, addresses: tuple[str, ...]) -> None:
        """Somebody told us where a peer is; dialled at once if connections are wanted."""
        self.address_book.learn(addresses, Source.PEER)
        self._dial_now.set()

    def admits(self, peer: str) -> bool:
        """Whether a peer may be connected with us: not denied, not banned, and allowed if only some are."""
        return self._intake.admits(peer)

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        """As the bus's. Raises PeerUnreachable too while there is none."""
        if self._bus is None:
            raise PeerUnreachable("networking is not running")
        return await self._bus.join(peer, names, local, limits)

    def connected(self) -> tuple[str, ...]:
        return () if self._bus is None else self._bus.connected()

    def snapshot(self) -> Snapshot:
        bus = self._bus
        counters = {f"admission.{name}": number for name, number in self._admission.statistics().items()}
        counters |= {f"catchup.{name}": number for name, number in self._puller.statistics().items()}
        counters |= {f"claims.{name}": number for name, number in self._claims.statistics().items()}
        counters |= {f"door.{name}": number for name, number in self._door.statistics().items()}
        if bus is None:
            return Snapshot((), (), self._addresses, counters, self._traffic)
        counters |= {f"bus.{name}": number for name, number in bus.statistics().items()}
        return Snapshot(bus.peers(), bus.connected(), self._current_addresses(), counters, self._traffic)

    # --- supervision ---

    async def _supervise(self) -> None:
        delay = _FIRST_RESTART
        while True:
            started_at = trio.current_time()
            try:
                await self._run_bus()
            except ListenError as error:
                if not self._addresses:  # never listened: a person has to choose another address
                    raise
                sentence = str(error)
            except BusFailed as error:
                sentence = str(error)
            self._bus = None
            if not self._down:
                self._down = True
                self._on_event(NetworkFailed(sentence))
            if trio.current_time() - started_at >= _RUNS_WELL:
                delay = _FIRST_RESTART
            await trio.sleep(delay)
            delay = min(2 * delay, _LONGEST_RESTART)

    async def _run_bus(self) -> NoReturn:
        """One life of a bus. Raises BusFailed or ListenError, or what `on_record` and the store raise."""
        bus = self._bus_factory(self._intake.deliver, self._intake.serve)
        bus.hear_claims(self._intake.deliver_claim)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(bus.run)
                self._bus, self._traffic = bus, bus.traffic
                nursery.start_soon(self._say_started, bus)
                nursery.start_soon(self._follow_changes, bus, nursery)
                nursery.start_soon(self._dial_peers, bus, nursery)
                nursery.start_soon(self._empty_outbox, bus)
                nursery.start_soon(self._tell_claims, bus)
                nursery.start_soon(self._puller.run, bus)
        except BaseExceptionGroup as group:
            _, rest = group.split((BusFailed, ListenError))
            raise innermost(group) if rest is None else rest from None
        finally:
            self._puller.forget_peers()
            self._dialling.clear()
        raise AssertionError("a bus runs until it fails or is cancelled")

    async def _say_started(self, bus: Bus) -> None:
        first = not self._addresses
        self._addresses = bus.addresses()
        if first:
            self._on_event(Listening(self._addresses))
        if self._down:
            await trio.sleep(_SEEMS_WELL)
            self._down = False
            self._on_event(NetworkBack())

    def _known_elsewhere(self, asker: str) -> tuple[str, ...]:
        """One address of each other peer of the topic, so that the swarm outlives its bootstrap."""
        bus = self._bus
        if bus is None:
            return ()
        now = self._wall_clock()
        others = (peer for peer in bus.peers() if peer != asker and self._door.admits(peer, now))
        found = (address for peer in others for address in bus.peer_addresses(peer)[:2])
        return tuple(islice(found, catchup.MAX_ADDRESSES))

    # --- out ---

    async def _empty_outbox(self, bus: Bus) -> None:
        while True:
            while bus.peers() and (unsent := self._store.unsent()):
                for number, record in enumerate(unsent):
                    if self._is_news(record):
                        await bus.publish(self._admission.packing.pack(record.frame))
                    self._store.mark_sent([record.id])
                    if number >= _BURST:
                        await trio.sleep(_PACE_SECONDS)
            # With nothing to tell, whoever brings something wakes us; an idle node is not to wake for nothing.
            with trio.move_on_after(_OUTBOX_EVERY if self._store.unsent() else math.inf):
                await self._fresh.wait()

    async def _tell_claims(self, bus: Bus) -> None:
        while True:
            frame = await self._claims_waiting.receive()
            await bus.publish_claim(frame)
            self._claims.count("sent")

    async def _follow_changes(self, bus: Bus, nursery: trio.Nursery) -> None:
        unwelcome: set[str] = set()  # dropped as soon as they came; nobody hears of them
        async for change in bus.changes:
            if isinstance(change, PeerUp) and not self._intake.let_in(change.peer):
                unwelcome.add(change.peer)
            elif isinstance(change, PeerUp):
                unwelcome.discard(change.peer)
                self._on_event(PeerJoined(change.peer))
                self._puller.soon(change.peer)
                nursery.start_soon(self._settle, bus)
            else:
                self._puller.gone(change.peer)
                self._dial_now.set()
                if change.peer not in unwelcome:
                    self._on_event(PeerLeft(change.peer))
                unwelcome.discard(change.peer)

    async def _settle(self, bus: Bus) -> None:
        await trio.sleep(_SETTLE_SECONDS)
        self._learn_addresses(bus)
        self._fresh.set()

    # --- connections ---

    async def _dial_peers(self, bus: Bus, nursery: trio.Nursery) -> None:
        learned_at = looked_at = -math.inf
        while True:
            connected = {peer for peer in bus.connected() if self._intake.let_in(peer)}
            busy = connected | self._dialling
            now = self._wall_clock()
            wanted = max(0, TARGET_CONNECTIONS - len(busy))
            # The bootstrap is dialled whatever else is connected: it is where the others meet.
            due = self._bootstrap.due(now, busy, self.address_book)
            due += self.address_book.due(now, busy, wanted, self.admits)
            if not wanted and len(busy) < MAX_OWN_CONNECTIONS and trio.current_time() - looked_at >= _LOST_EVERY:
                due += self.address_book.lost(now, busy)
                looked_at = trio.current_time()
            for address in due:
                peer = parse_dialable(address).peer
                if peer not in self._dialling and peer != bus.peer_id and self.admits(peer):
                    self._dialling.add(peer)
                    nursery.start_soon(self._dial, bus, address, peer)
            self._bootstrap.look(connected)
            if trio.current_time() - learned_at >= _LEARN_EVERY:
                self._learn_addresses(bus)
                learned_at = trio.current_time()
            await self._probe_strangers(bus, connected, nursery)
            if due or wanted or self._probed:
                pause = _DIAL_EVERY
            else:
                uneasy = self._bootstrap.misses(busy) or self.address_book.misses(busy)
                pause = _UNEASY_EVERY if uneasy else _AT_EASE_EVERY
            with trio.move_on_after(pause):
                await self._dial_now.wait()

    async def _dial(self, bus: Bus, address: str, peer: str) -> None:
        try:
            await bus.dial(address)
        except PeerUnreachable:
            self.address_book.failed(address, self._wall_clock())
            self._bootstrap.failed(address)
            self._bootstrap.look(bus.connected())
        else:
            self.address_book.succeeded(address, self._wall_clock())
        finally:
            self._dialling.discard(peer)

    def _learn_addresses(self, bus: Bus) -> None:
        for peer in bus.peers():
            self.address_book.learn(bus.peer_addresses(peer), Source.PEER)

    async def _probe_strangers(self, bus: Bus, connected: set[str], nursery: trio.Nursery) -> None:
        """A peer that stays connected but never joins the topic may speak another version: ask it now and then."""
        outside = connected - set(bus.peers())
        self._probed = {peer: ticks for peer, ticks in self._probed.items() if peer in outside}
        for peer in sorted(outside)[:_MAX_PROBED]:
            self._probed[peer] = self._probed.get(peer, 0) + 1
            if self._probed[peer] % _PROBE_TICKS == 2:
                nursery.start_soon(self._probe, bus, peer)

    async def _probe(self, bus: Bus, peer: str) -> None:
        question = catchup.encode_request(catchup.requests(self._admission.brief, self._store.heads())[0])
        try:
            await bus.request(peer, question)
        except PeerIncompatible as error:
            if self._probed.get(peer, 0) < _PROBE_TICKS:
                self._on_event(PeerSpeaksAnotherVersion(peer, error.protocols))
        except PeerUnreachable:
            return
        else:
            self._puller.soon(peer)  # of this topic, though it does not talk to us: a copy of us may have its ear

    def _asked(self, peer: str, heads: Mapping[str, int]) -> None:
        self._puller.asked_by(peer, heads)

    def _drop(self, peer: str) -> None:
        if self._bus is not None:
            self._bus.drop(peer)

    def _current_addresses(self) -> tuple[str, ...]:
        if self._bus is not None:
            self._addresses = self._bus.addresses()
        return self._addresses
