"""The addresses a person gave us to start from: dialled for ever, and their silence mentioned once."""

from collections.abc import Callable, Collection, Sequence

from gossip.address_book import AddressBook
from gossip.addresses import parse_dialable
from gossip.events import BootstrapReached, BootstrapUnreachable, GossipEvent


class BootstrapWatch:
    def __init__(self, addresses: Sequence[str], on_event: Callable[[GossipEvent], None]) -> None:
        self._peer_of = {address: parse_dialable(address).peer for address in addresses}
        self._on_event = on_event
        self._failed: set[str] = set()
        self._said_lost = False

    def due(self, now: float, busy: Collection[str], book: AddressBook) -> list[str]:
        """Which of them to dial now, beside those the address book chooses for itself."""
        return [address for address, peer in self._peer_of.items() if peer not in busy and book.is_due(address, now)]

    def misses(self, busy: Collection[str]) -> bool:
        """Whether one of them is not connected."""
        return any(peer not in busy for peer in self._peer_of.values())

    def failed(self, address: str) -> None:
        if address in self._peer_of:
            self._failed.add(address)

    def look(self, connected: Collection[str]) -> None:
        """Say it once when none of them answers, and once when one does again."""
        if any(peer in connected for peer in self._peer_of.values()):
            self._failed.clear()
            if self._said_lost:
                self._said_lost = False
                self._on_event(BootstrapReached(tuple(self._peer_of)))
        elif self._peer_of and self._failed.issuperset(self._peer_of) and not self._said_lost:
            self._said_lost = True
            self._on_event(BootstrapUnreachable(tuple(self._peer_of)))
