"""Where peers can be reached, and whom to dial next. Pure: time and chance are passed in, dialling is the service's.

Survives a restart as JSON, so that nodes find each other again without a bootstrap. Bounded, whatever peers claim.
"""

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from random import Random
from typing import Any, cast

from gossip.addresses import AddressError, parse_dialable

MAX_ADDRESSES = 1024
MAX_ADDRESSES_PER_PEER = 8
_FORGET_AFTER_FAILURES = 20  # of an address that never worked


class Source(IntEnum):
    """How we know an address; a better source replaces a worse one."""

    HEARSAY = 0  # a peer told us where others are
    PEER = 1  # the peer itself says so, or it was found on the local network
    DIALLED = 2  # a connection came about
    GIVEN = 3  # bootstrap list or ticket: never forgotten, but not written down either


# Seconds. A lost peer is back within seconds of its return; a stranger's claim costs us little. Guesses.
_FIRST_DELAY = 2.0
_LONGEST_DELAY = {Source.HEARSAY: 600.0, Source.PEER: 120.0, Source.DIALLED: 15.0, Source.GIVEN: 10.0}


@dataclass(slots=True)
class _Entry:
    address: str
    peer: str
    source: Source
    last_success: float = 0.0  # unix seconds
    last_failure: float = 0.0
    failures: int = 0  # in a row

    def due_at(self) -> float:
        if self.failures == 0:
            return 0.0
        delay = min(_FIRST_DELAY * 2 ** min(self.failures - 1, 10), _LONGEST_DELAY[self.source])
        return self.last_failure + delay


class AddressBook:
    def __init__(self, own_peer: str, rng: Random) -> None:
        self._own_peer = own_peer
        self._rng = rng
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def learn(self, addresses: Iterable[str], source: Source) -> None:
        """Addresses with a peer id; others, and our own, are passed over."""
        for text in addresses:
            try:
                peer = parse_dialable(text).peer
            except AddressError:
                continue
            known = self._entries.get(text)
            if known is not None:
                known.source = max(known.source, source)
            elif peer != self._own_peer:
                self._entries[text] = _Entry(text, peer, source)
                self._bound(peer)

    def succeeded(self, address: str, now: float) -> None:
        self.learn([address], Source.DIALLED)
        entry = self._entries.get(address)
        if entry is not None:
            entry.last_success, entry.failures = now, 0

    def failed(self, address: str, now: float) -> None:
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.last_failure, entry.failures = now, entry.failures + 1
        if entry.failures >= _FORGET_AFTER_FAILURES and entry.source <= Source.PEER and entry.last_success == 0.0:
            del self._entries[address]

    def due(
        self, now: float, busy: Collection[str], want: int, admits: Callable[[str], bool] | None = None
    ) -> list[str]:
        """Up to `want` addresses to dial, one of each admitted peer that is not `busy` (connected or being dialled)."""
        if want <= 0:
            return []
        ready = [e for e in self._entries.values() if e.peer not in busy and _is_due(e, now)]
        ready = [e for e in ready if admits is None or admits(e.peer)]
        self._rng.shuffle(ready)
        ready.sort(key=lambda e: (e.failures > 0, -e.source, -e.last_success))
        chosen: dict[str, str] = {}
        for entry in ready:
            if len(chosen) >= want:
                break
            chosen.setdefault(entry.peer, entry.address)
        return list(chosen.values())

    def lost(self, now: float, busy: Collection[str]) -> list[str]:
        """One address that worked once, of a peer that is not there any more: perhaps the network came apart."""
        ready = [e for e in self._entries.values() if e.last_success > 0 and e.peer not in busy and _is_due(e, now)]
        return [self._rng.choice(ready).address] if ready else []

    def misses(self, busy: Collection[str]) -> bool:
        """Whether there is a peer that was connected once and is not any more."""
        return any(e.last_success > 0 and e.peer not in busy for e in self._entries.values())

    def is_due(self, address: str, now: float) -> bool:
        entry = self._entries.get(address)
        return entry is not None and _is_due(entry, now)

    def known(self, peer: str) -> tuple[str, ...]:
        return tuple(e.address for e in self._entries.values() if e.peer == peer)

    def to_json(self) -> str:
        kept = [asdict(e) for e in self._entries.values() if e.source is not Source.GIVEN or e.last_success > 0]
        return json.dumps({"format": 1, "addresses": kept}, indent=1)

    def load_json(self, text: str) -> None:
        """What an earlier run wrote. A damaged book is no loss: what cannot be read is passed over."""
        try:
            listed: object = json.loads(text)["addresses"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if not isinstance(listed, list):
            return
        for item in cast("list[object]", listed)[:MAX_ADDRESSES]:
            if isinstance(item, dict):
                self._load_one(cast("dict[str, Any]", item))  # Any: checked field by field

    def _load_one(self, item: dict[str, Any]) -> None:
        try:
            address, last_success = str(item["address"]), float(item["last_success"])
            source = min(Source(item["source"]), Source.DIALLED)
        except (KeyError, TypeError, ValueError):
            return
        self.learn([address], source)
        entry = self._entries.get(address)
        if entry is not None:
            entry.last_success = max(entry.last_success, last_success)

    def _bound(self, peer: str) -> None:
        of_peer = [e for e in self._entries.values() if e.peer == peer]
        if len(of_peer) > MAX_ADDRESSES_PER_PEER:
            self._forget_worst(of_peer)
        if len(self._entries) > MAX_ADDRESSES:
            self._forget_worst(list(self._entries.values()))

    def _forget_worst(self, entries: list[_Entry]) -> None:
        worst = min(entries, key=lambda e: (e.source, e.last_success, -e.failures))
        del self._entries[worst.address]


def _is_due(entry: _Entry, now: float) -> bool:
    clock_went_back = now < entry.last_failure
    return clock_went_back or now >= entry.due_at()
