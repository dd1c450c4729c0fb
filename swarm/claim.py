"""Claims: leases on what is being tried, so that others do something else. Pure: time is passed in.

Owns what a lease is on, who wins a race, and how far a stranger's claim is obeyed. Claims are advice: without them
research goes on and now and then does a thing twice. Not covered: a peer that publishes findings and claims what it
never runs keeps others from `MAX_SLOTS` proposals at a time, out of all there are.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarm.trial import Track
from swarm.words import PeerId

CLAIMS_A_RECORD = 16  # of one author, before its log has to have grown: who only claims is not obeyed; a guess
MAX_LEASES = 4096  # of everybody
MAX_AUTHORS = 4096


def lease_key(key: str, track: Track) -> str:
    """What is claimed: a proposal's canonical key on a track. 64 hex digits."""
    where = {"budget": track.budget_seconds, "class": track.hardware_class, "key": key}
    return hashlib.sha256(json.dumps(where, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim as it was heard. Times are seconds of one steady clock: the reader's."""

    author: PeerId
    key: str
    begun: bool  # training has begun, which nobody gives up
    since: float  # when this author claimed it first
    ends: float

    @property
    def rank(self) -> tuple[bool, bytes]:
        """The lower wins: who has begun; then a draw that nobody can win everywhere, nor with a wrong clock."""
        return not self.begun, hashlib.sha256(f"{self.key} {self.author}".encode()).digest()


@dataclass(slots=True)
class _Author:
    records: int = 0  # of its log, when it was last heard
    claims: int = 0  # since its log has grown


@dataclass(slots=True)
class Leases:
    """Everybody else's, as far as they are obeyed. Bounded, whatever strangers claim."""

    longest_seconds: float  # of one author on one thing, however often it claims it again
    _leases: OrderedDict[tuple[PeerId, int], Lease] = field(default_factory=OrderedDict[tuple[PeerId, int], Lease])
    _slots: dict[PeerId, dict[int, Lease]] = field(default_factory=dict[PeerId, dict[int, Lease]])  # the same
    _authors: OrderedDict[PeerId, _Author] = field(default_factory=OrderedDict[PeerId, _Author])

    def hear(
        self, author: PeerId, key: str, slot: int, seconds: float, *, begun: bool, records: int, now: float
    ) -> Lease | None:
        """A claim. `records`: how many of its author are known here. None: it is given up, or not obeyed."""
        before = self._take_out((author, slot))
        if seconds <= 0 or not self._is_trusted(author, records):
            return None
        same = [one.since for one in (before, *self._of(author)) if one is not None and one.key == key]
        since = min([*same, now])
        lease = Lease(author, key, begun, since, min(now + seconds, since + self.longest_seconds))
        self._leases[author, slot] = lease
        self._slots.setdefault(author, {})[slot] = lease
        while len(self._leases) > MAX_LEASES:
            self._take_out(next(iter(self._leases)))
        return lease

    def holder(self, key: str, now: float) -> Lease | None:
        """Who has it now; of several, who wins."""
        return min((one for one in self.live(now) if one.key == key), key=lambda one: one.rank, default=None)

    def live(self, now: float) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.ends > now]

    def _of(self, author: PeerId) -> Iterable[Lease]:
        return self._slots.get(author, {}).values()

    def _take_out(self, place: tuple[PeerId, int]) -> Lease | None:
        lease = self._leases.pop(place, None)
        if lease is not None:
            author, slot = place
            del self._slots[author][slot]
            if not self._slots[author]:
                del self._slots[author]
        return lease

    def _is_trusted(self, author: PeerId, records: int) -> bool:
        """Whoever has shown work, and goes on to: an author without a record, or whose log stands still, may be one of
        thousands that somebody made up."""
        known = self._authors.setdefault(author, _Author())
        self._authors.move_to_end(author)
        while len(self._authors) > MAX_AUTHORS:
            self._authors.popitem(last=False)
        if records > known.records:
            known.records, known.claims = records, 0
        known.claims += 1
        return records > 0 and known.claims <= CLAIMS_A_RECORD
