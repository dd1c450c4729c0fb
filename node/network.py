"""Joins gossip to the node: builds the service from what a person asked for, and turns its events into ours.

Owns the choice of listen addresses, the ticket's text, the address book's file and when counters are written. The rules
of gossip are in gossip.
"""

import contextlib
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from gossip import events as heard
from gossip.address_book import AddressBook
from gossip.addresses import parse_address, parse_dialable
from gossip.admission import Admission
from gossip.blobs import BlobSource, OfferedBlobs
from gossip.branches import BranchSource
from gossip.bus import Bus, BusFactory, Deliver, Serve
from gossip.claims import MAX_SECONDS as MAX_CLAIM_SECONDS
from gossip.claims import Claim, ClaimAdmission, seal_claim
from gossip.doorkeeper import Doorkeeper, PeerLists
from gossip.envelope import Record
from gossip.heard import Heard
from gossip.identity import Identity
from gossip.interfaces import has_ip6
from gossip.mdns import LocalDiscovery, announced_brief
from gossip.packing import Packing
from gossip.refusal import Refusal, RefusalReason
from gossip.reputation import Reputation
from gossip.service import GossipService
from gossip.ticket import MAX_ADDRESSES, Ticket, encode_ticket
from node.claims import Claims
from node.clock import wall_clock
from node.events import Events, Listening, PeersChanged
from node.home import Home, write_atomically
from node.journal import JournalError
from node.network_file import Json, claim_facts, network_facts, write_network
from node.notebook import Notebook
from node.text import clean
from node.topics.fetching import TicketPeers
from swarm.brief import topic_name
from swarm.preset import preset_of
from swarm.words import BriefId, short

REPUTATION_FILE = "reputation.json"  # in the home
ADDRESS_SECONDS = 5.0  # between two looks at our own addresses
SAVE_SECONDS = 30.0  # between two writings of the address book
COUNTERS_SECONDS = 5.0  # between two writings of what is counted
FLUSH_SECONDS = 3.0  # at most, at the end of a run, for the last finding to reach a peer
MAX_NOTICE_CHARACTERS = 1000  # of a notice with words that a peer or the library chose
SETTLE_SECONDS = 0.3  # from the library's queue to the wire


@dataclass(frozen=True)
class NetworkSettings:
    listen: tuple[str, ...]  # empty: every interface, on the port used last
    bootstrap: tuple[str, ...]
    mdns: bool
    ticket_file: Path | None = None
    swarm_key: bytes | None = field(default=None, repr=False)  # of a private swarm
    lists: PeerLists = field(default_factory=PeerLists)  # whom to let in


class Network:
    """The node's side of the gossip service."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        notebook: Notebook,
        settings: NetworkSettings,
        events: Events,
        blobs: BlobSource | None = None,  # what whoever joins may have: brief and shards
        claims: Claims | None = None,  # of the one who researches here
        branches: BranchSource | None = None,  # what whoever speaks git may have
    ) -> None:
        self._home = home
        self._blobs = blobs or OfferedBlobs()
        self._branches = branches
        self._identity = identity
        self._notebook = notebook
        self._settings = settings
        self._events = events
        self._peers: dict[str, float] = {}  # since when, unix seconds
        self._addresses: tuple[str, ...] = ()
        self._said_journal = False
        key = settings.swarm_key
        self._book_file = book_file(home, BriefId(notebook.journal.brief), key)
        self._book = AddressBook(identity.peer_id, random.Random(identity.peer_id))
        if self._book_file.exists():
            self._book.load_json(self._book_file.read_text(errors="replace"))
        self._reputation_file = home.path / REPUTATION_FILE
        self._reputation = load_reputation(home)
        self._door = door = Doorkeeper(identity.peer_id, settings.lists, self._reputation)
        brief = notebook.journal.brief
        listen = settings.listen or default_listen(home.read_state().get("port"))
        self._claims = claims
        self._last_claim_ms = 0

        def refuse_author(author: str) -> Refusal | None:
            return door.refuse_author(author) or notebook.refuse_author(author)

        self._service = GossipService(
            bus_factory=self._bus_factory(topic_name(BriefId(brief)), listen),
            store=notebook.journal,
            admission=Admission(
                brief,
                refuse_author=refuse_author,
                is_known=self._is_known,
                packing=Packing(preset_of(notebook.brief, BriefId(brief))),
            ),
            claims=ClaimAdmission(
                brief, refuse_author=refuse_author, has_records=lambda author: author in notebook.journal.heads()
            ),
            on_claim=self._hear_claim,
            address_book=self._book,
            bootstrap=settings.bootstrap,
            on_record=self._receive,
            wall_clock=wall_clock,
            on_event=self._hear,
            forks=notebook.journal,
            doorkeeper=door,
            is_news=notebook.is_news,
            local_discovery=LocalDiscovery(identity.peer_id, announced_brief(brief, key)) if settings.mdns else None,
        )
        notebook.when_own(self._service.announce)
        if claims is not None:
            claims.when_claimed(self._tell_claim)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(sorted(self._peers))

    @property
    def service(self) -> GossipService:
        """For who speaks with single peers."""
        return self._service

    def wants_branch_of(self, author: str) -> bool:
        """Whether an author is one of the topic whose word is taken."""
        barred = self._door.refuse_author(author) or self._notebook.refuse_author(author)
        return barred is None and author in self._notebook.journal.heads()

    async def run(self) -> None:
        """Until cancelled. Raises ListenError if the first start cannot listen."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._save_book)
            nursery.start_soon(self._follow_addresses)
            nursery.start_soon(self._write_counters)
            await self._service.run()

    async def flush(self) -> None:
        """Give what is in the outbox a moment to leave, if anybody is there to take it."""
        with trio.move_on_after(FLUSH_SECONDS):
            while self._peers and self._notebook.journal.unsent():  # noqa: ASYNC110 - the store is no task, it wakes nobody
                await trio.sleep(0.05)
            if self._peers:
                await trio.sleep(SETTLE_SECONDS)

    def _bus_factory(self, topic: str, listen: Sequence[str]) -> BusFactory:
        key = self._settings.swarm_key
        return bus_factory(
            self._identity,
            topic,
            listen,
            self._blobs,
            key,
            admits=lambda peer: self._service.admits(peer),
            branches=self._branches,
        )

    def _receive(self, record: Record, heard: Heard) -> Refusal | None:
        """A full disk here must not end the network, and less so the research."""
        try:
            return self._notebook.receive(record, heard)
        except JournalError as error:
            if not self._said_journal:
                self._said_journal = True
                self._events.notice(f"findings of peers cannot be kept: {error}", warning=True)
            return Refusal(RefusalReason.INBOX_FULL, str(error))

    def _tell_claim(self, key: str, slot: int, seconds: int, begun: bool) -> None:
        self._last_claim_ms = max(self._last_claim_ms + 1, int(wall_clock() * 1000))  # a clock may go back
        seconds = min(seconds, MAX_CLAIM_SECONDS)
        brief, at_ms = self._notebook.journal.brief, self._last_claim_ms
        made = seal_claim(self._identity, brief, key, slot=slot, at_ms=at_ms, seconds=seconds, begun=begun)
        self._service.tell_claim(made.frame)

    def _hear_claim(self, claim: Claim) -> None:
        if self._claims is not None:
            self._claims.hear(claim.author, claim.key, claim.slot, claim.seconds, claim.begun)

    def _is_known(self, record: Record) -> bool:
        try:
            return self._notebook.holds(record)
        except JournalError:  # said when it is to be kept
            return False

    def _hear(self, event: heard.GossipEvent) -> None:
        match event:
            case heard.Listening():
                self._listening(event.addresses)
            case heard.PeerJoined():
                self._peers[event.peer] = wall_clock()
                self._events.emit(PeersChanged(peers=self.peers))
            case heard.PeerLeft():
                self._peers.pop(event.peer, None)
                self._events.emit(PeersChanged(peers=self.peers))
            case heard.CaughtUp():
                if event.records:
                    self._events.notice(f"caught up with {short(event.peer)}: {event.records} records")
            case heard.PeerBanned():
                self._write_reputation()
                self._events.notice(str(event), warning=True)
            case heard.NetworkFailed():
                self._peers.clear()
                self._events.emit(PeersChanged(peers=()))
                self._events.notice(clean(str(event), MAX_NOTICE_CHARACTERS), warning=True)
            case heard.BootstrapReached() | heard.NetworkBack():
                self._events.notice(str(event))
            case _:
                self._events.notice(clean(str(event), MAX_NOTICE_CHARACTERS), warning=True)

    def _listening(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        brief, key = self._notebook.brief, self._settings.swarm_key
        ticket = encode_ticket(Ticket(brief.name, self._notebook.journal.brief, worth_telling(addresses), key))
        if self._settings.ticket_file is not None:
            try:
                mode = 0o666 if key is None else 0o600
                write_atomically(self._settings.ticket_file.absolute(), f"{ticket}\n".encode(), mode=mode)
            except OSError as error:
                self._events.notice(f"cannot write {self._settings.ticket_file}: {error.strerror}", warning=True)
        port = parse_dialable(addresses[0]).port if addresses else None
        self._events.emit(Listening(addresses=addresses, ticket=ticket, port=port, private=key is not None))

    async def _follow_addresses(self) -> None:
        """A laptop that moves: ticket and status name the addresses of now."""
        while True:
            await trio.sleep(ADDRESS_SECONDS)
            now = self._service.snapshot().addresses
            if self._addresses and now and set(now) != set(self._addresses):
                self._listening(now)

    def facts(self) -> Json:
        """What is counted, as it is written down."""
        lists = self._settings.lists
        facts = network_facts(self._service.snapshot(), self._service.refused, self._peers, lists, wall_clock())
        return facts | ({} if self._claims is None else claim_facts(self._claims.own(), self._claims.of_others()))

    async def _write_counters(self) -> None:
        try:
            while True:
                self._write_facts()
                await trio.sleep(COUNTERS_SECONDS)
        finally:
            self._write_facts()

    def _write_facts(self) -> None:
        write_network(self._home, self._notebook.journal.brief, self.facts())

    async def _save_book(self) -> None:
        try:
            while True:
                await trio.sleep(SAVE_SECONDS)
                self._write_book()
                self._write_reputation()
        finally:
            self._write_book()
            self._write_reputation()

    def _write_book(self) -> None:
        try:
            write_atomically(self._book_file, self._book.to_json().encode())
        except OSError:  # a convenience for the next start; the disk's trouble is said where it matters
            return

    def _write_reputation(self) -> None:
        if len(self._reputation) or self._reputation_file.exists():
            with contextlib.suppress(OSError):
                write_atomically(self._reputation_file, self._reputation.to_json().encode())


def load_reputation(home: Home) -> Reputation:
    """What earlier runs held against peers; nothing if it cannot be read."""
    reputation = Reputation()
    with contextlib.suppress(OSError):
        reputation.load_json((home.path / REPUTATION_FILE).read_text(errors="replace"))
    return reputation


def ticket_peers(
    home: Home, identity: Identity, ticket: Ticket, settings: NetworkSettings, events: Events
) -> TicketPeers:
    """For a topic that is not here yet."""
    listen = settings.listen or default_listen(home.read_state().get("port"))
    announced = announced_brief(ticket.brief, ticket.psk)
    discovery = LocalDiscovery(identity.peer_id, announced) if settings.mdns else None
    door = Doorkeeper(identity.peer_id, settings.lists, load_reputation(home))

    def admits(peer: str) -> bool:
        return door.admits(peer, wall_clock())

    topic = topic_name(BriefId(ticket.brief))
    make_bus = bus_factory(identity, topic, listen, swarm_key=ticket.psk, admits=admits)
    return TicketPeers(
        identity.peer_id,
        ticket.topic,
        settings.bootstrap,
        home,
        make_bus,
        events,
        discovery,
        book_file=book_file(home, BriefId(ticket.brief), ticket.psk),
        admits=admits,
    )


def book_file(home: Home, brief: BriefId, swarm_key: bytes | None) -> Path:
    """Peers of a private swarm are kept apart."""
    return home.path / "peers.json" if swarm_key is None else home.private_peers_file(brief)


def bus_factory(
    identity: Identity,
    topic: str,
    listen: Sequence[str],
    blobs: BlobSource | None = None,
    swarm_key: bytes | None = None,
    admits: Callable[[str], bool] = lambda _peer: True,
    branches: BranchSource | None = None,
) -> BusFactory:
    """gossip's, imported when the first bus is wanted: half a second."""
    factory: BusFactory | None = None

    def make(deliver: Deliver, serve: Serve) -> Bus:
        nonlocal factory
        if factory is None:
            from gossip.libp2p_factory import libp2p_bus_factory

            factory = libp2p_bus_factory(
                identity,
                topic,
                listen,
                wall_clock=wall_clock,
                blobs=blobs,
                branches=branches,
                swarm_key=swarm_key,
                admits=admits,
            )
        return factory(deliver, serve)

    return make


def worth_telling(addresses: Sequence[str]) -> tuple[str, ...]:
    """Addresses for a ticket: those other machines can use first, of IPv4 and IPv6 in turn; loopback too, for a second
    node here."""
    turn: Counter[str] = Counter()
    ranked: list[tuple[bool, int, str]] = []
    loopback: list[str] = []
    for text in addresses:
        address = parse_address(text)
        if address.is_loopback:
            loopback.append(text)
            continue
        turn[address.family] += 1
        ranked.append((not address.is_global, turn[address.family], text))
    ranked.sort(key=lambda one: one[:2])
    return (*[text for *_, text in ranked][: MAX_ADDRESSES - 1], *loopback[:1])


def default_listen(port: object) -> tuple[str, ...]:
    """Every interface, on the port used last if it is free, else on any; IPv6 too where the machine has it."""
    families = [(socket.AF_INET, "ip4", "0.0.0.0")] + ([(socket.AF_INET6, "ip6", "::")] if has_ip6() else [])
    wanted = port if isinstance(port, int) and not isinstance(port, bool) else 0
    chosen = wanted if all(_is_free(family, host, wanted) for family, _, host in families) else 0
    return tuple(f"/{name}/{host}/tcp/{chosen}" for _, name, host in families)


def _is_free(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            return False
    return True
