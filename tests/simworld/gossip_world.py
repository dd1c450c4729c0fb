"""Peers of a small swarm in one process: a record store in memory, and a node that keeps what it hears."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from random import Random

import trio

from gossip.address_book import AddressBook
from gossip.admission import Admission
from gossip.bus import BusFactory
from gossip.envelope import Record, open_frame, seal
from gossip.events import GossipEvent
from gossip.heard import Heard
from gossip.identity import Identity
from gossip.memory_bus import MemoryNetwork
from gossip.packing import Packing
from gossip.refusal import Refusal, RefusalReason
from gossip.service import GossipService

BRIEF = "ab" * 32
TOPIC = f"/swarm/1/{BRIEF}"


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


class MemoryStore:
    """A RecordStore without a disk. Survives its node, as a disk would."""

    def __init__(self, own: str = "") -> None:
        self.own = own
        self._logs: dict[str, dict[int, Record]] = {}
        self._heads: dict[str, int] = {}
        self._sent: set[str] = set()

    def add(self, record: Record) -> Refusal | None:
        log = self._logs.setdefault(record.author, {})
        held = log.get(record.seq)
        if held is None:
            log[record.seq] = record
            head = self._heads.get(record.author, 0)
            while head + 1 in log:
                head += 1
            if head:
                self._heads[record.author] = head
            return None
        reason = RefusalReason.KNOWN if held.id == record.id else RefusalReason.EQUIVOCATION
        return Refusal(reason, f"sequence number {record.seq} is taken")

    def heads(self) -> dict[str, int]:
        return dict(self._heads)

    def records_after(self, heads: Mapping[str, int], limit_bytes: int) -> list[bytes]:
        chosen: list[bytes] = []
        size = 0
        for frame in self._missing(heads):
            size += len(frame)
            if chosen and size > limit_bytes:
                break
            chosen.append(frame)
        return chosen

    def unsent(self) -> list[Record]:
        own = self._logs.get(self.own, {})
        return [own[seq] for seq in sorted(own) if own[seq].id not in self._sent][:256]

    def mark_sent(self, ids: Iterable[str]) -> None:
        self._sent.update(ids)

    def ids(self) -> set[str]:
        return {record.id for log in self._logs.values() for record in log.values()}

    def __len__(self) -> int:
        return sum(len(log) for log in self._logs.values())

    def write(self, who: Identity, payload: bytes, at_ms: int = 0) -> Record:
        """The next record of `who`, signed and kept."""
        log = self._logs.get(who.peer_id, {})
        last = log[max(log)] if log else None
        seq, prev = (last.seq + 1, last.id) if last is not None else (1, "")
        record = seal(who, "finding", BRIEF, seq, prev, at_ms, payload)
        assert self.add(record) is None
        return record

    def _missing(self, heads: Mapping[str, int]) -> Iterator[bytes]:
        for author, head in sorted(self._heads.items()):
            for seq in range(heads.get(author, 0) + 1, head + 1):
                yield self._logs[author][seq].frame


class Node:
    """A participant: identity, store, address book and the service over some bus. Can be stopped and started again."""

    def __init__(
        self,
        who: Identity,
        bus_factory: BusFactory,
        *,
        bootstrap: Iterable[str] = (),
        wall_clock: Callable[[], float] = trio.current_time,
        is_news: Callable[[Record], bool] = lambda _: True,
        packing: Packing | None = None,
    ) -> None:
        self._is_news = is_news
        self._packing = packing
        self.who = who
        self.store = MemoryStore(who.peer_id)
        self.book = AddressBook(who.peer_id, Random(1))
        self.events: list[GossipEvent] = []
        self.kept: list[Record] = []
        self._bus_factory = bus_factory
        self._bootstrap = tuple(bootstrap)
        self._wall_clock = wall_clock
        self.service = self.fresh_service()

    @property
    def peer_id(self) -> str:
        return self.who.peer_id

    def fresh_service(self) -> GossipService:
        self.service = GossipService(
            bus_factory=self._bus_factory,
            store=self.store,
            admission=Admission(BRIEF, packing=self._packing),
            address_book=self.book,
            bootstrap=self._bootstrap,
            on_record=self.keep,
            wall_clock=self._wall_clock,
            on_event=self.events.append,
            is_news=self._is_news,
        )
        return self.service

    def keep(self, record: Record, heard: Heard) -> Refusal | None:
        refusal = self.store.add(record)
        if refusal is None:
            self.kept.append(record)
        return refusal

    def write(self, payload: bytes) -> Record:
        record = self.store.write(self.who, payload)
        self.service.announce()
        return record

    @asynccontextmanager
    async def running(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.service.run)
            yield self
            nursery.cancel_scope.cancel()

    def said(self, kind: type[GossipEvent]) -> list[GossipEvent]:
        return [event for event in self.events if isinstance(event, kind)]


def memory_node(network: MemoryNetwork, number: int, *, bootstrap: Iterable[str] = (), topic: str = TOPIC) -> Node:
    who = identity(number)
    return Node(who, lambda deliver, serve: network.bus(who.peer_id, topic, deliver, serve), bootstrap=bootstrap)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; fail when it does not come about."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


def author_of(frame: bytes) -> str:
    return open_frame(frame).author
