"""The network side of a node: keeps a bus running, peers connected, our records published and everyone's fetched.

Supervises one bus at a time; when it breaks, a new one is started, and nothing outside notices but an event. A record
from anywhere goes the same way: admission, then `on_record`. Knows nothing of what records say, and persists nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import trio

from gossip import catchup
from gossip.address_book import AddressBook, Source
from gossip.addresses import parse_dialable
from gossip.admission import Admission, Admitted
from gossip.bootstrap import BootstrapWatch
from gossip.bus import Bus, BusFactory, BusFailed, ListenError, PeerIncompatible, PeerUnreachable, PeerUp, innermost
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
from gossip.mdns import LocalDiscovery
from gossip.puller import Puller
from gossip.refusal import Answer, Refusal, RefusalReason
from gossip.store import RecordStore
from gossip.wake import Wake

OnRecord = Callable[[Record], Refusal | None]
"""Keep a record, our own included (a home restored from a backup gets its own log back). None: new and kept."""

TARGET_CONNECTIONS = 8
_DIAL_EVERY = 2.0  # seconds; all numbers below are guesses of that kind unless they say otherwise
_OUTBOX_EVERY = 10.0
_SETTLE_SECONDS = 0.3  # after a peer came: GossipSub grafts it before our unsent records go out
_BURST = 20  # records published back to back; the peers' queues hold 256
_PACE_SECONDS = 0.02  # between records beyond the burst
_INBOX = 1024
_FIRST_RESTART, _LONGEST_RESTART = 1.0, 60.0  # seconds
_RUNS_WELL = 60.0  # after so many seconds the next failure is restarted from at once
_SEEMS_WELL = 3.0  # after so many seconds a restart is called a success
_MAX_PROBED = 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    peers: tuple[str, ...]  # of the topic
    connected: tuple[str, ...]  # all
    addresses: tuple[str, ...]  # where we listen, as of the last time it was known
    counters: dict[str, int]


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
    ) -> None:
        self._bus_factory = bus_factory
        self._store = store
        self._admission = admission
        self.address_book = address_book
        self._bootstrap = BootstrapWatch(bootstrap, on_event)
        self._on_record = on_record
        self._wall_clock = wall_clock
        self._on_event = on_event
        self._local_discovery = local_discovery
        self._bus: Bus | None = None
        self._addresses: tuple[str, ...] = ()
        self._down = False  # NetworkFailed was said, NetworkBack not yet
        self._fresh = Wake()
        self._dial_now = Wake()
        self._dialling: set[str] = set()
        self._probed: dict[str, int] = {}  # connected peers outside the topic -> ticks seen
        self._inbox_send, self._inbox = trio.open_memory_channel[Record](_INBOX)
        self._puller = Puller(store, admission, on_record, address_book, on_event)
        address_book.learn(bootstrap, Source.GIVEN)

    async def run(self) -> None:
        """Until cancelled. Raises ListenError if the very first start cannot listen; later trouble is only events."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_inbox_empty)
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

    def found(self, addresses: tuple[str, ...]) -> None:
        """Somebody told us where a peer is; dialled at once if connections are wanted."""
        self.address_book.learn(addresses, Source.PEER)
        self._dial_now.set()

    def snapshot(self) -> Snapshot:
        bus = self._bus
        counters = {f"admission.{name}": number for name, number in self._admission.statistics().items()}
        counters |= {f"catchup.{name}": number for name, number in self._puller.statistics().items()}
        if bus is None:
            return Snapshot((), (), self._addresses, counters)
        counters |= {f"bus.{name}": number for name, number in bus.statistics().items()}
        return Snapshot(bus.peers(), bus.connected(), self._current_addresses(), counters)

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
        bus = self._bus_factory(self._deliver, self._serve)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(bus.run)
                self._bus = bus
                nursery.start_soon(self._say_started, bus)
                nursery.start_soon(self._follow_changes, bus, nursery)
                nursery.start_soon(self._dial_peers, bus, nursery)
                nursery.start_soon(self._empty_outbox, bus)
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

    # --- in ---

    def _deliver(self, forwarder: str, frame: bytes) -> Answer:
        outcome = self._admission.admit(frame, forwarder, trio.current_time(), wall_ms=int(self._wall_clock() * 1000))
        if not isinstance(outcome, Admitted):
            return outcome.answer
        try:
            self._inbox_send.send_nowait(outcome.record)
        except trio.WouldBlock:
            self._admission.forget(outcome.record)
            full = Refusal(RefusalReason.INBOX_FULL, "records come faster than they can be kept")
            return self._admission.count(full).answer
        return Answer.ACCEPT

    async def _keep_inbox_empty(self) -> None:
        async for record in self._inbox:
            refusal = self._on_record(record)
            if refusal is not None:
                self._admission.count(refusal)

    def _serve(self, peer: str, message: bytes) -> bytes:
        """Answer a catch-up request. Raises Refused."""
        request = catchup.decode_request(message)
        page = catchup.answer(self._store, self._admission.brief, request, self._known_elsewhere(peer))
        return catchup.encode_page(page)

    def _known_elsewhere(self, asker: str) -> tuple[str, ...]:
        """One address of each other peer of the topic, so that the swarm outlives its bootstrap."""
        bus = self._bus
        if bus is None:
            return ()
        others = [bus.peer_addresses(peer) for peer in bus.peers() if peer != asker]
        return tuple(address for addresses in others for address in addresses[:2])[: catchup.MAX_ADDRESSES]

    # --- out ---

    async def _empty_outbox(self, bus: Bus) -> None:
        while True:
            while bus.peers() and (unsent := self._store.unsent()):
                for number, record in enumerate(unsent):
                    await bus.publish(record.frame)
                    self._store.mark_sent([record.id])
                    if number >= _BURST:
                        await trio.sleep(_PACE_SECONDS)
            with trio.move_on_after(_OUTBOX_EVERY):
                await self._fresh.wait()

    async def _follow_changes(self, bus: Bus, nursery: trio.Nursery) -> None:
        async for change in bus.changes:
            if isinstance(change, PeerUp):
                self._on_event(PeerJoined(change.peer))
                self._puller.soon(change.peer)
                nursery.start_soon(self._settle, bus)
            else:
                self._puller.gone(change.peer)
                self._on_event(PeerLeft(change.peer))

    async def _settle(self, bus: Bus) -> None:
        await trio.sleep(_SETTLE_SECONDS)
        self._learn_addresses(bus)
        self._fresh.set()

    # --- connections ---

    async def _dial_peers(self, bus: Bus, nursery: trio.Nursery) -> None:
        while True:
            connected = set(bus.connected())
            busy = connected | self._dialling
            now = self._wall_clock()
            wanted = max(0, TARGET_CONNECTIONS - len(busy))
            # The bootstrap is dialled whatever else is connected: it is where the others meet.
            due = self._bootstrap.due(now, busy, self.address_book) + self.address_book.due(now, busy, wanted)
            for address in due:
                peer = parse_dialable(address).peer
                if peer not in self._dialling and peer != bus.peer_id:
                    self._dialling.add(peer)
                    nursery.start_soon(self._dial, bus, address, peer)
            self._bootstrap.look(connected)
            self._learn_addresses(bus)
            await self._probe_strangers(bus, connected, nursery)
            with trio.move_on_after(_DIAL_EVERY):
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
        """A peer that stays connected but never joins the topic may speak another version: ask it once."""
        outside = connected - set(bus.peers())
        self._probed = {peer: ticks for peer, ticks in self._probed.items() if peer in connected}
        for peer in sorted(outside)[:_MAX_PROBED]:
            self._probed[peer] = self._probed.get(peer, 0) + 1
            if self._probed[peer] == 2:
                nursery.start_soon(self._probe, bus, peer)

    async def _probe(self, bus: Bus, peer: str) -> None:
        question = catchup.encode_request(catchup.Request(self._admission.brief, {}))
        try:
            await bus.request(peer, question)
        except PeerIncompatible as error:
            self._on_event(PeerSpeaksAnotherVersion(peer, error.protocols))
        except PeerUnreachable:
            return

    def _current_addresses(self) -> tuple[str, ...]:
        if self._bus is not None:
            self._addresses = self._bus.addresses()
        return self._addresses
