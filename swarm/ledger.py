"""The ledger: what is known of one topic, folded from records. Derived, and independent of the order records came in.

Owns the fold and the questions people and proposers ask of it. Storage is the journal's, signatures are gossip's.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from swarm.brief import Acceptance
from swarm.finding import Finding, Track
from swarm.words import Decision, FindingId, Outcome, PeerId, Standing


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding as the ledger knows it."""

    id: FindingId
    author: PeerId
    seq: int  # position in its author's log
    at_ms: int  # author's clock, unix milliseconds: for show, never for order that decides
    finding: Finding

    @property
    def val_bpb(self) -> float | None:
        return self.finding.val_bpb


def _rank(entry: Entry) -> tuple[float, str]:
    assert entry.val_bpb is not None
    return entry.val_bpb, entry.id


class Ledger:
    """Findings of one topic. `apply` is the only change; records twice or in another order give the same ledger."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._entries: dict[FindingId, Entry] = {}
        self._by_key: dict[tuple[str, Track], set[FindingId]] = {}

    def apply(self, entry: Entry) -> bool:
        """True if the entry was new."""
        if entry.id in self._entries:
            return False
        self._entries[entry.id] = entry
        self._by_key.setdefault((entry.finding.proposal.key, entry.finding.track), set()).add(entry.id)
        return True

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: FindingId) -> bool:
        return id in self._entries

    def get(self, id: FindingId | None) -> Entry | None:
        return None if id is None else self._entries.get(id)

    def entries(self, author: PeerId | None = None, track: Track | None = None) -> list[Entry]:
        """Findings sorted by author's clock, author and sequence; by one author or of one track if asked."""
        chosen = (e for e in self._entries.values() if author in (None, e.author) and track in (None, e.finding.track))
        return sorted(chosen, key=lambda e: (e.at_ms, e.author, e.seq, e.id))

    def measured(self, author: PeerId | None = None, track: Track | None = None) -> list[Entry]:
        """Measured findings, best first."""
        return sorted((e for e in self.entries(author, track) if e.val_bpb is not None), key=_rank)

    def tracks(self) -> list[Track]:
        return sorted(
            {e.finding.track for e in self._entries.values()}, key=lambda t: (t.hardware_class, t.budget_seconds)
        )

    def branch_best(self, author: PeerId, track: Track) -> Entry | None:
        """Where an author's branch stands: its best kept finding of a track."""
        return next((e for e in self.measured(author, track) if e.finding.verdict.decision is Decision.KEEP), None)

    def find(self, prefix: str) -> list[Entry]:
        """Findings whose id begins with `prefix`."""
        return sorted((e for id, e in self._entries.items() if id.startswith(prefix)), key=lambda e: e.id)

    def with_key(self, key: str, track: Track) -> list[Entry]:
        """Findings that ran the same thing on the same track."""
        return sorted((self._entries[id] for id in self._by_key.get((key, track), ())), key=lambda e: e.id)

    def standing(self, entry: Entry) -> Standing:
        """What other authors' own trials of the same thing, on the same track, say about a finding.

        A trial agrees if it differs by at most z standard deviations of the difference of two trials.
        Someone else agrees: confirmed. Others only disagree: one author disputes, two refute.
        """
        if entry.val_bpb is None:
            return Standing.CLAIMED
        margin = self._acceptance.z * math.sqrt(2) * self._acceptance.noise_sd
        agreeing: set[PeerId] = set()
        disagreeing: set[PeerId] = set()
        for other in self.with_key(entry.finding.proposal.key, entry.finding.track):
            if other.author == entry.author or other.val_bpb is None:
                continue
            (agreeing if abs(other.val_bpb - entry.val_bpb) <= margin else disagreeing).add(other.author)
        if agreeing:
            return Standing.CONFIRMED
        return (Standing.CLAIMED, Standing.DISPUTED, Standing.REFUTED)[min(len(disagreeing), 2)]

    def authors(self) -> list[PeerId]:
        return sorted({e.author for e in self._entries.values()})

    def tried(self, track: Track) -> set[str]:
        """Keys of everything anybody has tried on a track, cancelled trials apart."""
        return {
            e.finding.proposal.key
            for e in self._entries.values()
            if e.finding.track == track and e.finding.outcome is not Outcome.CANCELLED
        }


def fold(entries: Iterable[Entry], acceptance: Acceptance) -> Ledger:
    ledger = Ledger(acceptance)
    for entry in entries:
        ledger.apply(entry)
    return ledger


def lineage(ledger: Ledger, entry: Entry) -> Iterator[Entry]:
    """A finding and its ancestors, newest first, as far as the ledger knows them."""
    seen: set[FindingId] = set()
    current: Entry | None = entry
    while current is not None and current.id not in seen:
        seen.add(current.id)
        yield current
        current = ledger.get(current.finding.proposal.parent)
