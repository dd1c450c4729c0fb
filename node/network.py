"""Joins gossip to the node: builds the service from what a person asked for, and turns its events into ours.

Owns the choice of listen addresses, the ticket's text and the address book's file. The rules of gossip are in gossip.
"""

import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from gossip import events as heard
from gossip.address_book import AddressBook
from gossip.addresses import parse_address, parse_dialable
from gossip.admission import Admission
from gossip.bus import Bus, Deliver, Serve
from gossip.envelope import Record
from gossip.identity import Identity
from gossip.mdns import LocalDiscovery
from gossip.refusal import Refusal, RefusalReason
from gossip.service import GossipService
from gossip.ticket import MAX_ADDRESSES, Ticket, encode_ticket
from node.clock import wall_clock
from node.events import Events, Listening, PeersChanged
from node.home import Home, write_atomically
from node.journal import JournalError
from node.notebook import Notebook
from node.text import clean
from swarm.brief import topic_name
from swarm.words import BriefId, short

SAVE_SECONDS = 30.0  # between two writings of the address book
FLUSH_SECONDS = 3.0  # at most, at the end of a run, for the last finding to reach a peer
MAX_NOTICE_CHARACTERS = 1000  # of a notice with words that a peer or the library chose
SETTLE_SECONDS = 0.3  # from the library's queue to the wire


@dataclass(frozen=True)
class NetworkSettings:
    listen: tuple[str, ...]  # empty: every interface, on the port used last
    bootstrap: tuple[str, ...]
    mdns: bool
    ticket_file: Path | None = None


class Network:
    """The node's side of the gossip service."""

    def __init__(
        self, home: Home, identity: Identity, notebook: Notebook, settings: NetworkSettings, events: Events
    ) -> None:
        self._home = home
        self._identity = identity
        self._notebook = notebook
        self._settings = settings
        self._events = events
        self._peers: set[str] = set()
        self._said_journal = False
        self._book_file = home.path / "peers.json"
        self._book = AddressBook(identity.peer_id, random.Random(identity.peer_id))
        if self._book_file.exists():
            self._book.load_json(self._book_file.read_text(errors="replace"))
        brief = notebook.journal.brief
        listen = settings.listen or default_listen(home.read_state().get("port"))
        self._service = GossipService(
            bus_factory=self._bus_factory(topic_name(BriefId(brief)), listen),
            store=notebook.journal,
            admission=Admission(brief),
            address_book=self._book,
            bootstrap=settings.bootstrap,
            on_record=self._receive,
            wall_clock=wall_clock,
            on_event=self._hear,
            local_discovery=LocalDiscovery(identity.peer_id, brief) if settings.mdns else None,
        )
        notebook.when_own(self._service.announce)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(sorted(self._peers))

    async def run(self) -> None:
        """Until cancelled. Raises ListenError if the first start cannot listen."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._save_book)
            await self._service.run()

    async def flush(self) -> None:
        """Give what is in the outbox a moment to leave, if anybody is there to take it."""
        with trio.move_on_after(FLUSH_SECONDS):
            while self._peers and self._notebook.journal.unsent():  # noqa: ASYNC110 - the store is no task, it wakes nobody
                await trio.sleep(0.05)
            if self._peers:
                await trio.sleep(SETTLE_SECONDS)

    def _bus_factory(self, topic: str, listen: Sequence[str]) -> Callable[[Deliver, Serve], Bus]:
        def make(deliver: Deliver, serve: Serve) -> Bus:
            from gossip.libp2p_bus import Libp2pBus  # half a second to import

            return Libp2pBus(self._identity, topic, listen, deliver, serve, wall_clock=wall_clock)

        return make

    def _receive(self, record: Record) -> Refusal | None:
        """A full disk here must not end the network, and less so the research."""
        try:
            return self._notebook.receive(record)
        except JournalError as error:
            if not self._said_journal:
                self._said_journal = True
                self._events.notice(f"findings of peers cannot be kept: {error}", warning=True)
            return Refusal(RefusalReason.INBOX_FULL, str(error))

    def _hear(self, event: heard.GossipEvent) -> None:
        match event:
            case heard.Listening():
                self._listening(event.addresses)
            case heard.PeerJoined():
                self._peers.add(event.peer)
                self._events.emit(PeersChanged(peers=self.peers))
            case heard.PeerLeft():
                self._peers.discard(event.peer)
                self._events.emit(PeersChanged(peers=self.peers))
            case heard.CaughtUp():
                if event.records:
                    self._events.notice(f"caught up with {short(event.peer)}: {event.records} records")
            case heard.NetworkFailed():
                self._peers.clear()
                self._events.emit(PeersChanged(peers=()))
                self._events.notice(clean(str(event), MAX_NOTICE_CHARACTERS), warning=True)
            case heard.BootstrapReached() | heard.NetworkBack():
                self._events.notice(str(event))
            case _:
                self._events.notice(clean(str(event), MAX_NOTICE_CHARACTERS), warning=True)

    def _listening(self, addresses: tuple[str, ...]) -> None:
        brief = self._notebook.brief
        ticket = encode_ticket(Ticket(brief.name, self._notebook.journal.brief, worth_telling(addresses)))
        if self._settings.ticket_file is not None:
            try:
                write_atomically(self._settings.ticket_file.absolute(), f"{ticket}\n".encode())
            except OSError as error:
                self._events.notice(f"cannot write {self._settings.ticket_file}: {error.strerror}", warning=True)
        port = parse_dialable(addresses[0]).port if addresses else None
        self._events.emit(Listening(addresses=addresses, ticket=ticket, port=port))

    async def _save_book(self) -> None:
        try:
            while True:
                await trio.sleep(SAVE_SECONDS)
                self._write_book()
        finally:
            self._write_book()

    def _write_book(self) -> None:
        try:
            write_atomically(self._book_file, self._book.to_json().encode())
        except OSError:  # a convenience for the next start; the disk's trouble is said where it matters
            return


def worth_telling(addresses: Sequence[str]) -> tuple[str, ...]:
    """Addresses for a ticket: those other machines can use first, loopback too, for a second node here."""
    ordered = sorted(addresses, key=lambda address: parse_address(address).is_loopback)
    loopback = [address for address in ordered if parse_address(address).is_loopback]
    return (*[a for a in ordered if a not in loopback][: MAX_ADDRESSES - 1], *loopback[:1])


def default_listen(port: object) -> tuple[str, ...]:
    """Every interface, on the port used last if it is free, else on any."""
    chosen = port if isinstance(port, int) and not isinstance(port, bool) and _is_free(port) else 0
    return (f"/ip4/0.0.0.0/tcp/{chosen}",)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except (OSError, OverflowError):
            return False
    return True
